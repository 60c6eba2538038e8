use super::*;

#[test]
fn ordinary_names_are_taken_as_they_are() {
    for text in ["postgres-primary", "a", "API.v2", "worker_1", "9lives"] {
        let name: ServiceName = text.parse().unwrap();
        assert_eq!(name, text);
        assert_eq!(name.to_string(), text);
    }
}

#[test]
fn an_empty_name_says_how_long_it_may_be() {
    let error = "".parse::<ServiceName>().unwrap_err();
    assert_eq!(error.to_string(), "the service name is empty; give it 1 to 128 characters");
}

#[test]
fn the_first_bad_character_is_named_with_its_place() {
    let error = "post gres".parse::<ServiceName>().unwrap_err().to_string();
    assert!(error.contains("' ' at position 5"), "{error}");
    let error = "-api".parse::<ServiceName>().unwrap_err().to_string();
    assert!(error.contains("'-' at position 1"), "{error}");
    let error = "größe".parse::<ServiceName>().unwrap_err().to_string();
    assert!(error.contains("'ö' at position 3"), "{error}");
}

#[test]
fn a_name_ends_at_its_limit() {
    assert!("x".repeat(128).parse::<ServiceName>().is_ok());
    let error = "x".repeat(129).parse::<ServiceName>().unwrap_err();
    assert!(matches!(error, InvalidName::TooLong { length: 129, .. }));
}

#[test]
fn json_is_checked_at_the_door() {
    assert!(serde_json::from_str::<ServiceName>("\"api\"").is_ok());
    let error = serde_json::from_str::<ServiceName>("\"a/b\"").unwrap_err();
    assert!(error.to_string().contains("'/' at position 2"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_text_panics_and_what_passes_comes_back(text in ".{0,300}") {
        if let Ok(name) = text.parse::<ServiceName>() {
            proptest::prop_assert_eq!(name.as_str(), text);
        }
    }
}
