//! Several hosts: network namespaces that are connected by a bridge in the namespace of the test.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::command::PortolanCommand;
use crate::env::TestEnv;
use crate::process::{Output, Process};
use crate::servers;
use crate::wait::{TIMEOUT, wait_within};

/// The network of the bridge; the address of host `n` is `10.77.0.n`, and `fd00:77::n`.
const NETWORK: &str = "10.77.0";
const BRIDGE: &str = "bridge0";
/// The settings of a single-host test that do not hold here: hosts use the defaults.
const LOCAL_SETTINGS: [&str; 3] = [
    "PORTOLAN_SERVICE_REGISTRY__LISTEN_ADDRESS",
    "PORTOLAN_BROADCAST__INTERFACE",
    "PORTOLAN_BROADCAST__MULTICAST_ADDRESS",
];

/// A host: a network namespace with one interface, `eth0`, and directories of its own.
#[derive(Debug)]
pub struct Host<'a> {
    env: &'a TestEnv,
    name: String,
    number: u8,
    /// The process that keeps the namespace.
    holder: Process,
}

// === impl TestEnv ===

impl TestEnv {
    /// Creates a host with an IPv4 and an IPv6 address and no default route.
    ///
    /// # Errors
    /// The system allows no namespaces or bridges.
    pub fn host(&self, number: u8) -> Result<Host<'_>> {
        let host = self.host_without_address(number)?;
        host.add_address(&format!("{NETWORK}.{number}/24"))?;
        // Without duplicate address detection the address can be used at once.
        host.shell(&format!("ip addr add fd00:77::{number}/64 dev eth0 nodad"))?;
        Ok(host)
    }

    /// Creates a host that has no IPv4 address but loopback.
    ///
    /// # Errors
    /// The system allows no namespaces or bridges.
    pub fn host_with_ipv6_only(&self, number: u8) -> Result<Host<'_>> {
        let host = self.host_without_address(number)?;
        host.shell(&format!("ip addr add fd00:77::{number}/64 dev eth0 nodad"))?;
        Ok(host)
    }

    /// Gives the namespace of the test itself an address in the network of the hosts.
    ///
    /// # Errors
    /// There is no host yet, or the number is taken.
    pub fn join_hosts(&self, number: u8) -> Result<()> {
        let address = format!("ip addr add {NETWORK}.{number}/24 dev {BRIDGE}");
        self.change_network(&address).map(drop)
    }

    /// Creates a host whose interface is up and has no address yet.
    ///
    /// # Errors
    /// The system allows no namespaces or bridges.
    pub fn host_without_address(&self, number: u8) -> Result<Host<'_>> {
        self.change_network(&format!(
            "ip link show {BRIDGE} >/dev/null 2>&1 || \
             {{ ip link add {BRIDGE} type bridge && ip link set {BRIDGE} up; }}"
        ))?;
        let name = format!("host-{number}");
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sh", "-c", "echo ready; exec sleep infinity"]);
        let mut holder = self.spawn(&name, command)?;
        holder.wait_for_line("ready")?;
        let pid = holder.id();
        self.change_network(&format!(
            "ip link add port{number} type veth peer name eth0 netns {pid} && \
             ip link set port{number} master {BRIDGE} up"
        ))?;
        let host = Host { env: self, name, number, holder };
        for folder in ["run", "state"] {
            let path = self.folder(&format!("{}/{folder}", host.name))?;
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        }
        host.shell("ip link set lo up && ip link set eth0 up")?;
        Ok(host)
    }
}

// === impl Host ===

impl<'a> Host<'a> {
    /// Returns the name of this host in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the IPv4 address that [`TestEnv::host`] gives.
    pub fn address(&self) -> String {
        format!("{NETWORK}.{}", self.number)
    }

    /// Returns the URL of a registry on this host with the default port.
    pub fn registry_url(&self) -> String {
        format!("http://{}:7000", self.address())
    }

    /// Returns the URL of a registry at the IPv6 address of this host with the default port.
    pub fn registry_url_v6(&self) -> String {
        format!("http://[fd00:77::{}]:7000", self.number)
    }

    /// Adds an address, such as `10.77.0.2/24`, to the interface.
    ///
    /// # Errors
    /// The command fails.
    pub fn add_address(&self, address: &str) -> Result<()> {
        self.shell(&format!("ip addr add {address} dev eth0")).map(drop)
    }

    /// Removes an address from the interface.
    ///
    /// # Errors
    /// The command fails.
    pub fn remove_address(&self, address: &str) -> Result<()> {
        self.shell(&format!("ip addr del {address} dev eth0")).map(drop)
    }

    /// Runs a shell command line on this host.
    ///
    /// # Errors
    /// The command fails.
    pub fn shell(&self, command_line: &str) -> Result<Output> {
        let mut command = self.enter();
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        command.args(["bash", "-c", command_line]).env("PATH", path);
        self.env.spawn(&format!("{}-shell", self.name), command)?.wait(TIMEOUT)?.exits(0)
    }

    /// Starts another program on this host.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn spawn<S: AsRef<OsStr>>(&self, name: &str, command: &[S]) -> Result<Process> {
        let mut entered = self.enter();
        entered.args(command);
        self.env.spawn(&format!("{}-{name}", self.name), entered)
    }

    /// Returns a builder for an invocation of `portolan` on this host.
    ///
    /// # Errors
    /// The program is not built.
    pub fn portolan<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<PortolanCommand<'a>> {
        Ok(self.env.portolan(arguments)?.wrapped_by(self.enter()))
    }

    /// Starts `portolan serve` on every address of this host, and waits until it is ready.
    ///
    /// # Errors
    /// The registry ends, or does not become ready.
    pub fn registry(&self, options: &[&str]) -> Result<Process> {
        let serve = self.portolan(&["serve", "--listen", "[::]:7000"])?.args(options);
        let mut registry = serve.spawn(&format!("{}-registry", self.name))?;
        registry.wait_until("the registry to be ready", || {
            self.portolan(&["list", "--registry", "http://127.0.0.1:7000"])?.run()?.exits(0)
        })?;
        Ok(registry)
    }

    /// Starts `portolan run --name NAME OPTIONS -- COMMAND` on this host.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn service<S: AsRef<OsStr>>(
        &self,
        name: &str,
        options: &[&str],
        command: &[S],
    ) -> Result<Process> {
        let run = self.portolan(&["run"])?.with_program(name, options, command);
        run.spawn(&format!("{}-{name}", self.name))
    }

    /// Discovers a service until the result is this address.
    ///
    /// # Errors
    /// The last result, if the address is not found within the timeout of the tests.
    pub fn finds(&self, name: &str, options: &[&str], address: &str) -> Result<()> {
        wait_within(TIMEOUT, &format!("{name} to be found at {address}"), || {
            let found = self.portolan(&["discover", name])?.args(options).run()?;
            let text = found.stdout.trim();
            ensure!(found.code == Some(0) && text == address, "{found:?}");
            Ok(())
        })
    }

    /// Does the same, and prints how long it took.
    ///
    /// # Errors
    /// The last result, if the address is not found within the timeout of the tests.
    pub fn finds_and_measures(&self, name: &str, options: &[&str], address: &str) -> Result<()> {
        let began = Instant::now();
        self.finds(name, options, address)?;
        println!("{name} found at {address} after {:?}", began.elapsed());
        Ok(())
    }

    /// Starts nginx on this host, which forwards `http://HOST:PORT/portolan/` to `http://UPSTREAM/`, and
    /// appends the address of its peer to `X-Forwarded-For`.
    ///
    /// # Errors
    /// nginx is not installed, ends, or does not listen.
    pub fn nginx(&self, port: u16, upstream: &str) -> Result<Process> {
        let location = format!(
            "location /portolan/ {{ proxy_pass http://{upstream}/; proxy_buffering off; \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }}"
        );
        let folder = format!("{}/nginx", self.name);
        let command = servers::nginx_with(self.env, &folder, &port.to_string(), &location)?;
        let mut nginx = self.spawn("nginx", &command)?;
        nginx.wait_until("nginx to listen", || self.connect(port))?;
        Ok(nginx)
    }

    /// Starts a tunnel from a port on loopback of this host to the same port on loopback of another one.
    ///
    /// # Errors
    /// Python is not installed, or the port is taken.
    pub fn tunnel(&self, port: u16, to: &Host<'_>) -> Result<Process> {
        let script = self.env.write("tunnel.py", include_str!("tunnel.py"))?.display().to_string();
        let (port, pid) = (port.to_string(), to.holder.id().to_string());
        let mut tunnel = self.spawn("tunnel", &["python3", &script, &port, &pid])?;
        tunnel.wait_for_line("forwarding")?;
        Ok(tunnel)
    }

    /// Connects to a TCP port of this host.
    ///
    /// # Errors
    /// Nothing listens on it.
    pub fn connect(&self, port: u16) -> Result<()> {
        self.shell(&format!("exec 3<>/dev/tcp/127.0.0.1/{port}")).map(drop)
    }

    /// Returns a command that runs another one in the namespace of this host.
    fn enter(&self) -> Command {
        let directory = self.env.directory().join(&self.name);
        let mut command = Command::new("env");
        for setting in LOCAL_SETTINGS {
            command.args(["-u", setting]);
        }
        for (variable, folder) in [("XDG_RUNTIME_DIR", "run"), ("XDG_STATE_HOME", "state")] {
            command.arg(format!("{variable}={}", directory.join(folder).display()));
        }
        command.args(["nsenter", &format!("--net=/proc/{}/ns/net", self.holder.id()), "--"]);
        command
    }
}
