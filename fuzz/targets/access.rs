//! Policies and tokens, as documents of a registry's store and as files. What is accepted is the same after it is written
//! again, and no token gets a right without a rule.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan_access::{
    Identities, TokenFile, check_stored, digest, policies_of, stored_policies, stored_tokens,
    tokens_of,
};
use portolan_core::{Revision, Scope};
use serde_json::Value;

fuzz_target!(|text: &str| {
    if let Ok(tokens) = TokenFile::parse(text) {
        assert_eq!(TokenFile::parse(&tokens.to_string()).as_ref(), Ok(&tokens));
    }
    let Ok(document) = serde_json::from_str::<Value>(text) else { return };
    let scope = Scope::default();
    let (policies, tokens) = (policies_of(Some(&document)), tokens_of(Some(&document)));
    let accepted = [(stored_policies(), policies.is_ok()), (stored_tokens(), tokens.is_ok())];
    for (name, is_accepted) in accepted {
        assert_eq!(check_stored(&scope, &name, Some(&document)).is_ok(), is_accepted);
    }
    for error in [policies.as_ref().err(), tokens.as_ref().err()].into_iter().flatten() {
        assert!(!error.to_string().contains(['\n', '\u{1b}']), "{error}");
    }
    let identities =
        Identities::new(&policies.unwrap_or_default(), &tokens.unwrap_or_default(), Revision(1));
    assert!(identities.of_token(&digest("unknown"), jiff::Timestamp::now()).is_none());
});
