//! The environment of one test: its directory, environment variables, registry and processes.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::command::PortolanCommand;
use crate::process::Process;
use crate::{ForeignListener, http};

/// The environment variable that marks every process of a test, so that all of them are ended. A name
/// that begins with `PORTOLAN_` would be an unknown setting.
const MARK: &str = "TEST_ENV_OF_PORTOLAN";
/// The URL of the test's registry: the default one.
pub const REGISTRY: &str = "http://127.0.0.1:7000";
/// The multicast group of the broadcast channel: the default one.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0, 1);
/// How many bytes of a log are printed if a test fails.
const SHOWN: usize = 8 * 1024;

/// The directory, environment variables and ports of one test, shared neither with other tests nor
/// with the user's own Portolan.
#[derive(Debug)]
pub struct TestEnv {
    directory: TempDir,
    alone: bool,
    channel: SocketAddrV4,
    variables: Vec<(&'static str, OsString)>,
    /// The store that the registries of the test use, and its server, started and ended with the environment.
    store: Option<(&'static str, Process)>,
    started: Cell<usize>,
}

// === impl TestEnv ===

impl TestEnv {
    /// Creates an environment; `alone` if the test has its own network namespace and can use the
    /// default broadcast channel.
    pub(crate) fn new(alone: bool) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("portolan-test-").tempdir()?;
        // Servers that refuse to run as root run under another account, which needs access.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let port = if alone { 7001 } else { free_port()? };
        let channel = SocketAddrV4::new(GROUP, port);
        let (variables, store, started) = (Vec::new(), None, Cell::new(0));
        let mut env = Self { directory, channel, alone, variables, store, started };
        for private in ["run", "state"] {
            let path = env.folder(private)?;
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        }
        env.folder("logs")?;
        env.variables = env.environment();
        Ok(env)
    }

    /// Returns the directory of the test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns a subdirectory, created if it does not exist.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory().join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Writes a file in the test's directory and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str, contents: &str) -> Result<PathBuf> {
        let path = self.directory().join(name);
        fs::create_dir_all(path.parent().context("a file without a directory")?)?;
        fs::write(&path, contents).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Returns a builder for an invocation of the built `portolan`.
    ///
    /// # Errors
    /// The program is not built.
    pub fn portolan<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<PortolanCommand<'_>> {
        let mut command = Command::new(portolan_program()?);
        command.args(arguments).current_dir(self.directory());
        Ok(PortolanCommand::new(self, command))
    }

    /// Starts `portolan serve` and waits until it is ready.
    ///
    /// # Errors
    /// The registry ends, or does not become ready.
    pub fn registry(&self) -> Result<Process> {
        self.ready_registry(self.portolan(&["serve"])?, REGISTRY)
    }

    /// Starts `portolan serve` whose answers are complete after one second, half of its default TTL.
    ///
    /// # Errors
    /// The registry ends, or does not become ready.
    pub fn settled_registry(&self) -> Result<Process> {
        self.settled_registry_with(&[])
    }

    /// The same with more options.
    ///
    /// # Errors
    /// The registry ends, or does not become ready.
    pub fn settled_registry_with(&self, options: &[&str]) -> Result<Process> {
        let serve = ["serve", "--set", "service_registry.ttl_default=2s"];
        let serve = self.portolan(&serve)?.args(options);
        let mut registry = self.ready_registry(serve, REGISTRY)?;
        registry.wait_until("the answers to be complete", || {
            let listing = http::get_json(&format!("{REGISTRY}/api/v1/services"))?;
            ensure!(listing["incomplete"] != true, "{listing}");
            Ok(())
        })?;
        Ok(registry)
    }

    /// Starts `portolan serve` with these options at this URL, and waits until it is ready. It neither hears nor sends
    /// announcements.
    ///
    /// # Errors
    /// The registry ends, or does not become ready.
    pub fn quiet_registry<S: AsRef<OsStr>>(&self, url: &str, options: &[S]) -> Result<Process> {
        let listen = url.trim_start_matches("http://");
        let serve = ["serve", "--listen", listen, "--set", "broadcast.enabled=false"];
        self.ready_registry(self.portolan(&serve)?.args(options), url)
    }

    fn ready_registry(&self, serve: PortolanCommand<'_>, url: &str) -> Result<Process> {
        let mut registry = serve.spawn("registry")?;
        let ready = format!("{url}/readyz");
        registry.wait_until("the registry to be ready", || http::get(&ready))?;
        Ok(registry)
    }

    /// Starts another program in this environment.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn spawn(&self, name: &str, mut command: Command) -> Result<Process> {
        // The user's own settings would change the result.
        let inherited = std::env::vars_os().map(|(name, _)| name);
        let settings = inherited.filter(|name| name.as_encoded_bytes().starts_with(b"PORTOLAN_"));
        settings.for_each(|name| _ = command.env_remove(name));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        self.started.set(self.started.get() + 1);
        let name = format!("{:02}-{name}", self.started.get());
        Process::spawn(&name, &self.directory().join("logs"), &mut command)
    }

    /// Sends a datagram on the broadcast channel, on the loopback interface only.
    ///
    /// # Errors
    /// The datagram cannot be sent.
    pub fn multicast(&self, datagram: &[u8]) -> Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        sockopt::set_ip_multicast_if(&socket, &Ipv4Addr::LOCALHOST)?;
        socket.send_to(datagram, self.channel)?;
        Ok(())
    }

    /// Whether the test has its own network namespace, whose settings it may change.
    pub(crate) fn has_own_network(&self) -> bool {
        self.alone
    }

    /// Binds a port without a lease.
    ///
    /// # Errors
    /// The port is in use.
    pub fn foreign_listener(&self, port: u16) -> Result<ForeignListener> {
        ForeignListener::bind(port)
    }

    /// From now on every program of the test gets these settings, for a store with this server.
    pub(crate) fn use_store(
        &mut self,
        name: &'static str,
        server: Process,
        settings: &[(&'static str, String)],
    ) {
        let settings = settings.iter().map(|(name, value)| (*name, value.into()));
        self.variables.extend(settings);
        self.store = Some((name, server));
    }

    /// The store that the registries of the test use, by its name in `service_registry.storage_backend`.
    pub fn store(&self) -> &'static str {
        self.store.as_ref().map_or("memory", |(name, _)| name)
    }

    /// Whether a registry that has just started says that its answers are incomplete: one over a store that it does not
    /// share with others.
    pub fn starts_incomplete(&self) -> bool {
        self.store.is_none()
    }

    /// Returns the running processes of this environment, without the server of the store: ids and command lines.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn processes(&self) -> Result<Vec<(u32, String)>> {
        let store = self.store.as_ref().map(|(_, server)| server.id());
        let mut processes = self.all_processes()?;
        processes.retain(|(id, _)| Some(*id) != store);
        Ok(processes)
    }

    /// Stops the shims of all programs, so that the programs go on when their `run` or `up` is killed.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub fn stop_shims(&self) -> Result<()> {
        for (id, line) in self.all_processes()? {
            if line.starts_with("/proc/self/exe shim")
                && let Some(pid) = Pid::from_raw(id.cast_signed())
            {
                kill_process(pid, Signal::STOP)?;
            }
        }
        Ok(())
    }

    fn all_processes(&self) -> Result<Vec<(u32, String)>> {
        let mark = format!("{MARK}={}", self.directory().display());
        let ids = fs::read_dir("/proc")?.flatten();
        let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(ids.filter_map(|id| Some((id, command_line_with(&mark, id)?))).collect())
    }

    /// Returns the end of every log of this environment.
    pub(crate) fn logs(&self) -> String {
        let entries = fs::read_dir(self.directory().join("logs")).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().filter_map(|path| shown(path)).collect()
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let at = |folder: &str| self.directory().join(folder).into_os_string();
        let text = |text: String| OsString::from(text);
        vec![
            (MARK, self.directory().into()),
            ("HOME", self.directory().into()),
            ("XDG_RUNTIME_DIR", at("run")),
            ("XDG_STATE_HOME", at("state")),
            ("PORTOLAN_SERVICE_REGISTRY__LISTEN_ADDRESS", text("127.0.0.1:7000".into())),
            ("PORTOLAN_BROADCAST__INTERFACE", text("127.0.0.1".into())),
            // The namespaces of the tests need root.
            ("PORTOLAN_SERVICE_REGISTRY__ALLOW_ROOT", text("true".into())),
            ("PORTOLAN_BROADCAST__MULTICAST_ADDRESS", text(self.channel.to_string())),
        ]
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        for (id, _) in self.all_processes().unwrap_or_default() {
            if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = kill_process(id, Signal::KILL);
            }
        }
    }
}

/// Returns the built command: `PORTOLAN_BIN`, else the one beside the running test.
///
/// # Errors
/// The program is not built.
pub fn portolan_program() -> Result<PathBuf> {
    let path = match std::env::var_os("PORTOLAN_BIN") {
        Some(path) => PathBuf::from(path),
        None => target_directory()?.join("portolan"),
    };
    let build = "build it with `cargo build -p portolan-cli`, or set PORTOLAN_BIN";
    ensure!(path.is_file(), "{} does not exist; {build}", path.display());
    Ok(path)
}

/// Returns the directory in which cargo puts the programs built with the running test.
///
/// # Errors
/// The test is not in a target directory.
pub fn target_directory() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let directory = exe.parent().and_then(Path::parent);
    directory.map(Path::to_owned).context("the test is not in a target directory")
}

fn free_port() -> Result<u16> {
    ForeignListener::bind(0)?.port()
}

/// Returns the command line of a process that has the mark and is not a zombie.
fn command_line_with(mark: &str, id: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{id}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find(|entry| *entry == mark.as_bytes())?;
    let words = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&words).replace('\0', " ").trim_end().to_owned())
}

fn shown(log: &Path) -> Option<String> {
    let text = fs::read(log).ok().filter(|text| !text.is_empty())?;
    let end = String::from_utf8_lossy(&text[text.len().saturating_sub(SHOWN)..]).into_owned();
    Some(format!("--- {}\n{end}\n", log.file_name()?.display()))
}
