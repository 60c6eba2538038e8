//! The registry under attack, what it counts and audits, and a client that must be served meanwhile.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Host, Process, TestEnv, metrics, wait_for};
use serde_json::Value;

pub(crate) const TOKEN: &str = "the token of the attacked registry";
pub(crate) const MIB: usize = 1024 * 1024;

/// A registry on the first host, a client on the second, and an attacker on the third.
pub(crate) struct Target<'a> {
    pub(crate) env: &'a TestEnv,
    pub(crate) registry_host: Host<'a>,
    pub(crate) client: Host<'a>,
    pub(crate) attacker: Host<'a>,
    pub(crate) registry: Process,
    audit: AuditFile,
}

/// The audit log of a registry.
pub(crate) struct AuditFile(PathBuf);

// === impl Target ===

impl<'a> Target<'a> {
    pub(crate) fn start(env: &'a TestEnv, options: &[&str]) -> Result<Self> {
        let (registry_host, client, attacker) = (env.host(1)?, env.host(2)?, env.host(3)?);
        let audit = AuditFile::new(env);
        let serve = ["serve", "--listen", "0.0.0.0:7000", "--set", "broadcast.enabled=false"];
        let serve = registry_host.portolan(&serve)?.args(&audit.settings()).args(options);
        let mut registry = serve.env("PORTOLAN_TOKEN", TOKEN).spawn("registry")?;
        registry.wait_for_line("Registry server started")?;
        Ok(Self { env, registry_host, client, attacker, registry, audit })
    }

    /// Starts the attacks of `attacker.py` on the host of the attacker.
    pub(crate) fn attack(&self, arguments: &[&str]) -> Result<Process> {
        let script = self.env.write("attacker.py", include_str!("attacker.py"))?;
        let script = script.display().to_string();
        let address = self.registry_host.address();
        let command = ["python3", &script, address.as_str(), TOKEN];
        self.attacker.spawn("attack", &[&command[..], arguments].concat())
    }

    /// Looks up a service from another host than the attacker's, ten times.
    pub(crate) fn serves_others(&self) -> Result<()> {
        let url = format!("{}/api/v1/services?name=api", self.registry_host.registry_url());
        let lookup = format!(
            "for i in 1 2 3 4 5 6 7 8 9 10; do curl -s -m 10 -o /dev/null -w '%{{http_code}} ' -H 'Authorization: Bearer {TOKEN}' \
             '{url}'; done"
        );
        let statuses = self.client.shell(&lookup)?.stdout;
        ensure!(statuses.trim() == ["200"; 10].join(" "), "{statuses}");
        Ok(())
    }

    /// How often something was rejected for this reason.
    pub(crate) fn rejected(&self, reason: &str) -> Result<f64> {
        let url = self.registry_host.registry_url();
        let page = self
            .client
            .shell(&format!("curl -s -m 10 -H 'Authorization: Bearer {TOKEN}' {url}/metrics"))?;
        Ok(metrics::value(
            &page.stdout,
            &format!("discovery_http_rejected_total{{reason=\"{reason}\"}}"),
        ))
    }

    /// Waits until rejections for this reason are counted, and the attacker is named in the audit log.
    pub(crate) fn is_counted_and_audited(&self, reason: &str) -> Result<()> {
        wait_for(&format!("{reason} to be counted"), || {
            ensure!(self.rejected(reason)? > 0.0, "{reason} is not counted");
            Ok(())
        })?;
        let record = self.audit.record(reason)?;
        let peer = record["peer"].as_str().unwrap_or_default();
        ensure!(peer.starts_with("10.77.0.") && record["outcome"] == "denied", "{record}");
        Ok(())
    }

    /// The resident memory of the registry in bytes.
    pub(crate) fn memory(&self) -> Result<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process()?))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: usize = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// How many descriptors the registry has open.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.process()?))?.count())
    }

    /// The registry itself: `env` and `nsenter`, which started it, have become it by exec.
    fn process(&self) -> Result<u32> {
        let name = fs::read_to_string(format!("/proc/{}/comm", self.registry.id()))?;
        ensure!(name.trim() == "portolan", "{name}");
        Ok(self.registry.id())
    }
}

// === impl AuditFile ===

impl AuditFile {
    pub(crate) fn new(env: &TestEnv) -> Self {
        Self(env.directory().join("audit.jsonl"))
    }

    pub(crate) fn settings(&self) -> [String; 4] {
        let file = format!("logging.audit.file={}", self.0.display());
        let set = || "--set".to_owned();
        [set(), "logging.audit.sink=file".to_owned(), set(), file]
    }

    pub(crate) fn records(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.0)?;
        Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// Waits for a record with this reason.
    pub(crate) fn record(&self, reason: &str) -> Result<Value> {
        wait_for(&format!("a record of {reason}"), || {
            let mut records = self.records()?.into_iter();
            records.find(|record| record["reason"] == reason).context("there is none")
        })
    }
}
