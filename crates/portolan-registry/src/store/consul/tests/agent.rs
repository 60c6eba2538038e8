//! Real Consul agents for tests, on free ports of loopback, with their data in a temporary directory.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portolan_consul::{ConsulClient, ConsulOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long an agent may take until it has a leader.
const START: Duration = Duration::from_secs(90);

/// A Consul server that is a cluster by itself. Dropping it ends it.
pub(super) struct Agent {
    process: Child,
    directory: TempDir,
    ports: Ports,
    options: ConsulOptions,
}

struct Ports {
    http: u16,
    https: u16,
    dns: u16,
    server: u16,
    serf: u16,
}

// === impl Agent ===

impl Agent {
    pub(super) async fn start() -> Self {
        Self::start_with(&json!({}), None).await
    }

    /// Starts an agent with these settings beside those of every test, and waits with this token until it answers.
    pub(super) async fn start_with(settings: &Value, token: Option<&str>) -> Self {
        let agent = Self::begin("node-1", Ports::free(), settings, token);
        agent.wait_for_leader().await;
        agent
    }

    /// Starts three servers, `node-1` to `node-3`, and waits until they have a leader.
    pub(super) async fn cluster() -> Vec<Self> {
        let ports = [Ports::free(), Ports::free(), Ports::free()];
        let join: Vec<_> = ports.iter().map(|ports| format!("127.0.0.1:{}", ports.serf)).collect();
        let settings = json!({
            "bootstrap": false, "bootstrap_expect": 3, "retry_join": join, "retry_interval": "1s",
            // A leader that a busy machine delays for half a second stays the leader.
            "performance": { "raft_multiplier": 3 },
        });
        let agents = (1..)
            .zip(ports)
            .map(|(number, ports)| Self::begin(&format!("node-{number}"), ports, &settings, None));
        let agents: Vec<_> = agents.collect();
        for agent in &agents {
            agent.wait_for_leader().await;
        }
        agents
    }

    fn begin(node: &str, ports: Ports, settings: &Value, token: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut own = json!({
            "server": true,
            "bootstrap": true,
            "node_name": node,
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "data_dir": directory.path().join("data"),
            "disable_update_check": true,
            "leave_on_terminate": false,
            // An election takes as long as in Consul's own tests.
            "performance": { "raft_multiplier": 1 },
            "ports": {
                "http": ports.http, "dns": ports.dns, "server": ports.server,
                "serf_lan": ports.serf, "serf_wan": -1, "https": -1, "grpc": -1,
            },
        });
        if settings.get("verify_incoming").is_some() {
            own["ports"]["https"] = ports.https.into();
        }
        for (key, value) in settings.as_object().unwrap() {
            own[key] = value.clone();
        }
        std::fs::write(directory.path().join("agent.json"), own.to_string()).unwrap();
        let url = format!("http://127.0.0.1:{}", ports.http);
        let token = token.map(str::to_owned);
        let options = ConsulOptions { url, token, ..ConsulOptions::default() };
        let process = spawn(&directory);
        Self { process, directory, ports, options }
    }

    /// Whether it is the leader.
    pub(super) fn is_leader(&self) -> bool {
        self.consul(&["info"]).contains("leader = true")
    }

    pub(super) fn url(&self) -> String {
        self.options.url.clone()
    }

    pub(super) fn tls_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.https)
    }

    pub(super) fn dns(&self) -> u16 {
        self.ports.dns
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn client(&self) -> ConsulClient {
        ConsulClient::new(&self.options).unwrap()
    }

    /// Kills the agent with SIGKILL.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again with its data, and waits until it answers.
    pub(super) async fn restart(&mut self) {
        self.process = spawn(&self.directory);
        self.wait_for_leader().await;
    }

    /// Sends a signal, such as `STOP`.
    pub(super) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Runs a command of Consul at this agent, and returns its output.
    pub(super) fn consul(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(program());
        command.args(arguments).env("CONSUL_HTTP_ADDR", self.url());
        if let Some(token) = &self.options.token {
            command.env("CONSUL_HTTP_TOKEN", token);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn wait_for_leader(&self) {
        let client = self.client();
        let ready = async {
            // The catalogue has the node once the leader has taken up its work.
            while !client.checks(0, START).await.is_ok_and(|(_, checks)| !checks.is_empty()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap();
        let ready = tokio::time::timeout(START, ready).await;
        assert!(ready.is_ok(), "Consul has no leader: {}", log());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

// === impl Ports ===

impl Ports {
    /// Ports of loopback that nothing uses, for TCP and for UDP.
    fn free() -> Self {
        let mut held = Vec::new();
        let mut free = || loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = tcp.local_addr().unwrap().port();
            if let Ok(udp) = UdpSocket::bind(("127.0.0.1", port)) {
                held.push((tcp, udp));
                return port;
            }
        };
        Self { http: free(), https: free(), dns: free(), server: free(), serf: free() }
    }
}

fn spawn(directory: &TempDir) -> Child {
    let log = directory.path().join("log");
    let log = File::options().append(true).create(true).open(log).unwrap();
    let mut command = Command::new(program());
    command.args(["agent", "-config-file"]).arg(directory.path().join("agent.json"));
    command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// The program, in the `PATH` or where `cargo xtask programs` installs it.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let exe = std::env::current_exe().unwrap();
    let tools = exe.ancestors().nth(3).unwrap().join("tools/consul");
    let mut directories = std::env::split_paths(&path).chain([tools]);
    let found = directories.find(|directory| directory.join("consul").is_file());
    found.expect("consul is missing; run `cargo xtask programs`").join("consul")
}
