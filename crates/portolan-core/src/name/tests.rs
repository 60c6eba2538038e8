use super::*;

#[test]
fn valid_names_are_accepted_unchanged() {
    for text in ["postgres-primary", "a", "api.v2", "worker_1", "9lives"] {
        let name: ServiceName = text.parse().unwrap();
        assert_eq!(name, text);
        assert_eq!(name.to_string(), text);
    }
}

#[test]
fn service_names_compare_as_in_dns() {
    let name: ServiceName = "API.v2".parse().unwrap();
    assert_eq!(name, "api.v2");
    assert_eq!(serde_json::from_str::<ServiceName>("\"Api.V2\"").unwrap(), name);
    assert_ne!("Shop".parse::<Scope>().unwrap(), "shop", "scopes are exact");
}

#[test]
fn empty_name_is_rejected_with_the_limit() {
    let error = "".parse::<ServiceName>().unwrap_err();
    assert_eq!(error.to_string(), "the service name is empty, expected 1 to 128 characters");
}

#[test]
fn error_names_the_first_invalid_character_and_its_position() {
    let error = "post gres".parse::<ServiceName>().unwrap_err().to_string();
    assert!(error.contains("' ' at position 5"), "{error}");
    let error = "-api".parse::<ServiceName>().unwrap_err().to_string();
    assert!(error.contains("'-' at position 1"), "{error}");
    let error = "größe".parse::<ServiceName>().unwrap_err().to_string();
    assert!(error.contains("'ö' at position 3"), "{error}");
}

#[test]
fn name_longer_than_the_limit_is_rejected() {
    assert!("x".repeat(128).parse::<ServiceName>().is_ok());
    let error = "x".repeat(129).parse::<ServiceName>().unwrap_err();
    assert!(matches!(error, InvalidName::TooLong { length: 129, .. }));
}

#[test]
fn case_and_dots_at_the_end_of_a_service_name_do_not_count() {
    let name: ServiceName = "Web-API.".parse().unwrap();
    assert_eq!(name.as_str(), "web-api");
    assert_eq!("a.b..".parse::<ServiceName>().unwrap().as_str(), "a.b");
    assert!(".".parse::<ServiceName>().is_err());
    // Scopes are no names in DNS.
    assert_eq!("Shop.".parse::<crate::Scope>().unwrap().as_str(), "Shop.");
}

#[test]
fn names_in_json_are_validated() {
    assert!(serde_json::from_str::<ServiceName>("\"api\"").is_ok());
    let error = serde_json::from_str::<ServiceName>("\"a/b\"").unwrap_err();
    assert!(error.to_string().contains("'/' at position 2"), "{error}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_rejected_or_becomes_its_own_lower_case(text in "[-A-Za-z0-9._]{0,130}|.{0,300}") {
        if let Ok(name) = text.parse::<ServiceName>() {
            let lower_case = text.to_ascii_lowercase();
            proptest::prop_assert_eq!(name.as_str(), lower_case.trim_end_matches('.'));
            proptest::prop_assert_eq!(name.as_str().parse::<ServiceName>().unwrap(), name);
        }
    }
}
