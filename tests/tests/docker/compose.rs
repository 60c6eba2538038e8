//! `portolan compose` with both versions of Compose, real databases in containers, and two projects side by side.

mod copy;
mod taken;

use std::fs;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::docker::{ComposeVersion, Docker};
use portolan_tests::{REGISTRY, TestEnv, http, isolated, postgres, redis, wait_for};
use serde_json::Value;

use super::{follow, registry};
use copy::{Copy, Ports};

fn leased(env: &TestEnv) -> Result<Vec<(u64, String, String)>> {
    let list = env.portolan(&["ports", "list", "--leased", "--json"])?.run()?.json()?;
    let text = |it: &Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
    let ports = list["ports"].as_array().context("no ports")?.iter();
    let ports = ports.filter(|it| it["service"] != "portolan-registry");
    Ok(ports
        .map(|it| (it["port"].as_u64().unwrap_or_default(), text(it, "service"), text(it, "scope")))
        .collect())
}

fn containers(docker: &Docker<'_>) -> Result<String> {
    docker.run(&["ps", "--all", "--quiet", "--no-trunc"])
}

fn answers(ports: &Ports) -> Result<()> {
    for name in ["postgres-primary", "postgres-replica"] {
        wait_for(name, || postgres::psql("127.0.0.1", ports[name], "select 1"))?;
    }
    wait_for("Redis", || redis::ping(ports["redis"]))
}

#[test]
fn two_projects_side_by_side_get_ports_of_their_own_with_both_versions() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        docker.import_servers()?;
        let _registry = registry(env)?;
        let _follower = follow(env, &docker)?;
        for version in ComposeVersion::ALL {
            // A program that knows nothing of Portolan has the port of Redis.
            let foreign = env.foreign_listener(6379)?;
            let example = "docker-compose.test.yml";
            let one = Copy::new(env, &docker, version, (&format!("{version:?}/one"), example))?;
            let two = Copy::new(env, &docker, version, (&format!("{version:?}/two"), example))?;
            let (ports_of_one, ports_of_two) = (one.up()?, two.up()?);
            let mut all: Vec<u16> =
                ports_of_one.values().chain(ports_of_two.values()).copied().collect();
            all.sort_unstable();
            all.dedup();
            ensure!(all.len() == 6 && !all.contains(&6379), "{ports_of_one:?} {ports_of_two:?}");
            ensure!(ports_of_one["postgres-primary"] == 5432, "{ports_of_one:?}");
            answers(&ports_of_one)?;
            answers(&ports_of_two)?;
            ensure!(one.port("redis", "6379")? == ports_of_one["redis"], "another port");

            // Clients find them by name, in the scope of the project.
            for (scope, ports) in [("one", &ports_of_one), ("two", &ports_of_two)] {
                for (service, port) in ports {
                    let options = ["--scope", scope, "--strategy", "registry"];
                    let address = format!("127.0.0.1:{port}");
                    wait_for(service, || {
                        let found = env.discover(service, &options)?.text()?;
                        ensure!(found == address, "{found}, not {address}");
                        Ok(())
                    })?;
                }
            }
            drop(foreign);
            one.compose(&[], &["down", "-t", "1"])?.exits(0)?;
            two.compose(&[], &["down", "-t", "1"])?.exits(0)?;
            wait_for("the leases to end", || {
                let leased = leased(env)?;
                ensure!(leased.is_empty(), "{leased:?}");
                Ok(())
            })?;
        }
        Ok(())
    });
}

#[test]
fn leases_last_as_long_as_the_containers_and_survive_their_holder() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        docker.import_servers()?;
        let version = ComposeVersion::V2;
        let copy = Copy::new(env, &docker, version, ("shop", "docker-compose.test.yml"))?;
        let busy = env.foreign_listener(5432)?;
        let ports = copy.up()?;
        ensure!(!ports.values().any(|port| *port == 5432), "{ports:?}");
        drop(busy);

        // The command has ended, and the leases have not. A container that is stopped keeps its port.
        copy.compose(&[], &["stop", "redis"])?.exits(0)?;
        let held = leased(env)?;
        ensure!(held.len() == 3 && held.iter().all(|it| it.2 == "shop"), "{held:?}");
        let before = containers(&docker)?;
        ensure!(copy.up()? == ports && containers(&docker)? == before, "containers were replaced");

        // Without the holder the ports are in use by the project's own containers.
        let holder = env.processes()?.into_iter().find(|(_, line)| line.contains("compose-hold"));
        let (holder, _) = holder.context("no holder")?;
        let pid = rustix::process::Pid::from_raw(holder.cast_signed()).context("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        wait_for("the leases to end", || {
            ensure!(leased(env)?.is_empty());
            Ok(())
        })?;
        ensure!(copy.up()? == ports && containers(&docker)? == before, "containers were replaced");
        ensure!(leased(env)?.len() == 3, "{:?}", leased(env)?);

        // The same ports again next time in this directory, unless one is taken.
        copy.compose(&[], &["down", "-t", "1"])?.exits(0)?;
        wait_for("the leases to end", || {
            ensure!(leased(env)?.is_empty());
            Ok(())
        })?;
        let taken = env.foreign_listener(ports["redis"])?;
        let again = copy.up()?;
        ensure!(again["postgres-primary"] == ports["postgres-primary"], "{again:?}");
        ensure!(again["redis"] != ports["redis"], "{again:?}");
        answers(&again)?;
        drop(taken);

        // A working copy of the same name does not replace its containers.
        let other = Copy::new(env, &docker, version, ("copy/shop", "docker-compose.test.yml"))?;
        let refused = other.compose(&[], &["up", "-d"])?.exits(2)?;
        ensure!(refused.stderr.contains("containers of another directory"), "{refused:?}");
        ensure!(refused.stderr.contains("remedy: give this one another name"), "{refused:?}");
        other.compose(&[], &["-p", "other", "up", "-d", "redis"])?.exits(0)?;
        other.compose(&[], &["-p", "other", "down", "-t", "1"])?.exits(0)?;
        copy.compose(&[], &["down", "-t", "1"])?.exits(0).map(drop)
    });
}

#[test]
fn application_of_the_example_runs_with_both_versions() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        docker.import_servers()?;
        for version in ComposeVersion::ALL {
            let taken = env.foreign_listener(8080)?;
            let example = ("shop", "docker-compose.e2e.yml");
            let copy = Copy::new(env, &docker, version, example)?;
            let ports = copy.up()?;
            ensure!(ports.len() == 3 && ports["api"] != 8080, "{ports:?}");
            wait_for("the API", || {
                let answer = http::get_json(&format!("http://127.0.0.1:{}/", ports["api"]))?;
                ensure!(answer["status"] == "ok", "{answer}");
                Ok(())
            })?;
            wait_for("the workers", || {
                let jobs = docker.run(&[
                    "exec",
                    &container(&docker, "redis")?,
                    "redis-cli",
                    "get",
                    "jobs",
                ])?;
                ensure!(jobs.trim().parse::<u32>().is_ok_and(|jobs| jobs > 1), "{jobs}");
                Ok(())
            })?;
            // It is published on loopback only, as the file says.
            let published = docker.run(&["port", &container(&docker, "api")?])?;
            ensure!(published.contains(&format!("127.0.0.1:{}", ports["api"])), "{published}");
            copy.compose(&[], &["down", "-t", "1"])?.exits(0)?;
            drop(taken);
        }
        Ok(())
    });
}

fn container(docker: &Docker<'_>, service: &str) -> Result<String> {
    let label = format!("label=com.docker.compose.service={service}");
    docker.run(&["ps", "--quiet", "--filter", &label])
}

#[test]
fn wrong_files_are_reported_by_their_place_and_nothing_is_leased() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        let _registry = env.registry()?;
        for version in ComposeVersion::ALL {
            let directory = env.folder(&format!("bad-{version:?}"))?;
            for (file, expected) in [
                ("services: [", ""),
                ("services: {web: {image: box, ports: ['x:80']}}", ""),
                (
                    "services: {web: {image: '${MISSING:?it is needed}', ports: ['8080:80']}}",
                    "MISSING",
                ),
            ] {
                fs::write(directory.join("docker-compose.yml"), file)?;
                let output = docker.compose(version, &directory, &[], &["up", "-d"])?.run()?;
                let code = output.code;
                ensure!(code != Some(0) && output.stderr.contains(expected), "{file}: {output:?}");
                ensure!(!output.stderr.contains("panicked"), "{output:?}");
            }
            fs::remove_file(directory.join("docker-compose.yml"))?;
            let none = docker.compose(version, &directory, &[], &["up"])?.run()?;
            ensure!(none.code != Some(0), "{none:?}");
            let unknown = docker.compose(version, &directory, &[], &["--jsn", "up"])?.run()?;
            ensure!(unknown.exits(2)?.stderr.contains("unknown option \"--jsn\""));
        }
        ensure!(leased(env)?.is_empty(), "{:?}", leased(env)?);
        let remote = docker.compose(
            ComposeVersion::V2,
            &env.folder("remote")?,
            &[],
            &["-H", "tcp://10.0.0.1:2375", "up"],
        )?;
        ensure!(remote.run()?.exits(2)?.stderr.contains("DOCKER_HOST"));
        ensure!(http::get(&format!("{REGISTRY}/readyz")).is_ok());
        Ok(())
    });
}
