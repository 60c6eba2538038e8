//! A web page of an attacker in Chromium: on another origin, and after DNS rebinding on that of the registry.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, REGISTRY, TestEnv, http, isolated, metrics, wait_within};
use serde_json::{Value, json};

use super::target::AuditFile;

/// Where the names of the attacker lead: /etc/hosts would make them names of this host.
const NAMES: &str =
    "--host-resolver-rules=MAP attacker.example 127.0.0.1,MAP evil.example 127.0.0.2";

/// Opens a page in Chromium, and returns what it got of the registry.
fn visit(env: &TestEnv, site: &Process, url: &str, visits: usize) -> Result<Value> {
    let profile = env.folder(&format!("chromium-{visits}"))?.display().to_string();
    let mut chromium = Command::new("chromium");
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    chromium.args([
        NAMES,
        &format!("--user-data-dir={profile}"),
        "--remote-debugging-port=9222",
        url,
    ]);
    let browser = env.spawn("chromium", chromium);
    let _browser = browser
        .context("chromium is missing; run `apt-get install --no-install-recommends chromium`")?;
    wait_within(Duration::from_secs(120), "the result of the page", || {
        let output = site.stdout();
        let results: Vec<_> =
            output.lines().filter_map(|line| line.strip_prefix("result: ")).collect();
        let result = results.get(visits - 1).context("there is none")?;
        Ok(serde_json::from_str(result)?)
    })
}

#[test]
fn hostile_page_in_a_browser_reads_and_changes_nothing() {
    isolated(|env| {
        let audit = AuditFile::new(env);
        let _registry = env.quiet_registry(REGISTRY, &audit.settings())?;
        let victim = ["register", "victim", "--port", "9000", "--ttl", "1h"];
        env.portolan(&victim)?.run()?.exits(0)?;
        let services = || http::get_json(&format!("{REGISTRY}/api/v1/services"));
        let before = services()?;
        ensure!(before["services"][0]["name"] == "victim", "{before}");

        let script = env.write("pages.py", include_str!("pages.py"))?.display().to_string();
        let mut python = Command::new("python3");
        python.arg(script);
        let mut site = env.spawn("site", python)?;
        site.wait_for_line("serving")?;
        for (visits, url, reason) in [
            (1, "http://attacker.example:8000/", "foreign_origin"),
            (2, "http://evil.example:7000/", "misdirected"),
        ] {
            let got = visit(env, &site, url, visits)?;
            println!("{url}: {got}");
            ensure!(got.as_object().is_some_and(|got| got.len() == 15), "{got}");
            let text = got.to_string();
            ensure!(!text.contains("victim") && !text.contains("stolen"), "{url} has read {text}");
            ensure!(got["events"].is_null() && got["websocket"].is_null(), "{got}");
            let page = http::get(&format!("{REGISTRY}/metrics"))?;
            let sample = format!("discovery_http_rejected_total{{reason=\"{reason}\"}}");
            ensure!(metrics::value(&page, &sample) > 5.0, "{page}");
            let record = audit.record(reason)?;
            ensure!(record["outcome"] == json!("denied") && record["peer"].is_string(), "{record}");
            ensure!(
                services()?["services"] == before["services"],
                "{url} has changed the registry"
            );
        }
        Ok(())
    });
}
