//! Programs that put themselves into the background, so that they end for Portolan although they go on.

use std::process::ExitStatus;

use tracing::warn;

use super::Service;
use crate::CommandLine;

/// Programs and what keeps them in the foreground.
const REMEDIES: [(&str, &str); 20] = [
    ("redis-server", "remove `--daemonize yes`, also from its configuration"),
    ("valkey-server", "remove `--daemonize yes`, also from its configuration"),
    ("nginx", "add `-g 'daemon off;'`"),
    ("gunicorn", "remove `--daemon` or `-D`"),
    ("pg_ctl", "start `postgres -D DATA -p {port}` itself"),
    ("pg_ctlcluster", "add `--foreground`"),
    ("pgbouncer", "remove `-d`"),
    ("haproxy", "remove `-D`, also `daemon` from its configuration"),
    ("memcached", "remove `-d`"),
    ("mongod", "remove `--fork`"),
    ("mysqld", "remove `--daemonize`"),
    ("httpd", "add `-DFOREGROUND`"),
    ("apache2", "add `-DFOREGROUND`"),
    ("apachectl", "add `-DFOREGROUND`"),
    ("dnsmasq", "add `--keep-in-foreground`"),
    ("php-fpm", "add `--nodaemonize`"),
    ("sshd", "add `-D`"),
    ("docker", "remove `-d` or `--detach`"),
    ("podman", "remove `-d` or `--detach`"),
    ("nerdctl", "remove `-d` or `--detach`"),
];

impl Service {
    /// Returns what keeps the program in the foreground, if it has ended with 0 and left processes that go on.
    pub(crate) fn background_remedy(&self, status: ExitStatus) -> Option<&'static str> {
        let is_detached = || is_detached_container(&self.spec.command);
        let is_in_background = status.success()
            && self.spec.port.is_some()
            && (self.child.has_left_processes() || is_detached());
        is_in_background.then(|| remedy_for(&self.spec.command))
    }

    pub(super) fn report_background(&self, status: ExitStatus) {
        if let Some(remedy) = self.background_remedy(status) {
            warn!(
                service_name = %self.spec.name, remedy,
                "Program has put itself into the background, where its end would not be noticed; it is stopped"
            );
        }
    }
}

fn remedy_for(command: &CommandLine) -> &'static str {
    let name = command.program_name();
    let known = REMEDIES.iter().find(|(program, _)| *program == name);
    known
        .map_or("keep it in the foreground; in a shell, remove `&` or add `wait`", |(_, remedy)| {
            remedy
        })
}

/// The container is a child of the Docker engine.
fn is_detached_container(command: &CommandLine) -> bool {
    let arguments = command.arguments();
    let runs = arguments.first().is_some_and(|word| word == "run");
    // Words after the image are for its program, but none of them matters to a container in the foreground that ended with 0.
    let is_detached =
        |word: &String| matches!(word.as_str(), "-d" | "--detach" | "-dit" | "-itd" | "-td");
    matches!(command.program_name(), "docker" | "podman" | "nerdctl")
        && runs
        && arguments.iter().take_while(|word| word.as_str() != "--").any(is_detached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedy_depends_on_the_program() {
        let remedy = |command: &str| remedy_for(&command.parse().unwrap());
        assert_eq!(remedy("/usr/sbin/nginx -p ."), "add `-g 'daemon off;'`");
        assert!(remedy("my-server").contains("keep it in the foreground"));
        let is_detached = |command: &str| is_detached_container(&command.parse().unwrap());
        assert!(is_detached("docker run -d -p {port}:80 web"));
        assert!(!is_detached("docker run --rm web") && !is_detached("my-docker run -d"));
    }
}
