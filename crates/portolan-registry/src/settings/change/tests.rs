use serde_json::{Map, json};

use super::*;
use crate::settings::limits;

fn key() -> SettingsKey {
    SettingsKey { scope: "shop".parse().unwrap(), name: "api".parse().unwrap() }
}

#[allow(clippy::needless_pass_by_value, reason = "callers construct the change in the call")]
fn made(
    known: Option<&SettingsRecord>,
    change: SettingsChange,
    expected: Option<u64>,
) -> Result<Option<SettingsRecord>, SettingsError> {
    let author = ("ann", Timestamp::UNIX_EPOCH);
    SettingsRecord::changed(known, &key(), &change, expected, author)
}

/// Makes the changes one after the other.
fn record(changes: impl IntoIterator<Item = SettingsChange>) -> SettingsRecord {
    let mut record = None;
    for change in changes {
        record = made(record.as_ref(), change, None).unwrap().or(record);
    }
    record.unwrap()
}

use SettingsChange::{Delete, Patch, Rollback, Set};

#[test]
fn each_change_is_a_version_and_no_change_is_none() {
    let record = record([
        Set(json!({"a": 1, "b": 2})),
        Patch(json!({"b": null, "c": {"d": 3}})),
        Set(json!({"a": 1, "c": {"d": 3}})),
        Delete,
        Rollback(1),
    ]);
    let versions: Vec<_> = record
        .versions
        .iter()
        .map(|it| (it.version, it.action.as_str(), it.from, it.value.clone()))
        .collect();
    let first = json!({"a": 1, "b": 2});
    let expected = [
        (1, "set", None, Some(first.clone())),
        (2, "patch", None, Some(json!({"a": 1, "c": {"d": 3}}))),
        (3, "delete", None, None),
        (4, "rollback", Some(1), Some(first)),
    ];
    assert_eq!(versions, expected);
    assert!(record.versions.iter().all(|entry| entry.author == "ann"));
    record.validate().unwrap();
}

#[test]
fn expected_version_must_be_the_newest_one() {
    let known = record([Set(json!({"a": 1})), Set(json!({"a": 2}))]);
    let deleted = record([Set(json!({"a": 1})), Delete]);
    for (known, expected, is_met) in [
        (Some(&deleted), 0, true),
        (Some(&deleted), 1, false),
        (Some(&deleted), 2, true),
        (None, 0, true),
        (None, 1, false),
        (Some(&known), 0, false),
        (Some(&known), 1, false),
        (Some(&known), 2, true),
        (Some(&known), 3, false),
    ] {
        let result = made(known, Set(json!({"a": 3})), Some(expected));
        let is_conflict = matches!(result, Err(SettingsError::Conflict { .. }));
        assert_eq!((result.is_ok(), is_conflict), (is_met, !is_met), "{expected}");
    }
}

#[test]
fn error_texts_and_remedies() {
    use portolan_core::Remedy;
    let known = record([Set(json!({"a": 1})), Delete, Set(json!({"a": 2}))]);
    let deep = (0..limits::DEPTH).fold(json!({}), |inner, _| json!({"in": inner}));
    let long = json!({"a": "x".repeat(limits::VALUE)});
    let errors = [
        made(None, Delete, None),
        made(None, Rollback(1), None),
        made(Some(&known), Rollback(2), None),
        made(Some(&known), Rollback(9), None),
        made(Some(&known), Set(json!([1])), None),
        made(Some(&known), Patch(json!(null)), None),
        made(Some(&known), Set(deep), None),
        made(Some(&known), Set(long), None),
        made(Some(&known), Set(json!({})), Some(2)),
    ];
    let texts = errors.map(|result| result.unwrap_err().with_remedy());
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn oldest_versions_beyond_the_limits_are_dropped() {
    let short = record((0..200).map(|number| Set(json!({"a": number}))));
    assert_eq!((short.versions.len(), short.version()), (limits::VERSIONS, 200));
    let pad = "x".repeat(limits::VALUE - 100);
    let long = record((0..20).map(|number| Set(json!({"pad": pad, "a": number}))));
    let length = serde_json::to_vec(&long).unwrap().len();
    assert_eq!((long.versions.len(), long.version()), (4, 20));
    assert!(length <= limits::RECORD + 200, "{length}");
    long.validate().unwrap();
}

#[test]
fn record_that_was_not_made_by_changes_is_invalid() {
    let good = record([Set(json!({"a": 1})), Set(json!({"a": 2}))]);
    let with = |change: fn(&mut SettingsRecord)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad.validate()
    };
    with(|bad| bad.versions.clear()).unwrap_err();
    with(|bad| bad.versions.reverse()).unwrap_err();
    with(|bad| bad.schema = Some(json!([]))).unwrap_err();
    with(|bad| Arc::make_mut(&mut bad.versions[0]).value = Some(json!(7))).unwrap_err();
    with(|bad| bad.versions = vec![bad.versions[1].clone(); 100]).unwrap_err();
    with(|_| {}).unwrap();
}

#[cfg(not(feature = "schema"))]
#[test]
fn schema_needs_a_validator() {
    let schema = SettingsChange::Schema(Some(Value::Object(Map::new())));
    assert_eq!(made(None, schema, None), Err(SettingsError::NoValidator));
}

#[cfg(feature = "schema")]
mod schema {
    use super::*;

    fn with_schema() -> SettingsRecord {
        let schema = json!({
            "$defs": {"port": {"type": "integer", "minimum": 1, "maximum": 65535}},
            "properties": {
                "port": {"$ref": "#/$defs/port"},
                "url": {"type": "string", "format": "uri"},
                "name": {"type": "string", "pattern": "^[a-z]+$"},
            },
            "required": ["port"],
            "additionalProperties": false,
        });
        record([SettingsChange::Schema(Some(schema)), Set(json!({"port": 80}))])
    }

    #[test]
    fn value_must_meet_the_schema() {
        let known = with_schema();
        assert_eq!(known.version(), 2);
        let mut texts = Vec::new();
        for change in [
            Set(json!({"port": 0})),
            Set(json!({})),
            Set(json!({"port": 1, "other": 2})),
            Set(json!({"port": 1, "url": "nowhere", "name": "A"})),
            Patch(json!({"port": null})),
        ] {
            texts.push(made(Some(&known), change, None).unwrap_err().to_string());
        }
        let good = Set(json!({"port": 443, "url": "https://a.example/", "name": "a"}));
        made(Some(&known), good, None).unwrap().unwrap();
        // What was valid before the schema cannot be restored against it.
        let before = record([Set(json!({"port": 0})), Set(json!({"port": 1}))]);
        let schema = SettingsChange::Schema(known.schema.clone());
        let after = made(Some(&before), schema.clone(), None).unwrap().unwrap();
        texts.push(made(Some(&after), Rollback(1), None).unwrap_err().to_string());
        let unmet = record([Set(json!({"port": 0}))]);
        texts.push(made(Some(&unmet), schema, None).unwrap_err().to_string());
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn schema_whose_work_is_not_bounded_cannot_be_used() {
        let doubling = |steps: usize| {
            let defs: Map<_, _> = (0..steps)
                .map(|step| {
                    let next = json!({"$ref": format!("#/$defs/s{}", step + 1)});
                    (format!("s{step}"), json!({"allOf": [next, next]}))
                })
                .chain([(format!("s{steps}"), json!({"type": "object"}))])
                .collect();
            json!({"$defs": defs, "$ref": "#/$defs/s0"})
        };
        let mut texts = Vec::new();
        for schema in [
            json!({"$ref": "#"}),
            json!({"properties": {"next": {"$ref": "#/properties"}}}),
            json!({"$ref": "https://example.org/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "#/$defs/missing"}),
            json!({"$dynamicRef": "#a"}),
            json!({"properties": {"a": {"$id": "https://example.org/"}}}),
            json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
            json!({"type": "texts"}),
            json!({"pattern": "(a"}),
            json!({"pattern": "(a)\\1"}),
            doubling(20),
            doubling(40),
            json!([]),
        ] {
            let error = made(None, SettingsChange::Schema(Some(schema)), None);
            texts.push(error.unwrap_err().to_string());
        }
        made(None, SettingsChange::Schema(Some(doubling(5))), None).unwrap().unwrap();
        insta::assert_snapshot!(texts.join("\n"));
    }
}

#[test]
fn policies_of_the_registry_are_always_valid() {
    let made = |scope: &str, change| {
        let name = portolan_access::stored_policies();
        let key = SettingsKey { scope: scope.parse().unwrap(), name };
        SettingsRecord::changed(None, &key, &change, None, ("ann", Timestamp::UNIX_EPOCH))
    };
    let identity = |policy: &str| {
        Set(json!({
            "policies": { "all": [{ "rights": ["administer"] }] },
            "identities": { "ann": { "policies": [policy] } },
        }))
    };
    assert!(made("default", identity("all")).unwrap().is_some());
    for (scope, change) in [
        ("default", identity("none")),
        ("default", Set(json!({ "workers": 4 }))),
        ("shop", identity("all")),
    ] {
        let refused = made(scope, change).unwrap_err();
        assert!(matches!(refused, SettingsError::AccessControl(_)), "{refused}");
    }
}
