//! The words of Compose and of other process runners, and what they are called here.

/// A key of another format, and what takes its place.
type Word = (&'static str, &'static str);

/// Keys of a service.
const OF_SERVICE: [Word; 37] = [
    ("availability", "use restart"),
    (
        "build",
        "run the build before, or as a service with port: none that others need as completed",
    ),
    ("build_context", "remove it: programs are started, not built"),
    ("cmd", "use command"),
    ("commands", "use command"),
    ("container_name", "remove it: the key under services is the name"),
    ("cwd", "use directory"),
    ("depends_on", "use needs: [NAME], or needs: {NAME: ready}, with ready, started or completed"),
    ("deploy", "use instances for replicas, and restart"),
    ("disabled", "name the services to start: portolan up SERVICE"),
    ("dir", "use directory"),
    ("entrypoint", "use command, with all arguments"),
    ("environment", "use env, as a map: env: {NAME: value}"),
    ("expose", "use port for the main port, and ports for others"),
    ("extends", "use a YAML anchor and a merge key: <<: *common"),
    (
        "healthcheck",
        "use health, such as health: http:/path, or health: {check: 'command:…', interval: 5s}",
    ),
    ("hostname", "remove it: others find the service by its name"),
    (
        "image",
        "programs run without containers; for one, use command: docker run --rm -p {port}:80 IMAGE",
    ),
    ("init", "remove it: every program has a process that reaps its children"),
    ("is_daemon", "keep the program in the foreground"),
    ("links", "use needs"),
    ("liveness_probe", "use health and restart"),
    ("logging", "remove it: the output goes to that of portolan up"),
    ("networks", "remove it: services find each other by name"),
    ("network_mode", "remove it: services use the network of this host"),
    ("platform", "remove it: programs run as they are installed"),
    ("pre_stop", "use stop_command"),
    ("profiles", "name the services to start: portolan up SERVICE"),
    ("readiness_probe", "use health"),
    ("replicas", "use instances"),
    ("scale", "use instances"),
    ("shutdown", "use stop_command, stop_signal and grace"),
    ("stop_grace_period", "use grace"),
    ("volumes", "remove it: programs use the files of this host"),
    ("watch", "use a program that restarts itself, such as nodemon or watchexec"),
    ("working_dir", "use directory"),
    ("workdir", "use directory"),
];

/// Keys at the top of a file.
const OF_FILE: [Word; 7] = [
    ("configs", "remove it: programs use the files of this host"),
    ("include", "name one file, and keep the services in it"),
    ("networks", "remove it: services find each other by name"),
    ("processes", "use services"),
    ("secrets", "use env_file, or files of this host"),
    ("version", "remove it"),
    ("volumes", "remove it: programs use the files of this host"),
];

/// What to write in place of a value that another format has.
const OF_VALUES: [Word; 4] = [
    ("ports", "use port: 8080 for the main port, and ports: {NAME: 9100} for others"),
    ("env", "use a map: env: {NAME: value}"),
    ("health", "use health: {check: 'command:PROGRAM', interval: 5s, timeout: 1s}"),
    ("needs", "use needs: [NAME], or needs: {NAME: completed}"),
];

/// Returns what takes the place of an unknown key, or of the value of a key, in a problem with this path and text. Keys of a path
/// are separated by dots.
pub fn hint_for(path: &str, message: &str) -> Option<&'static str> {
    let (table, key): (&[Word], &str) = match (path.strip_prefix("services."), message) {
        (None, _) if message.starts_with("unknown key") => (&OF_FILE, path),
        (None, _) => return None,
        (Some(rest), _) if message.starts_with("unknown key") => {
            (&OF_SERVICE, rest.rsplit_once('.')?.1)
        }
        (Some(rest), _) => (&OF_VALUES, rest.rsplit_once('.')?.1),
    };
    table.iter().find(|(word, _)| *word == key).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_hinted_at_where_they_stand() {
        let unknown = "unknown key; did you mean `x`?";
        assert!(hint_for("services.api.depends_on", unknown).unwrap().contains("needs"));
        assert!(hint_for("services.\"a.b\".image", unknown).unwrap().contains("docker run"));
        assert_eq!(hint_for("processes", unknown), Some("use services"));
        assert!(hint_for("services.api.ports", "expected a map").unwrap().contains("port: 8080"));
        for (path, message) in [
            ("services.api.port", unknown),
            ("services.api", unknown),
            ("image", unknown),
            ("image", "x"),
        ] {
            assert_eq!(hint_for(path, message), None, "{path}");
        }
    }
}
