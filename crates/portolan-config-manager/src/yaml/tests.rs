use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Option<Node>, SyntaxError> {
    parse(text, &Arc::from(Path::new("test.yaml")))
}

fn node(text: &str) -> Node {
    read(text).unwrap().expect("a value")
}

fn place(node: &Node) -> (u64, u64) {
    match node.origin {
        Origin::File { line, column, .. } => (line, column),
        ref other => panic!("not from a file: {other}"),
    }
}

fn plain(text: &str) -> Value {
    Value::Scalar(Scalar::Plain(text.into()))
}

fn text(text: &str) -> Value {
    Value::Scalar(Scalar::Text(text.into()))
}

#[test]
fn empty_file_has_no_value() {
    for empty in ["", "\n\n", "# only a comment\n", "---\n", "\u{feff}"] {
        let node = read(empty).unwrap();
        assert!(node.is_none_or(|node| node.is_null()), "{empty:?}");
    }
}

#[test]
fn scalars_keep_their_spelling_and_their_quotes() {
    let node = node(
        "a: 16.10\nb: '5'\nc: hello\nd: 0x1F\ne:\nf: True\ng: ~\nh: yes\ni: 1_000\nj: 123456789012345678901234567890\n",
    );
    for (key, value) in [
        ("a", plain("16.10")),
        ("b", text("5")),
        ("c", text("hello")),
        ("d", plain("0x1F")),
        ("e", plain("")),
        ("f", plain("True")),
        ("h", text("yes")),
        ("i", text("1_000")),
        ("j", plain("123456789012345678901234567890")),
    ] {
        assert_eq!(node.get(key).unwrap().value, value, "{key}");
    }
    assert!(node.get("g").unwrap().is_null());
}

#[test]
fn brace_in_a_plain_text_is_answered_with_quotation_marks() {
    let message = |text: &str| read(text).unwrap_err().message;
    let hinted = |text: &str| message(text).contains("needs quotation marks");
    assert!(
        hinted("a: {command: serve {port} --fast}\n"),
        "{}",
        message("a: {command: serve {port} --fast}")
    );
    assert!(!hinted("a: {b: {c: 1}, d: }]\n"));
    assert!(node("a: serve {port}\nb: {c: '{port}'}").get("b").is_some());
}

#[test]
fn values_and_keys_have_their_place() {
    let node = node("a:\n  b: 5\nlist:\n  - one\n  - two\n");
    assert_eq!(place(node.get("a").unwrap().get("b").unwrap()), (2, 6));
    let Value::List(items) = &node.get("list").unwrap().value else { panic!("not a list") };
    assert_eq!(place(&items[1]), (5, 5));
    let Origin::File { line, column, .. } = node.entries()[1].key_origin else { panic!() };
    assert_eq!((line, column), (3, 1));
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    let node = node("base: &base\n  port: 0o17\n  host: h\nown:\n  <<: *base\n  host: other\n");
    let own = node.get("own").unwrap();
    assert_eq!(own.get("port").unwrap().value, plain("0o17"));
    assert_eq!(own.get("host").unwrap().value, text("other"));
}

#[test]
fn syntax_error_has_its_place() {
    let error = read("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
    assert!(error.line >= 2, "{error:?}");
    let twice = read("a: 1\nb: 2\na: 3\n").unwrap_err();
    assert_eq!((twice.line, twice.column), (3, 1), "{twice:?}");
    assert!(twice.message.contains("duplicate key `a`"), "{twice:?}");
    let two = read("a: 1\n---\nb: 2\n").unwrap_err();
    assert!(two.message.contains("second one"), "{two:?}");
    assert!(read("? [a, b]\n: c\n").is_err());
    assert!(read("'': c\n").unwrap_err().message.contains("found an empty one"));
}

#[test]
fn yaml_alias_bomb_is_rejected() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        let items = vec![below; 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(read(&laughs).is_err());
    assert!(read(&"[".repeat(100_000)).is_err());
    assert!(read(&"{a: ".repeat(100_000)).is_err());
    let steps: String = (0..5_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(read(&steps).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        drop(read(&text));
    }

    #[test]
    fn no_yaml_like_text_panics(
        text in "([a-c]{1,2}: |- |\\[|\\]|\\{|\\}|, |\n|\n  |\n    |&a |\\*a|<<: |!!str |[0-9.]{1,4}|'|\"|\\||> |# |--- |~|true|é){0,40}"
    ) {
        drop(read(&text));
    }
}
