//! Whether an object of the cluster has the members that this program sets. Pure functions.

use serde::Serialize;
use serde_json::Value;

/// Members that API servers before Kubernetes 1.22 leave out of slices.
const MAY_BE_MISSING: [&str; 2] = ["serving", "terminating"];
/// Members that the type of an object stands for.
const OF_TYPE: [&str; 2] = ["apiVersion", "kind"];

/// Whether the object has every member of the content. It may have more.
pub(crate) fn has_content(object: &impl Serialize, content: &Value) -> bool {
    let Ok(object) = serde_json::to_value(object) else { return false };
    let Value::Object(content) = content else { return false };
    let mut members = content.iter().filter(|(name, _)| !OF_TYPE.contains(&name.as_str()));
    members.all(|(name, value)| has(&object[name], value))
}

fn has(known: &Value, content: &Value) -> bool {
    match (known, content) {
        (Value::Object(known), Value::Object(content)) => content.iter().all(|(name, value)| {
            match known.get(name).filter(|known| !known.is_null()) {
                Some(known) => has(known, value),
                None => value.is_null() || MAY_BE_MISSING.contains(&name.as_str()),
            }
        }),
        (Value::Array(known), Value::Array(content)) => {
            known.len() == content.len() && known.iter().zip(content).all(|(k, c)| has(k, c))
        }
        (known, content) => known == content,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn object_has_what_is_set_and_may_have_more() {
        let object = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "ports": [{"port": 1, "name": "x"}]});
        for (content, expected) in [
            (json!({"kind": "Service", "metadata": {"labels": {"a": "1"}}}), true),
            (json!({"metadata": {"labels": {"a": "2"}}}), false),
            (json!({"metadata": {"labels": {"c": "1"}}}), false),
            (json!({"ports": [{"port": 1, "appProtocol": null}]}), true),
            (json!({"ports": [{"port": 1, "appProtocol": "http"}]}), false),
            (json!({"ports": []}), false),
            (json!({"endpoints": []}), false),
        ] {
            assert_eq!(has_content(&object, &content), expected, "{content}");
        }
    }

    #[test]
    fn conditions_that_old_api_servers_leave_out_do_not_count() {
        let object = json!({"conditions": {"ready": true}});
        let all = json!({"conditions": {"ready": true, "serving": true, "terminating": false}});
        assert!(has_content(&object, &all));
        assert!(!has_content(&object, &json!({"conditions": {"ready": false}})));
    }
}
