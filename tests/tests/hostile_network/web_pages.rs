//! Web pages reach a registry through the browser of a visitor: by DNS rebinding, or across sites.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};
use portolan_tests::{REGISTRY, http, isolated};

const BODY: &str = r#"{"name":"api","host":"127.0.0.1","port":8080}"#;

/// Sends a request with these headers, and returns the response.
fn send(method: &str, headers: &[&str]) -> Result<String> {
    let mut stream = TcpStream::connect("127.0.0.1:7000")?;
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let body = if method == "POST" { BODY } else { "" };
    let length = body.len();
    write!(
        stream,
        "{method} /api/v1/services HTTP/1.1\r\n{headers}Connection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

#[test]
fn web_page_can_neither_read_nor_change_a_registry() {
    isolated(|env| {
        let _registry = env.registry()?;
        let own = "Host: 127.0.0.1:7000";
        for (headers, status) in [
            (&["Host: evil.example"][..], 421),
            (&["Host: evil.example", "Origin: http://evil.example"], 421),
            (&[own, "Origin: http://evil.example"], 403),
            (&[own, "Origin: http://127.0.0.1:3000"], 403),
            (&[own, "Sec-Fetch-Site: cross-site"], 403),
            (&[], 400),
            (&[own, "Host: evil.example"], 400),
        ] {
            for method in ["GET", "POST"] {
                let response = send(method, headers)?;
                let line = format!("HTTP/1.1 {status} ");
                ensure!(response.starts_with(&line), "{method} {headers:?}: {response}");
            }
        }
        let refused = send("GET", &["Host: evil.example"])?;
        ensure!(refused.contains("service_registry.allowed_hosts"), "{refused}");
        let listing = http::get_json(&format!("{REGISTRY}/api/v1/services"))?;
        ensure!(listing["services"].as_array().is_some_and(Vec::is_empty), "{listing}");
        let answer = send("GET", &["Host: localhost:7000"])?.to_lowercase();
        ensure!(answer.contains("x-content-type-options: nosniff"), "{answer}");
        ensure!(answer.contains("cross-origin-resource-policy: same-origin"), "{answer}");
        let metrics = http::get(&format!("{REGISTRY}/metrics"))?;
        for reason in ["misdirected", "foreign_origin", "invalid_host"] {
            ensure!(metrics.contains(&format!("{{reason=\"{reason}\"}}")), "{metrics}");
        }
        Ok(())
    });
}

#[test]
fn configured_name_is_answered() {
    isolated(|env| {
        let allowed = "service_registry.allowed_hosts=[registry.example.org]";
        let _registry = env.quiet_registry(REGISTRY, &["--set", allowed])?;
        let response = send("GET", &["Host: registry.example.org"])?;
        ensure!(response.starts_with("HTTP/1.1 200 "), "{response}");
        Ok(())
    });
}

#[test]
fn registry_serves_its_own_host_only_unless_it_is_told_otherwise() {
    isolated(|env| {
        let (own, other) = (env.host(1)?, env.host(2)?);
        let mut closed = own.portolan(&["serve"])?.spawn("serve")?;
        closed.wait_for_line("Registry server started")?;
        let reach = "curl -s -m 5 http://10.77.0.1:7000/readyz && echo reached || echo refused";
        let refused = other.shell(reach)?;
        ensure!(refused.stdout.contains("refused"), "{refused:?}");
        closed.kill()?;

        let mut open = own.portolan(&["serve", "--listen", "0.0.0.0:7000"])?.spawn("serve")?;
        open.wait_for_line("Registry server started")?;
        open.wait_for_line("serves other hosts without a token")?;
        let reached = other.shell(reach)?;
        ensure!(reached.stdout.contains("reached"), "{reached:?}");
        let url = own.registry_url();
        let list = other.portolan(&["list", "--registry", &url])?.run()?.exits(0)?;
        ensure!(list.stderr.contains("serves other hosts without a token"), "{list:?}");
        let doctor = other.portolan(&["doctor", "--registry", &url])?.run()?;
        ensure!(doctor.stdout.contains("serves other hosts without a token"), "{doctor:?}");
        Ok(())
    });
}
