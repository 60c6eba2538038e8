//! Another program takes a leased port between the lease and the start of the container.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::ensure;
use portolan_tests::docker::{ComposeVersion, Docker};
use portolan_tests::{http, isolated, wait_for};

const FILE: &str = "services:
  web:
    image: box
    command: httpd -f -p 80 -h /
    ports: ['8080:80']
";

/// Compose in whose first `up` a program that knows nothing of Portolan is faster.
const COMPOSE: &str = r#"#!/bin/sh
case " $* " in
*" up "*)
    if test ! -e "$0.taken"; then
        /usr/bin/python3 -c '
import socket, sys, time
server = socket.create_server(("", 8080))
open(sys.argv[1], "w").close()
time.sleep(1000)' "$0.taken" > /dev/null 2>&1 &
        until test -e "$0.taken"; do /bin/sleep 0.02; done
    fi
esac
exec /usr/bin/docker-compose "$@"
"#;

#[test]
fn compose_is_run_again_with_another_port() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        let version = ComposeVersion::V1;
        let compose = env.write(&format!("bin-{version:?}/docker-compose"), COMPOSE)?;
        fs::set_permissions(&compose, fs::Permissions::from_mode(0o755))?;
        let directory = env.folder("shop")?;
        fs::write(directory.join("docker-compose.yml"), FILE)?;

        let up = docker.compose(version, &directory, &[], &["up", "-d"])?.run()?.exits(0)?;
        ensure!(up.stderr.contains("another program has taken a leased port"), "{up:?}");
        let port = docker.run(&["ps", "--format", "{{.Ports}}"])?;
        ensure!(!port.contains(":8080->") && port.contains("->80/tcp"), "{port}");
        let leased = env.portolan(&["ports", "list", "--leased", "--json"])?.run()?.json()?;
        let leased = leased["ports"][0]["port"].as_u64().unwrap_or_default();
        ensure!(port.contains(&format!(":{leased}->")), "{port} {leased}");
        wait_for("the container to answer", || {
            // It has no page, and says so.
            let url = format!("http://127.0.0.1:{leased}/missing");
            let answer = http::get(&url).map_err(|error| error.to_string());
            ensure!(answer.as_ref().is_err_and(|error| error.contains("404")), "{answer:?}");
            Ok(())
        })?;
        docker.compose(version, &directory, &[], &["down", "-t", "1"])?.run()?.exits(0).map(drop)
    });
}
