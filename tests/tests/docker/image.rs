//! The image of Portolan: `serve` as its default, and `portolan run` as the first process of a container.

use anyhow::{Context as _, Result, ensure};
use portolan_tests::docker::Docker;
use portolan_tests::{isolated, wait_for};
use serde_json::Value;

const IMAGE: &str = "portolan:test";

fn inspect(docker: &Docker<'_>, what: &str) -> Result<Value> {
    let all: Value = serde_json::from_str(&docker.run(&["inspect", what])?)?;
    all.get(0).cloned().context("nothing inspected")
}

fn logged(docker: &Docker<'_>, container: &str, line: &str) -> Result<()> {
    wait_for(line, || {
        let output = docker.output(&["logs", container])?;
        ensure!(output.stdout.lines().any(|it| it == line), "{output:?}");
        Ok(())
    })
}

#[test]
fn image_serves_as_an_unprivileged_user_and_reports_its_health() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        docker.build_portolan(IMAGE)?;
        let image = inspect(&docker, IMAGE)?;
        let labels = &image["Config"]["Labels"];
        ensure!(labels["org.opencontainers.image.title"] == "Portolan", "{image}");
        ensure!(labels["org.opencontainers.image.version"] == env!("CARGO_PKG_VERSION"), "{image}");
        ensure!(image["Config"]["User"] == "65532:65532", "{image}");

        // As a pod with the strictest security context: an emptyDir of Kubernetes is writable for everybody and has no sticky bit.
        let strict = ["--read-only", "--tmpfs", "/tmp:mode=2777", "--cap-drop", "ALL"];
        let runtime = ["--env", "PORTOLAN_PORT_ALLOCATOR__RUNTIME_DIR=/dev/shm/portolan"];
        let run = ["run", "--detach", "--name", "registry", "--security-opt", "no-new-privileges"];
        docker.run(&[&run[..], &strict, &runtime, &[IMAGE]].concat())?;
        wait_for("the container to be healthy", || {
            let state = inspect(&docker, "registry")?["State"].clone();
            ensure!(state["Health"]["Status"] == "healthy", "{state}");
            Ok(())
        })?;
        let found = docker.run(&["exec", "registry", "portolan", "--json", "list"])?;
        ensure!(found.contains("services"), "{found}");
        docker.run(&["stop", "--time", "20", "registry"])?;
        let state = inspect(&docker, "registry")?["State"].clone();
        ensure!(state["ExitCode"] == 0, "{state}");
        Ok(())
    });
}

#[test]
fn run_as_the_first_process_reaps_orphans_and_passes_signals_on() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        docker.build_portolan(IMAGE)?;
        let program = "trap 'echo got USR1' USR1; trap 'echo got TERM; exit 7' TERM; echo ready; \
                       while true; do sleep 1000 & wait $!; done";
        let run = ["run", "--detach", "--name", "web", "--no-healthcheck", IMAGE];
        let portolan =
            ["--set", "broadcast.enabled=false", "run", "--name", "web", "--health", "none"];
        docker.run(&[&run[..], &portolan, &["--", "sh", "-c", program]].concat())?;
        logged(&docker, "web", "ready")?;

        // An orphan of `docker exec` becomes a child of the first process.
        let orphan = docker.run(&["exec", "web", "sh", "-c", "sleep 0.2 > /dev/null & echo $!"])?;
        wait_for("the orphan to be reaped", || {
            docker.run(&["exec", "web", "test", "!", "-e", &format!("/proc/{}", orphan.trim())])
        })?;

        docker.run(&["kill", "--signal", "USR1", "web"])?;
        logged(&docker, "web", "got USR1")?;
        docker.run(&["stop", "--time", "20", "web"])?;
        logged(&docker, "web", "got TERM")?;
        let state = inspect(&docker, "web")?["State"].clone();
        ensure!(state["ExitCode"] == 7, "{state}");

        // A program that is missing, and one that is killed, as in a shell.
        for (words, code) in [(&["no-such-program"][..], 127), (&["sh", "-c", "kill -9 $$"], 137)] {
            let run = ["run", "--rm", "--no-healthcheck", IMAGE];
            let run = [&run[..], &portolan, &["--"], words].concat();
            ensure!(docker.output(&run)?.code == Some(code), "{words:?}");
        }
        Ok(())
    });
}
