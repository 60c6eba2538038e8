//! Validates responses against `openapi.json`: status, headers, content type and body.

use std::sync::LazyLock;

use boon::{Compiler, Schemas};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::support::ApiResponse;
use crate::openapi;

/// The response that every error has.
const PROBLEM: &str = "/components/responses/Problem";
/// Errors that every operation can have, documented as its `default` response.
const ANYWHERE: [u16; 5] = [401, 403, 408, 421, 500];

/// The document with every object schema closed, so that an undocumented member is an error.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = serde_json::from_slice(&openapi::document("1")).unwrap();
    close_objects(&mut document);
    document
});

fn close_objects(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(close_objects);
            if members.get("properties").is_some_and(Value::is_object) {
                members.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close_objects),
        _ => {}
    }
}

/// Asserts that the document describes the response to this request.
#[track_caller]
pub(super) fn assert_documented(method: &Method, path: &str, response: &ApiResponse) {
    let place = format!("{response:#?}");
    let pointer = documented(method, path, response.status.as_u16());
    let pointer = pointer.unwrap_or_else(|| panic!("status is not documented: {place}"));
    let described = DOCUMENT.pointer(&pointer).unwrap();
    for (name, header) in described["headers"].as_object().into_iter().flatten() {
        assert!(
            is_optional(header) || response.headers.contains_key(name),
            "documented header is missing: {place}"
        );
    }
    let Some(content) = described.get("content") else {
        assert!(!response.headers.contains_key(CONTENT_TYPE), "body is not documented: {place}");
        return assert_eq!(response.text, "", "body is not documented: {place}");
    };
    let kind = response.header("content-type").split(';').next().unwrap();
    assert!(content.get(kind).is_some(), "content type is not documented: {place}");
    if method != Method::HEAD {
        let is_json = kind.ends_with("json");
        let value = if is_json { response.json() } else { response.text.clone().into() };
        assert_valid(&format!("{pointer}/content/{}/schema", escape(kind)), &value);
    }
}

/// Asserts that a value matches the schema at this JSON pointer into the document.
#[track_caller]
pub(super) fn assert_valid(schema: &str, value: &Value) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.enable_format_assertions();
    compiler.add_resource("http://localhost/openapi.json", DOCUMENT.clone()).unwrap();
    let fragment = schema.replace('{', "%7B").replace('}', "%7D");
    let url = format!("http://localhost/openapi.json#{fragment}");
    let index = compiler.compile(&url, &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
    schemas.validate(value, index).unwrap_or_else(|error| panic!("{error:#}\nin {value:#}"));
}

/// Whether a header is documented as one that a response may lack.
fn is_optional(header: &Value) -> bool {
    let referenced =
        header["$ref"].as_str().and_then(|reference| DOCUMENT.pointer(&reference[1..]));
    referenced.unwrap_or(header)["required"] == false
}

/// Returns the JSON pointer to the documented response.
fn documented(method: &Method, path: &str, status: u16) -> Option<String> {
    let mut templates = DOCUMENT["paths"].as_object()?.keys();
    let Some(template) = templates.find(|template| matches(template, path)) else {
        return (status == 404).then(|| PROBLEM.to_owned());
    };
    let method = if method == Method::HEAD { "get" } else { &method.as_str().to_lowercase() };
    let responses = format!("/paths/{}/{method}/responses", escape(template));
    let Some(described) = DOCUMENT.pointer(&responses) else {
        return (status == 405).then(|| PROBLEM.to_owned());
    };
    let key = status.to_string();
    let key = if described.get(&key).is_some() { &key } else { "default" };
    if key == "default" && !ANYWHERE.contains(&status) {
        return None;
    }
    let reference = described[key]["$ref"].as_str().map(|reference| reference[1..].to_owned());
    Some(reference.unwrap_or_else(|| format!("{responses}/{key}")))
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(expected, given)| expected.starts_with('{') || expected == given)
}

/// Escapes a key as a token of a JSON pointer (RFC 6901).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
