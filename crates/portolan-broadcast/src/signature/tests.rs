use serde_json::json;

use super::*;

fn message() -> Map<String, Value> {
    let value = json!({
        "version": "1.0", "type": "service_announcement", "ttl": 60, "sequence": 7,
        "service": {"name": "api", "host": "127.0.0.1", "port": 8080, "weight": 1.5},
        "of_a_newer_version": [1, {"z": null, "a": "\u{20ac}"}],
    });
    value.as_object().unwrap().clone()
}

fn verify(key: &str, message: &mut Map<String, Value>) -> Result<(), BadSignature> {
    let Unverified { canonical, signature, .. } = Unverified::of_tree(message)?;
    let is_authentic = Signer::new(&key.into()).is_authentic(&canonical, &signature);
    is_authentic.then_some(()).ok_or(BadSignature::Wrong)
}

fn signed() -> Map<String, Value> {
    let mut message = message();
    let signature = Signer::new(&"secret".into()).signature(&canonical(&message));
    message.insert(SIGNATURE.into(), signature.into());
    message
}

/// The value was computed with Python: `hmac` over `json.dumps(sort_keys, no spaces, UTF-8)`.
#[test]
fn signature_equals_that_of_another_implementation() {
    assert_eq!(
        signed()["signature"],
        "5164390e7e6a3dca628b1f5b485e818112b569630811723a8ac22ead96570c83"
    );
}

#[test]
fn signature_is_independent_of_the_encoding() {
    let spelt = serde_json::to_string_pretty(&signed()).unwrap();
    let mut read: Map<String, Value> = serde_json::from_str(&spelt).unwrap();
    assert_eq!(verify("secret", &mut read), Ok(()));
    assert_eq!(read, message());
}

#[test]
fn other_key_changed_member_or_changed_signature_is_wrong() {
    assert_eq!(verify("other", &mut signed()), Err(BadSignature::Wrong));

    let mut changed = signed();
    changed.insert("sequence".into(), json!(8));
    assert_eq!(verify("secret", &mut changed), Err(BadSignature::Wrong));

    let mut added = signed();
    added.insert("unknown".into(), json!(1));
    assert_eq!(verify("secret", &mut added), Err(BadSignature::Wrong));

    for signature in
        [json!("sha256_hash_for_verification"), json!("ab"), json!(7), json!("é".repeat(32))]
    {
        let mut odd = signed();
        odd.insert("signature".into(), signature);
        assert_eq!(verify("secret", &mut odd), Err(BadSignature::Wrong));
    }
    let mut upper = signed();
    let shouted = upper["signature"].as_str().unwrap().to_uppercase();
    upper.insert("signature".into(), shouted.into());
    assert_eq!(verify("secret", &mut upper), Err(BadSignature::Wrong));
}

#[test]
fn message_without_a_signature_is_unsigned() {
    assert_eq!(verify("secret", &mut message()), Err(BadSignature::Missing));
}

#[test]
fn neither_key_nor_signer_prints_the_secret() {
    let key = SharedKey::from("open sesame");
    assert_eq!(format!("{key:?} {:?}", Signer::new(&key)), "*** Signer(***)");
}
