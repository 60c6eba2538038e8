use super::*;

#[test]
fn a_name_and_a_port_are_what_is_connected_to() {
    let authority = |text: &str| authority(&Url::parse(text).unwrap());
    assert_eq!(authority("http://h/x"), "h:80");
    assert_eq!(authority("http://[::1]:8080/"), "[::1]:8080");
}
