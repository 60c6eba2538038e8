use super::*;
use crate::CheckSpec;

#[cfg(not(feature = "grpc"))]
#[test]
fn build_without_grpc_says_how_to_get_it() {
    for text in ["grpc", "grpcs://h:1"] {
        let error = text.parse::<CheckSpec>().unwrap_err().to_string();
        assert!(error.contains("gRPC is not built into this version"), "{error}");
        assert!(error.contains("--features full"), "{error}");
    }
}

#[cfg(feature = "grpc")]
#[test]
fn forms_are_parsed() {
    for text in ["grpc", "grpc#service=shop.Orders", "grpc://h:1", "grpc:[::1]:5"] {
        assert_eq!(text.parse::<CheckSpec>().unwrap().to_string(), text);
    }
    let long = format!("grpc#service={}", "x".repeat(300));
    assert!(long.parse::<CheckSpec>().unwrap_err().to_string().contains("longer than 256 bytes"));
}

#[test]
fn only_serving_passes_and_restricted_reasons_have_no_foreign_text() {
    let grpc = |service: &str| Grpc {
        address: CheckAddress::parse(None).unwrap(),
        service: service.to_owned(),
        tls: None,
    };
    let of = |service, answer| grpc(service).meaning_of(&answer, true);
    let serving = (HealthStatus::Passing, "the server is SERVING".to_owned());
    assert_eq!(of("", Answer::Status(1)), serving);
    let not_serving = (HealthStatus::Critical, "the service a.B is NOT_SERVING".to_owned());
    assert_eq!(of("a.B", Answer::Status(2)), not_serving);
    for answer in [
        Answer::Status(0),
        Answer::Status(3),
        Answer::Status(-1),
        Answer::UnknownService,
        Answer::Unimplemented,
        Answer::Untrusted("x".to_owned()),
    ] {
        assert_eq!(of("", answer).0, HealthStatus::Critical);
    }
    assert_eq!(of("", Answer::NotChecked("x".to_owned())).0, HealthStatus::Unknown);
    let failed = || Answer::Failed("private".to_owned());
    assert_eq!(of("", failed()).1, "the gRPC call failed");
    assert_eq!(grpc("").meaning_of(&failed(), false).1, "the gRPC call failed: private");
}
