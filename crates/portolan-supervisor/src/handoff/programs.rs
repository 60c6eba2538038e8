//! The table of known programs: the best hand-off for each.

use portolan_host_facts::{Process, executable_name};

use super::HandoffMode;
use crate::{CommandLine, StopSignal};

/// A program that is recognised by its file name. A Python program is recognised by its module or
/// script.
#[derive(Debug, Clone, Copy)]
struct Program {
    name: &'static str,
    mode: HandoffMode,
    /// The text of an argument by which the command itself requests inherited sockets.
    sockets_argument: Option<&'static str>,
    adoption: Adoption,
    /// The signal that ends it in an orderly way.
    stop_signal: StopSignal,
    /// The processes that listen on its behalf; empty means any process.
    helpers: &'static [&'static str],
}

/// What a program needs besides `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` to use inherited
/// sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Adoption {
    /// The environment variable that lists the file descriptors, each followed by a semicolon.
    pub(crate) variable: Option<&'static str>,
    /// Whether it expects non-blocking sockets.
    pub(crate) non_blocking: bool,
    /// Whether it must not get `LISTEN_FDS` as well if an argument names its sockets.
    pub(crate) by_argument_only: bool,
}

/// The processes that may listen on behalf of a program that does not listen itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Helpers {
    /// No process: the program listens itself.
    None,
    /// Processes with these names.
    Named(Vec<&'static str>),
    /// Any process.
    Any,
}

/// One row per program. Programs with `guard` set `SO_REUSEADDR`, as seen with strace or in their
/// source; an interpreter is listed if all its servers do. `socket` is chosen only for programs
/// that are known to take sockets from the environment without further options.
const PROGRAMS: [Program; 25] = [
    // At SIGTERM it waits for its clients to leave.
    guard("postgres").stopping_at(StopSignal::INT),
    guard("redis-server"),
    guard("valkey-server"),
    // nginx takes the sockets of its predecessor from this variable and expects non-blocking ones.
    // At SIGTERM it cuts off requests.
    guard("nginx").adopting("NGINX").stopping_at(StopSignal::QUIT),
    guard("haproxy"),
    guard("node"),
    guard("deno"),
    guard("bun"),
    guard("java"),
    guard("http.server"),
    guard("uvicorn").asking("--fd"),
    // It closes a socket that both `LISTEN_FDS` and `--bind fd://3` name before it uses it.
    guard("gunicorn").asking("fd://").by_argument_only(),
    guard("hypercorn").asking("fd://"),
    guard("caddy"),
    guard("etcd"),
    guard("consul"),
    guard("prometheus"),
    guard("memcached"),
    row("systemd-socket-proxyd", HandoffMode::Socket),
    claim("docker", &["docker-proxy", "dockerd", "rootlesskit", "com.docker.back"]),
    claim("podman", &["conmon", "rootlessport", "rootlesskit", "slirp4netns", "pasta", "passt"]),
    claim("nerdctl", &["rootlesskit", "rootlessport", "slirp4netns"]),
    claim("kubectl", &["kubectl"]),
    // With -R the listener is an sshd, with -f or a shared connection it is another ssh.
    claim("ssh", &["ssh", "sshd", "sshd-session"]),
    // The service manager starts the program, which may be anything.
    claim("systemd-run", &[]),
];

/// Returns the hand-off of a program for which `auto` is configured.
pub(super) fn mode_for(command: &CommandLine) -> HandoffMode {
    match find(command) {
        Some(program) if program.is_requested_in(command) => HandoffMode::Socket,
        Some(program) => program.mode,
        None => HandoffMode::Number,
    }
}

/// Returns the signal that ends the program in an orderly way.
pub(crate) fn stop_signal(command: &CommandLine) -> StopSignal {
    find(command).map_or(StopSignal::TERM, |program| program.stop_signal)
}

fn find(command: &CommandLine) -> Option<&'static Program> {
    let name = name_of(command);
    PROGRAMS.iter().find(|program| program.name == name)
}

/// Returns the name of the program, or of the module or script that Python runs.
fn name_of(command: &CommandLine) -> &str {
    let (program, arguments) = (command.program_name(), command.arguments());
    if !program.starts_with("python") {
        return program;
    }
    let mut words = arguments.iter().skip_while(|word| word.starts_with('-') && *word != "-m");
    match words.next().map(String::as_str) {
        Some("-m") => words.next().map_or("", String::as_str),
        Some(script) => script.rsplit('/').next().unwrap_or(script),
        None => program,
    }
}

const fn row(name: &'static str, mode: HandoffMode) -> Program {
    let adoption = Adoption { variable: None, non_blocking: false, by_argument_only: false };
    Program {
        name,
        mode,
        sockets_argument: None,
        adoption,
        stop_signal: StopSignal::TERM,
        helpers: &[],
    }
}

const fn guard(name: &'static str) -> Program {
    row(name, HandoffMode::Guard)
}

const fn claim(name: &'static str, helpers: &'static [&'static str]) -> Program {
    Program { helpers, ..row(name, HandoffMode::Claim) }
}

// === impl Program ===

impl Program {
    const fn asking(self, text: &'static str) -> Self {
        Self { sockets_argument: Some(text), ..self }
    }

    const fn adopting(self, variable: &'static str) -> Self {
        let adoption = Adoption { variable: Some(variable), non_blocking: true, ..self.adoption };
        Self { adoption, ..self }
    }

    const fn stopping_at(self, stop_signal: StopSignal) -> Self {
        Self { stop_signal, ..self }
    }

    const fn by_argument_only(self) -> Self {
        Self { adoption: Adoption { by_argument_only: true, ..self.adoption }, ..self }
    }

    fn is_requested_in(&self, command: &CommandLine) -> bool {
        let has = |text| command.arguments().iter().any(|word| word.contains(text));
        self.sockets_argument.is_some_and(has)
    }
}

// === impl Adoption ===

impl Adoption {
    /// Returns what this program needs.
    pub(crate) fn for_command(command: &CommandLine) -> Self {
        let Some(program) = find(command) else { return Self::default() };
        let is_requested = program.is_requested_in(command);
        let by_argument_only = program.adoption.by_argument_only && is_requested;
        Self { by_argument_only, ..program.adoption }
    }
}

// === impl Helpers ===

impl Helpers {
    /// Returns the helpers of a program with this hand-off. An unknown program may use the helpers
    /// of any known one.
    pub(crate) fn for_command(command: &CommandLine, mode: HandoffMode) -> Self {
        let claims = || PROGRAMS.iter().filter(|program| program.mode == HandoffMode::Claim);
        if mode != HandoffMode::Claim {
            return Self::None;
        }
        match find(command).filter(|program| program.mode == HandoffMode::Claim) {
            Some(program) if program.helpers.is_empty() => Self::Any,
            Some(program) => Self::Named(program.helpers.to_vec()),
            None => Self::Named(claims().flat_map(|program| program.helpers).copied().collect()),
        }
    }

    /// Returns whether the process is one of the helpers.
    pub(crate) fn include(&self, process: &Process) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::Named(names) => {
                names.contains(&process.name.as_str())
                    || executable_name(process.pid)
                        .is_some_and(|name| names.contains(&name.as_str()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(command: &str) -> HandoffMode {
        mode_for(&command.parse().unwrap())
    }

    #[test]
    fn known_servers_get_mode_guard() {
        for command in [
            "/usr/lib/postgresql/15/bin/postgres -p {port}",
            "redis-server --port {port}",
            "python3 -m http.server {port}",
            "python3 -u -m uvicorn app:app --port {port}",
            "python3 /usr/bin/uvicorn app:app --port {port}",
        ] {
            assert_eq!(mode(command), HandoffMode::Guard, "{command}");
        }
    }

    #[test]
    fn unknown_programs_get_mode_number() {
        for command in [
            "python3 server.py http.server",
            "python3",
            "sh -c 'exec redis-server'",
            "postgres-exporter",
            "my-server --fd 3",
        ] {
            assert_eq!(mode(command), HandoffMode::Number, "{command}");
        }
    }

    #[test]
    fn command_that_requests_sockets_gets_mode_socket() {
        assert_eq!(mode("uvicorn app:app --fd 3"), HandoffMode::Socket);
        assert_eq!(mode("python3 -m gunicorn --bind=fd://3 app"), HandoffMode::Socket);
        assert_eq!(mode("/lib/systemd/systemd-socket-proxyd 127.0.0.1:80"), HandoffMode::Socket);
    }

    #[test]
    fn known_programs_have_their_own_stop_signal() {
        let signal = |command: &str| stop_signal(&command.parse().unwrap()).to_string();
        assert_eq!(signal("/usr/lib/postgresql/15/bin/postgres -D x"), "SIGINT");
        assert_eq!(signal("nginx"), "SIGQUIT");
        assert_eq!(signal("redis-server"), "SIGTERM");
        assert_eq!(signal("my-server"), "SIGTERM");
    }

    #[test]
    fn nginx_gets_its_sockets_in_its_own_variable() {
        let adoption = Adoption::for_command(&"/usr/sbin/nginx -c x".parse().unwrap());
        assert_eq!(
            adoption,
            Adoption { variable: Some("NGINX"), non_blocking: true, by_argument_only: false }
        );
        let by_argument =
            |command: &str| Adoption::for_command(&command.parse().unwrap()).by_argument_only;
        assert!(by_argument("gunicorn --bind fd://{fd} app"));
        // With `--handoff socket` it finds its socket in the environment.
        assert!(!by_argument("gunicorn app") && !by_argument("uvicorn --fd {fd} app"));
        assert_eq!(Adoption::for_command(&"my-server".parse().unwrap()), Adoption::default());
    }

    #[test]
    fn program_with_mode_claim_has_helpers() {
        let helpers = |command: &str, mode| Helpers::for_command(&command.parse().unwrap(), mode);
        let process = |name: &str| Process { pid: 0, name: name.to_owned(), user: String::new() };
        let docker = helpers("docker run -p {port}:80 web", mode("docker run"));
        assert!(docker.include(&process("docker-proxy")) && !docker.include(&process("sshd")));
        let script = helpers("./start.sh", HandoffMode::Claim);
        assert!(script.include(&process("sshd")) && !script.include(&process("redis-server")));
        assert_eq!(helpers("systemd-run my-server", HandoffMode::Claim), Helpers::Any);
        assert_eq!(helpers("docker run web", HandoffMode::Number), Helpers::None);
    }
}
