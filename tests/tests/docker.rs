//! `portolan docker` with a real engine and real containers.

use std::collections::BTreeSet;
use std::fs;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::docker::{Docker, IMAGE};
use portolan_tests::{Process, REGISTRY, TestEnv, http, isolated, portolan_program, wait_for};
use serde_json::Value;

use latency::{Removal, kill, kill_events, print_latencies};

mod compose;
mod dependents;
mod image;
mod latency;
mod random_failures;

const WEB: [&str; 2] = ["--label", "portolan.name=web"];

/// A registry on every address of the host of the containers.
fn registry(env: &TestEnv) -> Result<Process> {
    env.settled_registry_with(&["--listen", "0.0.0.0:7000"])
}

fn follow(env: &TestEnv, docker: &Docker<'_>) -> Result<Process> {
    follow_for(env, docker, REGISTRY)
}

fn follow_for(env: &TestEnv, docker: &Docker<'_>, registry: &str) -> Result<Process> {
    let socket = docker.socket().display().to_string();
    let follow = env.portolan(&["docker", "--registry", registry, "--socket", &socket])?;
    let mut process = follow.spawn("portolan-docker")?;
    process.wait_for_line("following Docker at")?;
    Ok(process)
}

/// Returns the instances of all scopes.
fn instances() -> Result<Vec<Value>> {
    let listing = http::get_json(&format!("{REGISTRY}/api/v1/services"))?;
    listing["services"].as_array().cloned().context("no list")
}

/// Waits until exactly these containers are registered, each once.
fn registered(names: &[&str]) -> Result<Vec<Value>> {
    wait_for(&format!("{names:?} to be registered"), || {
        let all = instances()?;
        let mut found: Vec<_> =
            all.iter().filter_map(|it| it["metadata"]["docker.container"].as_str()).collect();
        found.sort_unstable();
        ensure!(found == names, "{all:?}");
        Ok(all)
    })
}

/// Waits until the container at this address answers: docker-proxy accepts connections before its program listens.
fn answers(address: &str, name: &str) -> Result<()> {
    wait_for(name, || {
        ensure!(http::get(&format!("http://{address}/"))?.trim() == name);
        Ok(())
    })
}

fn ids(instances: &[Value]) -> BTreeSet<String> {
    instances.iter().map(|it| it["id"].to_string()).collect()
}

/// Runs `portolan discover` in a container on this network, and asks the address that it prints from there.
fn ask_from(docker: &Docker<'_>, network: &str, gateway: &str, name: &str) -> Result<String> {
    let program = portolan_program()?.display().to_string();
    let url = format!("http://{gateway}:7000");
    let script = format!(
        "address=$(chroot /host {program} discover {name} --strategy registry --registry {url}) && wget -q -O - http://$address/"
    );
    docker.run(&[
        "run",
        "--rm",
        "--network",
        network,
        "--volume",
        "/:/host:ro",
        IMAGE,
        "sh",
        "-c",
        &script,
    ])
}

#[test]
fn each_caller_gets_an_address_of_a_container_that_works_from_where_it_is() {
    isolated(|env| {
        let other = env.host(2)?;
        env.join_hosts(1)?;
        let docker = Docker::start(env)?;
        docker.run(&["network", "create", "--subnet", "172.31.1.0/24", "one"])?;
        docker.run(&["network", "create", "--subnet", "172.31.2.0/24", "two"])?;
        let _registry = registry(env)?;
        let _follower = follow(env, &docker)?;
        docker.web("web", &[&WEB[..], &["--network", "one", "--publish", "8080:80"]].concat())?;
        docker.web("inner", &["--label", "portolan.name=inner", "--network", "one"])?;
        registered(&["inner", "web"])?;

        // On the host, by the published port, and by the bridge.
        let found = env.discover("web", &["--strategy", "registry"])?.text()?;
        ensure!(found == "127.0.0.1:8080", "{found}");
        ensure!(http::get(&format!("http://{found}/"))?.trim() == "web");
        let found = env.discover("inner", &["--strategy", "registry"])?.text()?;
        ensure!(found.starts_with("172.31.1.") && found.ends_with(":80"), "{found}");
        ensure!(http::get(&format!("http://{found}/"))?.trim() == "inner");

        // On the same bridge, on another one, and on the network of the host.
        ensure!(ask_from(&docker, "one", "172.31.1.1", "web")? == "web");
        ensure!(ask_from(&docker, "one", "172.31.1.1", "inner")? == "inner");
        ensure!(ask_from(&docker, "two", "172.31.2.1", "web")? == "web");
        ensure!(ask_from(&docker, "host", "127.0.0.1", "web")? == "web");
        ensure!(ask_from(&docker, "host", "127.0.0.1", "inner")? == "inner");
        let hidden = ask_from(&docker, "two", "172.31.2.1", "inner").unwrap_err().to_string();
        ensure!(hidden.contains("no instance of inner found"), "{hidden}");

        // On another host.
        let remote = ["--strategy", "registry", "--registry", "http://10.77.0.1:7000"];
        other.finds("web", &remote, "10.77.0.1:8080")?;
        ensure!(other.shell("curl -s http://10.77.0.1:8080/")?.text()? == "web");
        other.portolan(&["discover", "inner"])?.args(&remote).run()?.exits(3)?;
        Ok(())
    });
}

/// As in an image of Debian, which has no certificates.
#[test]
fn engine_is_followed_without_any_authority_of_certificates() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        let socket = docker.socket().display().to_string();
        let follow = env.portolan(&["docker", "--socket", &socket])?;
        let follow =
            follow.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
        follow.spawn("portolan-docker")?.wait_for_line("following Docker at").map(drop)
    });
}

#[test]
fn container_that_is_killed_paused_or_moved_is_followed() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        let _registry = registry(env)?;
        let _follower = follow(env, &docker)?;
        let watch = env.portolan(&["watch", "web", "--json", "--registry", REGISTRY])?;
        let mut watch = watch.spawn("watch")?;
        watch.wait_for_line("snapshot")?;
        docker.web("web", &[&WEB[..], &["--publish", "80"]].concat())?;
        let first = registered(&["web"])?;

        docker.run(&["pause", "web"])?;
        registered(&[])?;
        docker.run(&["unpause", "web"])?;
        ensure!(ids(&registered(&["web"])?) == ids(&first), "another instance");

        // Docker chooses another port of the host at each start.
        let began = SystemTime::now();
        let mut removals: Vec<Removal> = Vec::new();
        for _ in 0..25 {
            removals.push(kill(&docker, &watch)?);
            registered(&[])?;
            docker.run(&["start", "web"])?;
            ensure!(ids(&registered(&["web"])?) == ids(&first), "another instance");
            let found = env.discover("web", &["--strategy", "registry"])?.text()?;
            answers(&found, "web")?;
        }
        print_latencies(&removals, &kill_events(&docker, began)?);
        docker.run(&["rm", "--force", "web"])?;
        registered(&[]).map(drop)
    });
}

#[test]
fn restart_of_the_engine_or_of_the_registrar_loses_and_duplicates_nothing() {
    isolated(|env| {
        let mut docker = Docker::start(env)?;
        let _registry = registry(env)?;
        let mut follower = follow(env, &docker)?;
        for name in ["one", "two"] {
            let options = ["--publish", "80", "--restart", "always"];
            docker.web(name, &[&WEB[..], &options].concat())?;
        }
        let first = ids(&registered(&["one", "two"])?);
        docker.kill_and_restart()?;
        follower.wait_for_line("Docker available again")?;
        wait_for("the containers to answer", || {
            ensure!(ids(&registered(&["one", "two"])?) == first, "other instances");
            for instance in instances()? {
                let address = format!(
                    "http://{}:{}/",
                    instance["host"].as_str().unwrap_or_default(),
                    instance["port"]
                );
                http::get(&address)?;
            }
            Ok(())
        })?;

        // What changes while no registrar runs is made up for by the next one.
        follower.kill()?;
        docker.run(&["rm", "--force", "one"])?;
        docker.web("three", &WEB)?;
        let mut follower = follow(env, &docker)?;
        registered(&["three", "two"])?;

        // At its end nothing is left.
        follower.terminate()?.exits(0)?;
        ensure!(instances()?.is_empty(), "{:?}", instances()?);
        Ok(())
    });
}

#[test]
fn health_scope_and_metadata_are_those_of_the_container() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        let _registry = registry(env)?;
        let mut follower = follow(env, &docker)?;
        let health =
            ["--health-cmd", "test ! -e /sick", "--health-interval", "1s", "--health-retries", "1"];
        let labels = [
            "--label",
            "com.docker.compose.service=api",
            "--label",
            "com.docker.compose.project=shop",
            "--label",
            "portolan.meta.region=eu",
            "--label",
            "portolan.protocol=http",
        ];
        docker.web("api", &[&health[..], &labels].concat())?;
        let api = registered(&["api"])?.remove(0);
        ensure!(api["name"] == "api" && api["metadata"]["scope"] == "shop", "{api}");
        ensure!(api["metadata"]["region"] == "eu" && api["protocol"] == "http", "{api}");
        let becomes = |health: &str| {
            wait_for(&format!("the health {health}"), || {
                let api = registered(&["api"])?.remove(0);
                ensure!(api["health"] == health, "{api}");
                Ok(())
            })
        };
        becomes("passing")?;
        docker.run(&["exec", "api", "touch", "/sick"])?;
        becomes("critical")?;
        docker.run(&["exec", "api", "rm", "/sick"])?;
        becomes("passing")?;

        // Labels that cannot be used are reported in one line, and keep no other container from being registered.
        docker.web("bad", &["--label", "portolan.name=a\u{1b}[31m\nb"])?;
        docker.web("typo", &["--label", "portolan.nmae=web"])?;
        docker.web("good", &WEB)?;
        registered(&["api", "good"])?;
        let bad = follower.wait_for_line("container=\"\\\"bad")?;
        ensure!(!bad.contains('\u{1b}') && bad.contains("portolan.name"), "{bad}");
        follower.wait_for_line("did you mean portolan.name?")?;
        ensure!(follower.output().matches("did you mean").count() == 1, "{}", follower.output());
        Ok(())
    });
}

#[test]
fn registry_registers_containers_itself_and_starts_without_an_engine() {
    isolated(|env| {
        let socket = env.directory().join("docker.sock").display().to_string();
        let mut registry = env.settled_registry_with(&[
            "--listen",
            "0.0.0.0:7000",
            &format!("--docker={socket}"),
        ])?;
        registry.wait_for_line("Docker not available, trying again")?;
        let docker = Docker::start(env)?;
        docker.web("web", &[&WEB[..], &["--publish", "80"]].concat())?;
        registered(&["web"])?;
        let found = env.discover("web", &["--strategy", "registry"])?.text()?;
        answers(&found, "web")?;
        docker.run(&["kill", "web"])?;
        registered(&[])?;
        registry.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn socket_that_cannot_be_used_is_reported_with_a_remedy() {
    isolated(|env| {
        let missing = env.portolan(&["docker", "--socket", "missing.sock"])?.run()?.exits(1)?;
        ensure!(missing.stderr.contains("cannot reach Docker at missing.sock"), "{missing:?}");
        ensure!(missing.stderr.contains("remedy: start Docker, or set DOCKER_HOST"), "{missing:?}");
        fs::write(env.directory().join("file"), "")?;
        env.portolan(&["docker", "--socket", "file"])?.run()?.exits(1)?;
        let remote =
            env.portolan(&["docker"])?.env("DOCKER_HOST", "tcp://10.0.0.1:2375").run()?.exits(2)?;
        ensure!(
            remote.stderr.contains("is not the Unix socket of an engine on this host"),
            "{remote:?}"
        );
        Ok(())
    });
}
