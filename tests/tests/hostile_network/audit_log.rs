//! The audit log says who did what, denials included, and cannot be changed unnoticed.

use std::fs;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Host, isolated, wait_for};
use serde_json::Value;

const TOKEN: &str = "the-token-of-this-registry";

/// Sends a request from a host with this token, and returns the status.
fn status(host: &Host<'_>, token: &str, arguments: &str) -> Result<String> {
    let command = format!(
        "curl -s -m 5 -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {token}' \
         -H 'Content-Type: application/json' {arguments}"
    );
    Ok(host.shell(&command)?.stdout.trim().to_owned())
}

#[test]
fn every_action_and_denial_is_recorded_in_a_chain() {
    isolated(|env| {
        let (own, other) = (env.host(1)?, env.host(2)?);
        let file = env.directory().join("audit.jsonl");
        let settings = [
            "logging.audit.sink=file".to_owned(),
            format!("logging.audit.file={}", file.display()),
        ];
        let options: Vec<&str> =
            settings.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
        let serve = own.portolan(&["serve", "--listen", "0.0.0.0:7000"])?.args(&options);
        let mut serve = serve.env("PORTOLAN_TOKEN", TOKEN).spawn("serve")?;
        serve.wait_for_line("Registry server started")?;
        let url = "http://10.77.0.1:7000/api/v1/services";
        let body = r#"-d '{"name":"api","host":"10.77.0.2","port":8080}'"#;
        ensure!(status(&other, TOKEN, &format!("{body} {url}"))? == "201");
        let health = r#"-X PUT -d '{"status":"critical","reason":"x\n\u001b[2J"}'"#;
        let id = "api@10.77.0.2:8080";
        ensure!(status(&other, TOKEN, &format!("{health} {url}/{id}/health"))? == "204");
        ensure!(status(&other, TOKEN, &format!("-X DELETE {url}/{id}"))? == "204");
        ensure!(status(&other, "", url)? == "401");
        let guesses = (0..15).map(|guess| status(&other, &format!("guess-{guess}"), url));
        let guesses = guesses.collect::<Result<Vec<_>>>()?;
        ensure!(guesses[0] == "403" && guesses[14] == "429", "{guesses:?}");
        ensure!(status(&other, TOKEN, url)? == "429", "nothing is tried while it is locked out");
        ensure!(status(&own, TOKEN, url)? == "200", "others are not");

        let find = |action: &str, outcome: &str| -> Result<Value> {
            let text = fs::read_to_string(&file)?;
            let records = text.lines().map(serde_json::from_str::<Value>);
            let mut records = records.collect::<Result<Vec<_>, _>>()?.into_iter();
            let found =
                records.find(|record| record["action"] == action && record["outcome"] == outcome);
            found.with_context(|| format!("no {action} {outcome} in {text}"))
        };
        wait_for("the last record", || find("request", "denied"))?;
        for action in ["register", "health", "deregister"] {
            let record = find(action, "success")?;
            ensure!(record["principal"] == "token", "{record}");
            ensure!(
                record["peer"].as_str().is_some_and(|peer| peer.starts_with("10.77.0.2:")),
                "{record}"
            );
            ensure!(record["service_id"] == id, "{record}");
        }
        ensure!(find("register", "success")?["after"]["port"] == 8080);
        ensure!(find("health", "success")?["before"]["health"] == "unknown");
        ensure!(find("health", "success")?["after"]["health"] == "critical");
        let denied = find("request", "denied")?;
        ensure!(denied["status"] == 401 && denied["reason"] == "no_token", "{denied}");
        ensure!(!fs::read_to_string(&file)?.contains("guess-"), "no credentials are recorded");

        serve.kill()?;
        let path = file.display().to_string();
        let verify = |path: &str| env.portolan(&["audit", "verify", path])?.run();
        let whole = verify(&path)?.exits(0)?;
        ensure!(whole.stdout.contains("records verified, from 1 to"), "{whole:?}");
        let text = fs::read_to_string(&file)?;
        let changed = text.replacen("\"action\":\"deregister\"", "\"action\":\"register\"", 1);
        ensure!(changed != text);
        let removed: String = text
            .lines()
            .enumerate()
            .filter(|(at, _)| *at != 1)
            .map(|(_, line)| format!("{line}\n"))
            .collect();
        for (name, text, expected) in [
            ("changed.jsonl", changed, "was changed"),
            ("removed.jsonl", removed, ":2: the record 2 before this one was removed"),
        ] {
            let path = env.write(name, &text)?.display().to_string();
            let broken = verify(&path)?.exits(1)?;
            ensure!(broken.stderr.contains(expected), "{broken:?}");
        }
        Ok(())
    });
}

#[test]
fn server_does_not_start_without_its_audit_log() {
    isolated(|env| {
        let sink = ["serve", "--set", "logging.audit.sink=file"];
        let missing = env.portolan(&sink)?.run()?.exits(2)?;
        ensure!(missing.stderr.contains("logging.audit.file"), "{missing:?}");
        let file = "logging.audit.file=/proc/none/audit.jsonl";
        let unwritable = env.portolan(&sink)?.args(&["--set", file]).run()?.exits(1)?;
        ensure!(unwritable.stderr.contains("/proc/none/audit.jsonl"), "{unwritable:?}");
        Ok(())
    });
}
