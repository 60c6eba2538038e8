use super::*;

#[test]
fn authority_is_host_and_port() {
    let authority = |text: &str| authority(&Url::parse(text).unwrap());
    assert_eq!(authority("http://h/x"), "h:80");
    assert_eq!(authority("http://[::1]:8080/"), "[::1]:8080");
}
