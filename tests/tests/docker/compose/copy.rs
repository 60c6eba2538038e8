//! A working copy that has one of the examples.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use portolan_tests::docker::{ComposeVersion, Docker};
use portolan_tests::{Output, TestEnv};
use serde_json::Value;

/// The working copy.
pub(super) struct Copy<'a> {
    docker: &'a Docker<'a>,
    version: ComposeVersion,
    file: &'static str,
    directory: PathBuf,
}

pub(super) type Ports = BTreeMap<String, u16>;

impl<'a> Copy<'a> {
    pub(super) fn new(
        env: &TestEnv,
        docker: &'a Docker<'a>,
        version: ComposeVersion,
        (name, file): (&str, &'static str),
    ) -> Result<Self> {
        let directory = env.folder(name)?;
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/compose").join(file);
        fs::copy(&example, directory.join(file)).context("the example is missing")?;
        Ok(Self { docker, version, file, directory })
    }

    pub(super) fn compose(&self, options: &[&str], arguments: &[&str]) -> Result<Output> {
        let arguments = [&[self.file], arguments].concat();
        self.docker.compose(self.version, &self.directory, options, &arguments)?.run()
    }

    /// Starts everything, and returns the ports of the host by service.
    pub(super) fn up(&self) -> Result<Ports> {
        let output = self.compose(&["--json"], &["up", "-d"])?.exits(0)?;
        let line = output.stdout.lines().next().context("no line")?;
        let leased: Value = serde_json::from_str(line)?;
        let ports = leased["ports"].as_array().context("no ports")?;
        let port = |it: &Value| {
            Some((it["service"].as_str()?.to_owned(), u16::try_from(it["port"].as_u64()?).ok()?))
        };
        ports.iter().map(|it| port(it).context("no port")).collect()
    }

    /// Compose's own answer.
    pub(super) fn port(&self, service: &str, target: &str) -> Result<u16> {
        let text = self.compose(&[], &["port", service, target])?.text()?;
        Ok(text.rsplit(':').next().context("no port")?.trim().parse()?)
    }
}
