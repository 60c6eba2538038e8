use std::collections::BTreeSet;

use super::*;
use crate::routes::ROUTES;

fn parsed() -> Value {
    serde_json::from_slice(&document("1.2.3")).unwrap()
}

fn references<'a>(value: &'a Value, to: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            to.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, to));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, to)),
        _ => {}
    }
}

#[test]
fn document_describes_exactly_the_routes() {
    let document = parsed();
    let described: BTreeSet<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let served: BTreeSet<_> = ROUTES
        .iter()
        .flat_map(|route| {
            let methods = route.methods.split(", ").filter(|method| *method != "HEAD");
            methods.map(move |method| format!("{method} {}", route.path))
        })
        .collect();
    assert_eq!(described, served);
    assert_eq!(document["info"]["version"], "1.2.3");
}

#[test]
fn document_lists_the_url_forms_of_the_built_in_health_checks() {
    let document = parsed();
    let description = &document["components"]["schemas"]["Registration"]["properties"]["health_url"]
        ["description"];
    let forms = portolan_health::CheckKinds::built_in().url_help();
    assert_eq!(*description, format!("The URL of the health check: {forms}."));
}

#[test]
fn every_reference_in_the_document_resolves() {
    let document = parsed();
    let mut all = Vec::new();
    references(&document, &mut all);
    assert!(all.len() > 50);
    for reference in all {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} does not resolve");
    }
}
