//! A registry in a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench_env::BenchEnv;
use crate::flood::server::{Client, TOKEN};

/// Longer than anything that is waited for.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// `portolan serve`. Dropping it ends it.
pub(crate) struct ServedRegistry {
    child: Child,
    pub(crate) address: SocketAddr,
}

/// The program, with directories and a token of the benchmark.
pub(crate) fn portolan(directory: &Path) -> Result<Command> {
    let program = std::env::current_exe()?.with_file_name("portolan");
    ensure!(program.is_file(), "{} is missing; build portolan-cli first", program.display());
    let mut command = Command::new(program);
    let variables = ["XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"];
    command.envs(variables.map(|variable| (variable, directory)));
    command.env("PORTOLAN_TOKEN", TOKEN).env("PORTOLAN_BROADCAST__ENABLED", "false");
    command.env("PORTOLAN_SERVICE_REGISTRY__ALLOW_ROOT", "true");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

// === impl ServedRegistry ===

impl ServedRegistry {
    /// Starts one that requires no token.
    #[cfg(feature = "spec")]
    pub(crate) fn start_open(env: &BenchEnv, settings: &[String]) -> Result<Self> {
        let mut command = portolan(env.directory())?;
        command.env_remove("PORTOLAN_TOKEN");
        Self::spawn(command, settings)
    }

    /// Starts one that requires a token.
    pub(crate) fn start(env: &BenchEnv, settings: &[String]) -> Result<Self> {
        Self::spawn(portolan(env.directory())?, settings)
    }

    fn spawn(mut serve: Command, settings: &[String]) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        serve.args(["serve", "--listen", &address.to_string()]);
        settings.iter().for_each(|setting| _ = serve.args(["--set", setting]));
        let registry = Self { child: serve.spawn()?, address };
        registry.wait_for("discovery_registry_sessions 0")?;
        Ok(registry)
    }

    /// Waits for a line of its metrics.
    pub(crate) fn wait_for(&self, line: &str) -> Result<()> {
        let began = Instant::now();
        while !self.metrics().is_ok_and(|page| page.lines().any(|it| it == line)) {
            ensure!(began.elapsed() < WITHIN, "no metric {line}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(crate) fn metrics(&self) -> Result<String> {
        Client::connect(self.address)?.request("GET /metrics", "")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for ServedRegistry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
