//! The HTTP API and its OpenAPI document, compared by Schemathesis.

use std::time::Duration;

use anyhow::ensure;
use portolan_tests::{REGISTRY, isolated, schemathesis};

const TOKEN: &str = "the token of this registry";
/// What is checked: everything but whether the document says all that the registry refuses, such as what is no host name.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,missing_required_header,unsupported_method,\
    allow_header_conformance,use_after_free,ensure_resource_availability,ignored_auth";
/// Several times what it takes.
const LIMIT: Duration = Duration::from_secs(180);

#[test]
fn registry_answers_as_its_document_says_whatever_is_sent() {
    isolated(|env| {
        let options = ["serve", "--set", "broadcast.enabled=false"];
        let serve = env.portolan(&options)?.env("PORTOLAN_TOKEN", TOKEN);
        let mut registry = serve.spawn("registry")?;
        registry.wait_for_line("Registry server started")?;
        let (document, token) =
            (format!("{REGISTRY}/openapi.json"), format!("Authorization: Bearer {TOKEN}"));
        // A watch does not end, so that each would take the timeout of a request.
        let bounds = ["--exclude-path-regex", "watch$", "--max-examples", "10", "--seed", "1"];
        let run = ["run", &document, "--header", &token, "--checks", CHECKS, "--no-color"];
        let mut command = schemathesis::command(&[&run[..], &bounds].concat())?;
        command.current_dir(env.directory());
        let report = env.spawn("schemathesis", command)?.wait(LIMIT)?;
        ensure!(report.code == Some(0), "{}\n{}", report.stdout, report.stderr);
        ensure!(registry.ended()?.is_none(), "the registry ended");
        ensure!(!registry.output().contains("panicked"), "{}", registry.output());
        Ok(())
    });
}
