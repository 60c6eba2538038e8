//! The programs that are known: how each takes its port best.

use portolan_host_facts::{Process, executable_name};

use super::Way;
use crate::CommandLine;

/// A program that is known by its name. What Python runs goes by the module's name, or the script's.
#[derive(Debug, Clone, Copy)]
struct Program {
    name: &'static str,
    way: Way,
    /// What an argument has in it where the command itself asks for inherited sockets.
    asks_for_sockets: Option<&'static str>,
    adoption: Adoption,
    /// Who listens on its behalf; empty where that may be anybody.
    helpers: &'static [&'static str],
}

/// What a program needs, beside `LISTEN_FDS` and its kin, to take sockets that it inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Adoption {
    /// The variable that lists the descriptors for it, each with a semicolon after it.
    pub(crate) variable: Option<&'static str>,
    /// Whether it takes for granted that accept(2) on them never waits.
    pub(crate) non_blocking: bool,
}

/// Who may listen on a port on behalf of a program that does not listen itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Helpers {
    /// Nobody: the program listens itself.
    Nobody,
    /// Programs of these names.
    Named(Vec<&'static str>),
    /// Any program.
    Anybody,
}

/// One row a program. Those with a guard were seen to set `SO_REUSEADDR` with strace, or in the
/// source of their runtime, and the sockets to be taken; interpreters are here where their servers
/// all set it. Only what certainly takes sockets from its environment alone is given them unasked.
const PROGRAMS: [Program; 25] = [
    guard("postgres"),
    guard("redis-server"),
    guard("valkey-server"),
    // Takes the sockets of the nginx that it replaces from this variable, and they never block.
    guard("nginx").adopting("NGINX"),
    guard("haproxy"),
    guard("node"),
    guard("deno"),
    guard("bun"),
    guard("java"),
    guard("http.server"),
    guard("uvicorn").asking("--fd"),
    guard("gunicorn").asking("fd://"),
    guard("hypercorn").asking("fd://"),
    guard("caddy"),
    guard("etcd"),
    guard("consul"),
    guard("prometheus"),
    guard("memcached"),
    row("systemd-socket-proxyd", Way::Socket),
    claim("docker", &["docker-proxy", "dockerd", "rootlesskit", "com.docker.back"]),
    claim("podman", &["conmon", "rootlessport", "rootlesskit", "slirp4netns", "pasta", "passt"]),
    claim("nerdctl", &["rootlesskit", "rootlessport", "slirp4netns"]),
    claim("kubectl", &["kubectl"]),
    // With -R the listener is a server's, with -f or a shared connection another ssh's.
    claim("ssh", &["ssh", "sshd", "sshd-session"]),
    // What it starts is started by the service manager, and may be anything.
    claim("systemd-run", &[]),
];

/// How the program gets its port where nobody says it.
pub(super) fn way_of(command: &CommandLine) -> Way {
    match find(command) {
        Some(program) if program.is_asked_in(command) => Way::Socket,
        Some(program) => program.way,
        None => Way::Number,
    }
}

fn find(command: &CommandLine) -> Option<&'static Program> {
    let name = name_of(command);
    PROGRAMS.iter().find(|program| program.name == name)
}

/// The program's name, or that of the module or script which Python runs.
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

const fn row(name: &'static str, way: Way) -> Program {
    let adoption = Adoption { variable: None, non_blocking: false };
    Program { name, way, asks_for_sockets: None, adoption, helpers: &[] }
}

const fn guard(name: &'static str) -> Program {
    row(name, Way::Guard)
}

const fn claim(name: &'static str, helpers: &'static [&'static str]) -> Program {
    Program { helpers, ..row(name, Way::Claim) }
}

// === impl Program ===

impl Program {
    const fn asking(self, text: &'static str) -> Self {
        Self { asks_for_sockets: Some(text), ..self }
    }

    const fn adopting(self, variable: &'static str) -> Self {
        Self { adoption: Adoption { variable: Some(variable), non_blocking: true }, ..self }
    }

    fn is_asked_in(&self, command: &CommandLine) -> bool {
        let asks = |text| command.arguments().iter().any(|word| word.contains(text));
        self.asks_for_sockets.is_some_and(asks)
    }
}

// === impl Adoption ===

impl Adoption {
    /// What this program needs.
    pub(crate) fn of(command: &CommandLine) -> Self {
        find(command).map(|program| program.adoption).unwrap_or_default()
    }
}

// === impl Helpers ===

impl Helpers {
    /// Those of a program that gets its port this way. One that is not known may call any of those
    /// that are.
    pub(crate) fn of(command: &CommandLine, way: Way) -> Self {
        let claims = || PROGRAMS.iter().filter(|program| program.way == Way::Claim);
        if way != Way::Claim {
            return Self::Nobody;
        }
        match find(command).filter(|program| program.way == Way::Claim) {
            Some(program) if program.helpers.is_empty() => Self::Anybody,
            Some(program) => Self::Named(program.helpers.to_vec()),
            None => Self::Named(claims().flat_map(|program| program.helpers).copied().collect()),
        }
    }

    /// Whether the process is one of them.
    pub(crate) fn include(&self, process: &Process) -> bool {
        match self {
            Self::Nobody => false,
            Self::Anybody => true,
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

    fn way(command: &str) -> Way {
        way_of(&command.parse().unwrap())
    }

    #[test]
    fn known_servers_keep_their_guard() {
        for command in [
            "/usr/lib/postgresql/15/bin/postgres -p {port}",
            "redis-server --port {port}",
            "python3 -m http.server {port}",
            "python3 -u -m uvicorn app:app --port {port}",
            "python3 /usr/bin/uvicorn app:app --port {port}",
        ] {
            assert_eq!(way(command), Way::Guard, "{command}");
        }
    }

    #[test]
    fn unknown_programs_get_the_number() {
        for command in [
            "python3 server.py http.server",
            "python3",
            "sh -c 'exec redis-server'",
            "postgres-exporter",
            "my-server --fd 3",
        ] {
            assert_eq!(way(command), Way::Number, "{command}");
        }
    }

    #[test]
    fn sockets_are_given_where_the_command_itself_asks_for_them() {
        assert_eq!(way("uvicorn app:app --fd 3"), Way::Socket);
        assert_eq!(way("python3 -m gunicorn --bind=fd://3 app"), Way::Socket);
        assert_eq!(way("/lib/systemd/systemd-socket-proxyd 127.0.0.1:80"), Way::Socket);
    }

    #[test]
    fn nginx_is_told_its_sockets_in_its_own_way() {
        let adoption = Adoption::of(&"/usr/sbin/nginx -c x".parse().unwrap());
        assert_eq!(adoption, Adoption { variable: Some("NGINX"), non_blocking: true });
        assert_eq!(Adoption::of(&"my-server".parse().unwrap()), Adoption::default());
    }

    #[test]
    fn who_claims_a_port_has_helpers_that_listen() {
        let helpers = |command: &str, way| Helpers::of(&command.parse().unwrap(), way);
        let process = |name: &str| Process { pid: 0, name: name.to_owned(), user: String::new() };
        let docker = helpers("docker run -p {port}:80 web", way("docker run"));
        assert!(docker.include(&process("docker-proxy")) && !docker.include(&process("sshd")));
        let script = helpers("./start.sh", Way::Claim);
        assert!(script.include(&process("sshd")) && !script.include(&process("redis-server")));
        assert_eq!(helpers("systemd-run my-server", Way::Claim), Helpers::Anybody);
        assert_eq!(helpers("docker run web", Way::Number), Helpers::Nobody);
    }
}
