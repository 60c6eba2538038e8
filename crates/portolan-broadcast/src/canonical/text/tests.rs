use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::canonical::canonical;

/// What the tree makes of the text: the canonical encoding without the signature, the signature, and the id of the key.
fn by_tree(text: &str) -> (String, Option<Value>, Option<Value>) {
    let mut object: Map<String, Value> = serde_json::from_str(text).expect("an object");
    let signature = object.remove("signature");
    (canonical(&object), signature, object.get("key_id").cloned())
}

/// Asserts that the text is encoded as by the tree, if it is encoded; returns whether it is.
fn is_equal_to_tree(text: &str) -> bool {
    let Some(found) = canonical_text(text) else { return false };
    let (expected, signature, key_id) = by_tree(text);
    assert_eq!(found.text, expected, "{text}");
    assert_eq!(found.signature.map(Value::from), signature, "{text}");
    assert_eq!(found.key_id.map(Value::from), key_id, "{text}");
    let mut signed = found.text.clone();
    signed.insert_str(found.signature_at, r#""signature":"00","#);
    let again = canonical_text(&signed).expect("canonical text");
    assert_eq!((again.text, again.signature), (expected, Some("00")));
    // The signature is at its place: the tree, with its members in order, writes the same bytes.
    let tree: Map<String, Value> = serde_json::from_str(&signed).unwrap();
    assert_eq!(canonical(&tree), signed);
    true
}

/// Any value, of which most can be encoded without a tree.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000_i64..1000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[ -~]{0,9}".prop_map(Value::from),
        "[\\x00-\\x22]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z_]{0,4}",
        1 => Just("signature".to_owned()),
        1 => Just("key_id".to_owned()),
        1 => any::<String>(),
    ]
}

/// Writes the members in the given order, as a sender in another language may.
fn text_of(members: &[(String, Value)]) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
        .collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn message_is_encoded_without_a_tree_whatever_the_order_of_its_members() {
    for text in [
        r#"{"b":1,"a":{"d":[1,2],"c":"é\u0001"},"version":"1.0"}"#,
        r#"{"version":"1.0","signature":"ab","key_id":"k","a":null}"#,
        r#"{"zz":{"":1,"b":{"z":1,"y":2}}}"#,
        r#"{"version":-5,"ttl":999999999999999}"#,
    ] {
        assert!(is_equal_to_tree(text), "{text}");
    }
}

#[test]
fn what_is_not_canonical_but_for_the_order_is_left_to_the_tree() {
    for text in [
        r#"{"version": 1}"#,
        r#"{"version":1.5}"#,
        r#"{"version":-0}"#,
        r#"{"version":01}"#,
        r#"{"version":1e3}"#,
        r#"{"version":9007199254740993}"#,
        r#"{"version":"\u0041"}"#,
        r#"{"version":"\/"}"#,
        r#"{"version":"\u000a"}"#,
        r#"{"version":"\u001F"}"#,
        r#"{"é":1,"version":1}"#,
        r#"{"version":1,"version":1}"#,
        r#"{"version":{"b":1,"a":1,"b":2}}"#,
        r#"{"version":[{"b":1,"a":1}]}"#,
        r#"{"version":1,"signature":5}"#,
        r#"{"version":1,"key_id":null}"#,
        r#"{"version":1} "#,
        r#"{"version":1,}"#,
        r#"{"a":1}"#,
        r#"{}"#,
        "[]",
        "",
        "{",
    ] {
        assert_eq!(canonical_text(text), None, "{text}");
    }
    let deep = format!(r#"{{"version":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    assert_eq!(canonical_text(&deep), None);
}

#[test]
fn nested_names_that_occur_twice_are_left_to_the_tree() {
    for text in [
        r#"{"version":{"a":1,"a":2}}"#,
        r#"{"version":{"":1,"":2}}"#,
        r#"{"version":{"b":1,"a":{"c":1,"c":2}}}"#,
        r#"{"":1,"":2,"version":1}"#,
    ] {
        assert_eq!(canonical_text(text), None, "{text}");
    }
    assert!(is_equal_to_tree(&json!({ "version": { "": { "": 1 } } }).to_string()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn text_and_tree_agree_on_every_object(members in prop::collection::vec((name(), value()), 0..6)) {
        is_equal_to_tree(&text_of(&members));
    }

    #[test]
    fn any_text_is_read_without_panic(text in "[\\[\\]{}\",:\\\\a-fu0-9. é-]{0,40}") {
        if canonical_text(&text).is_some() {
            is_equal_to_tree(&text);
        }
    }
}
