//! What a registry that was taken over could still do to its host.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use portolan_tests::{isolated, wait_for};

/// Whether the kernel has Landlock, as `doctor` says.
fn has_landlock(findings: &serde_json::Value) -> Result<bool> {
    let findings = findings["findings"].as_array().context("no findings")?;
    let sandbox = findings.iter().find(|finding| finding["check"] == "sandbox");
    let evidence = sandbox.context("no check of the sandbox")?["evidence"].as_str();
    Ok(evidence.is_some_and(|evidence| evidence.contains("is available")))
}

/// Puts a link to another directory in the place of one that the server writes to.
fn redirect(directory: &Path, to: &Path) -> Result<()> {
    fs::rename(directory, directory.with_extension("before"))?;
    symlink(to, directory).map_err(Into::into)
}

#[test]
fn registry_writes_to_its_own_directories_only() {
    isolated(|env| {
        let doctor = env.portolan(&["doctor", "--json"])?.run()?.json()?;
        let (audit, elsewhere) = (env.folder("audit")?, env.folder("elsewhere")?);
        let data = env.folder("lib")?.join("data");
        let settings = [
            "logging.audit.sink=file".to_owned(),
            format!("logging.audit.file={}", audit.join("audit.jsonl").display()),
            format!("service_registry.data_dir={}", data.display()),
        ];
        let options: Vec<&str> =
            settings.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
        let mut registry = env.portolan(&["serve"])?.args(&options).spawn("registry")?;
        registry.wait_for_line("Registry server started")?;
        let register = |name: &str| {
            let what = ["register", name, "--host", "127.0.0.1", "--port", "8080"];
            env.portolan(&what)?.run()?.exits(0)
        };
        register("first")?;
        let recorded = |name: &str, file: &Path| -> Result<()> {
            let text = fs::read_to_string(file)?;
            ensure!(text.contains(name), "{text}");
            Ok(())
        };
        wait_for("the record", || recorded("first", &audit.join("audit.jsonl")))?;
        ensure!(data.join("LOCK").exists(), "the data directory is created and written");

        redirect(&audit, &elsewhere)?;
        register("second")?;
        if !has_landlock(&doctor)? {
            println!(
                "this kernel has no Landlock: the server says so, and writes wherever its user may"
            );
            registry.wait_for_line("Landlock is not available")?;
            return wait_for("the record", || recorded("second", &elsewhere.join("audit.jsonl")));
        }
        registry.wait_for_line("Writing is restricted to the server's own directories")?;
        wait_for("the loss to be counted", || {
            let page = portolan_tests::http::get("http://127.0.0.1:7000/metrics")?;
            let lost = page.lines().find(|line| line.starts_with("discovery_audit_lost_total"));
            ensure!(lost.is_some_and(|line| !line.ends_with(" 0")), "{lost:?}");
            Ok(())
        })?;
        ensure!(fs::read_dir(&elsewhere)?.next().is_none(), "it wrote elsewhere");
        let status = fs::read_to_string(format!("/proc/{}/status", registry.id()))?;
        ensure!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
        Ok(())
    });
}
