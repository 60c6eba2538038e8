use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::*;
use crate::de_error::unknown_key;
use crate::yaml;

fn typed<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let node = yaml::parse(text, &Arc::from(Path::new("f.yaml"))).unwrap().unwrap();
    read(&node, &KeyPath::default())
}

fn problem<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
    typed::<T>(text).unwrap_err().to_string()
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    text: String,
    number: Option<u16>,
    kind: Option<Kind>,
    endpoint: Option<Endpoint>,
    list: Option<Vec<u8>>,
    ports: Option<BTreeMap<u16, bool>>,
    ratio: Option<f64>,
    letter: Option<char>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Memory,
    Etcd { url: String },
    Pair(u8, u8),
    One(Inner),
}

#[derive(Debug, PartialEq, Deserialize)]
struct Inner(i64);

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Endpoint {
    Port(u16),
    Text(String),
    Full { host: String, port: u16 },
}

#[test]
fn type_of_a_scalar_is_the_type_of_its_setting() {
    let section: Section =
        typed("text: 16.10\nnumber: 0x10\nratio: 3\nletter: 5\nports: {80: true}\n").unwrap();
    assert_eq!(section.text, "16.10");
    assert_eq!(section.number, Some(16));
    assert_eq!(section.ratio, Some(3.0));
    assert_eq!(section.letter, Some('5'));
    assert!(section.ports.unwrap()[&80]);
    assert_eq!(typed::<Section>("text: x\nnumber: ~\n").unwrap().number, None);
}

#[test]
fn enums_are_read_in_every_form() {
    let kind = |text: &str| typed::<Section>(&format!("text: x\nkind: {text}")).unwrap().kind;
    assert_eq!(kind("memory"), Some(Kind::Memory));
    assert_eq!(kind("{memory: }"), Some(Kind::Memory));
    assert_eq!(kind("{etcd: {url: u}}"), Some(Kind::Etcd { url: "u".into() }));
    assert_eq!(kind("{pair: [1, 2]}"), Some(Kind::Pair(1, 2)));
    assert_eq!(kind("{one: -1}"), Some(Kind::One(Inner(-1))));
    let endpoint = |text: &str| typed::<Section>(&format!("text: x\nendpoint: {text}")).unwrap();
    assert_eq!(endpoint("5432").endpoint, Some(Endpoint::Port(5432)));
    assert_eq!(endpoint("a:1").endpoint, Some(Endpoint::Text("a:1".into())));
    let full = Endpoint::Full { host: "h".into(), port: 1 };
    assert_eq!(endpoint("{host: h, port: 1}").endpoint, Some(full));
}

#[test]
fn errors_have_line_column_path_and_expected_type() {
    for (text, message) in [
        ("text: x\nnumber: many", "f.yaml:2:9: number: expected u16, found string \"many\""),
        ("text: x\nnumber: 70000", "f.yaml:2:9: number: expected u16, found integer `70000`"),
        ("text:\n", "f.yaml:1:5: text: expected a string, found nothing"),
        ("text: [a]", "f.yaml:1:7: text: expected a string, found a list"),
        ("text: {a: b}", "f.yaml:1:7: text: expected a string, found a map"),
        ("text: x\nlist: [1, 300]", "f.yaml:2:11: list[1]: expected u8, found integer `300`"),
        ("text: x\nports: {http: true}", "f.yaml:2:9: ports: expected u16, found string \"http\""),
        ("txet: x", "f.yaml:1:1: txet: unknown key; did you mean `text`?"),
        ("number: 1", "f.yaml:1:1: missing key `text`"),
        (
            "text: x\nkind: memroy",
            "f.yaml:2:7: kind: expected one of memory, etcd, pair, one, found \"memroy\"; did you mean `memory`?",
        ),
        ("text: x\nkind: {memory: 5}", "f.yaml:2:16: kind.memory: expected no value"),
        ("text: x\nkind: {etcd: {}}", "f.yaml:2:14: kind.etcd: missing key `url`"),
        (
            "text: x\nkind: [memory]",
            "f.yaml:2:7: kind: expected a Kind with one of the keys memory, etcd, pair, one",
        ),
    ] {
        assert_eq!(problem::<Section>(text), message);
    }
    assert_eq!(
        problem::<Kind>("''"),
        "f.yaml:1:1: expected one of memory, etcd, pair, one, found \"\""
    );
    let whole = problem::<Section>("5");
    assert_eq!(whole, "f.yaml:1:1: expected a section with settings, found integer `5`");
}

#[test]
fn unknown_key_lists_the_known_keys() {
    assert_eq!(unknown_key("zzz", &["alpha", "beta"]), "unknown key; expected one of alpha, beta");
    assert_eq!(unknown_key("zzz", &[]), "unknown key; no key is expected here");
    assert_eq!(unknown_key("zzz", &["alpha"; 40]), "unknown key");
}

#[test]
fn quoted_value_is_bounded() {
    let long = format!("text: x\nnumber: {}", "a".repeat(10_000));
    assert!(problem::<Section>(&long).len() < 400);
}
