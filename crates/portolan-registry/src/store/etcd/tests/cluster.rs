//! Real etcd servers for tests, on free ports of loopback, with their data in a temporary directory.

use std::fs::File;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portolan_etcd::{EtcdClient, EtcdOptions};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::store::remote::certificates::Certificates;

/// How long a cluster may take to elect a leader.
const START: Duration = Duration::from_secs(90);

/// A cluster of real etcd servers. Dropping it ends them.
pub(super) struct Cluster {
    members: Vec<Member>,
    directory: TempDir,
    /// How its own clients reach it.
    options: EtcdOptions,
    /// The arguments with which etcdctl reaches it.
    control: Vec<String>,
}

struct Member {
    name: String,
    client: String,
    arguments: Vec<String>,
    process: Child,
}

// === impl Cluster ===

impl Cluster {
    /// Starts so many members, and waits until they answer.
    pub(super) async fn start(count: usize) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), count, None, Vec::new()).await
    }

    /// Starts so many members that keep their leader although a busy machine delays it for seconds.
    pub(super) async fn start_patient(count: usize) -> Self {
        let patient = ["--heartbeat-interval", "1000", "--election-timeout", "10000"];
        let patient = patient.map(str::to_owned).to_vec();
        Self::start_in(tempfile::tempdir().unwrap(), count, None, patient).await
    }

    /// Starts a member that requires client certificates of this authority.
    pub(super) async fn start_with_tls() -> (Self, Certificates) {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates::create(directory.path());
        (Self::start_in(directory, 1, Some(&certificates), Vec::new()).await, certificates)
    }

    async fn start_in(
        directory: TempDir,
        count: usize,
        tls: Option<&Certificates>,
        more: Vec<String>,
    ) -> Self {
        let ports = free_ports(2 * count);
        let url = |scheme: &str, port: &u16| format!("{scheme}://127.0.0.1:{port}");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let peers: Vec<_> = ports[count..].iter().map(|port| url("http", port)).collect();
        let arguments = tls.map(Certificates::of_members).unwrap_or_default();
        let options = tls.map(Certificates::options).unwrap_or_default();
        let control = tls.map(Certificates::of_etcdctl).unwrap_or_default();
        let named = peers.iter().enumerate().map(|(number, peer)| format!("node-{number}={peer}"));
        let initial = named.collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for (number, peer) in peers.iter().enumerate() {
            let (name, client) = (format!("node-{number}"), url(scheme, &ports[number]));
            let data = directory.path().join(&name).display().to_string();
            let own: Vec<String> = [
                ["--name", &name],
                ["--data-dir", &data],
                ["--listen-client-urls", &client],
                ["--advertise-client-urls", &client],
                ["--listen-peer-urls", peer],
                ["--initial-advertise-peer-urls", peer],
                ["--initial-cluster", &initial],
                ["--logger", "zap"],
                // The lowest: the hash of a password takes a tenth of a second else, and many under load, in which etcd
                // does nothing else.
                ["--bcrypt-cost", "4"],
            ]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .chain(arguments.iter().chain(&more).cloned())
            .collect();
            let process = spawn(&own, &directory, &name);
            members.push(Member { name, client, arguments: own, process });
        }
        let cluster = Self { members, directory, options, control };
        Self::wait_for(&cluster.client()).await;
        cluster
    }

    /// The URLs of the members.
    pub(super) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client.clone()).collect()
    }

    /// A client of all members.
    pub(super) fn client(&self) -> EtcdClient {
        let endpoints = self.endpoints();
        EtcdClient::new(EtcdOptions { endpoints, ..self.options.clone() }).unwrap()
    }

    /// Kills a member with SIGKILL.
    pub(super) fn kill(&mut self, number: usize) {
        let process = &mut self.members[number].process;
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts a member again that was killed, with its data.
    pub(super) fn restart(&mut self, number: usize) {
        let member = &mut self.members[number];
        member.process = spawn(&member.arguments, &self.directory, &member.name);
    }

    /// Runs etcdctl with these arguments and returns its output.
    pub(super) fn etcdctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(self.endpoints().join(","));
        let output = command.args(&self.control).args(arguments).output().unwrap_or_else(|error| {
            panic!("{error}: etcdctl is missing; run `apt-get install etcd-client`")
        });
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The value of a metric of a member; `None` if it does not answer, or does not have it.
    pub(super) async fn metric(&self, number: usize, name: &str) -> Option<f64> {
        let address = self.members[number].client.strip_prefix("http://")?;
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        let request = "GET /metrics HTTP/1.0\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line?.parse().ok()
    }

    async fn wait_for(client: &EtcdClient) {
        let ready = async {
            while client.grant(1).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(START, ready).await.expect("etcd has no leader");
    }

    /// Starts a member again that was killed, and waits until it answers.
    pub(super) async fn restart_and_wait(&mut self, number: usize) {
        self.restart(number);
        let alone = EtcdOptions {
            endpoints: vec![self.members[number].client.clone()],
            ..self.options.clone()
        };
        let client = EtcdClient::new(alone).unwrap();
        Self::wait_for(&client).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            _ = member.process.kill();
            _ = member.process.wait();
        }
    }
}

fn spawn(arguments: &[String], directory: &TempDir, name: &str) -> Child {
    let log = directory.path().join(format!("{name}.log"));
    let log = File::options().append(true).create(true).open(log).unwrap();
    let mut command = Command::new("etcd");
    command.args(arguments).current_dir(directory.path()).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(log);
    command.spawn().unwrap_or_else(|error| {
        panic!(
            "{error}: etcd is missing; run `apt-get install --no-install-recommends etcd-server`"
        )
    })
}

/// Ports of loopback that nothing listens on.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}
