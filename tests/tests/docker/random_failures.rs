//! Databases in containers while containers, engine, registrar, registry and the line between them fail in a random order. After each
//! failure everything is found again, once, at an address that answers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::docker::Docker;
use portolan_tests::{Process, Proxy, TestEnv, http, isolated, postgres, redis, wait_for};

use super::{ask_from, follow_for, registered, registry};

/// The containers, in the order of their names, with the image and the published ports.
const CONTAINERS: [(&str, &str, &str); 3] = [
    ("postgres-primary", "postgres:16", "5432"),
    ("postgres-replica", "postgres:16", "5432"),
    ("redis", "redis:7", "6379"),
];
/// A server on a port of the host that somebody else may have.
const WEB: &str = "web";
const WEB_PORT: u16 = 18_080;
/// What a container needs to be found.
const NAMES: [&str; 4] = ["postgres-primary", "postgres-replica", "redis", WEB];
/// How long a line between cities takes.
const DELAY: Duration = Duration::from_millis(150);
/// The orders of the failures, each by its seed.
const SEEDS: [u64; 2] = [12, 1984];

/// What fails.
#[derive(Debug, Clone, Copy)]
enum Failure {
    ContainerKilled,
    ContainerRestarted,
    ContainerPaused,
    LineCut,
    LineSlow,
    RegistrarKilled,
    RegistryKilled,
    EngineKilled,
    PortTaken,
}

const FAILURES: [Failure; 9] = [
    Failure::ContainerKilled,
    Failure::ContainerRestarted,
    Failure::ContainerPaused,
    Failure::LineCut,
    Failure::LineSlow,
    Failure::RegistrarKilled,
    Failure::RegistryKilled,
    Failure::EngineKilled,
    Failure::PortTaken,
];

/// Everything that may fail.
struct Scene<'a> {
    env: &'a TestEnv,
    docker: Docker<'a>,
    line: Proxy,
    registry: Process,
    registrar: Process,
    random: u64,
}

#[test]
fn everything_recovers_from_failures_in_a_random_order() {
    isolated(|env| {
        let mut scene = Scene::start(env)?;
        scene.is_found()?;
        for seed in SEEDS {
            scene.random = seed;
            for failure in scene.shuffled() {
                scene.fail(failure).with_context(|| format!("{failure:?}, seed {seed}"))?;
                scene.is_found().with_context(|| format!("after {failure:?}, seed {seed}"))?;
            }
        }
        // From another container too, by its name.
        wait_for("the server to answer a container", || {
            ensure!(ask_from(&scene.docker, "bridge", "172.30.0.1", WEB)? == WEB);
            Ok(())
        })
    });
}

// === impl Scene ===

impl<'a> Scene<'a> {
    fn start(env: &'a TestEnv) -> Result<Self> {
        let docker = Docker::start(env)?;
        docker.import_servers()?;
        let registry = registry(env)?;
        let line = Proxy::to_port(7000)?;
        let registrar = follow_for(env, &docker, &line.url())?;
        for (name, image, port) in CONTAINERS {
            let label = format!("portolan.name={name}");
            let run = ["run", "--detach", "--name", name, "--label", &label, "--publish", port];
            docker.run(&[&run[..], &[image]].concat())?;
        }
        let published = format!("{WEB_PORT}:80");
        docker.web(WEB, &["--label", "portolan.name=web", "--publish", &published])?;
        Ok(Self { env, docker, line, registry, registrar, random: 0 })
    }

    /// Waits until each service is found once, and answers at the address that a client gets.
    fn is_found(&self) -> Result<()> {
        registered(&NAMES)?;
        for name in NAMES {
            wait_for(name, || {
                let found = self.env.discover(name, &["--strategy", "registry"])?.text()?;
                let (host, port) = found.rsplit_once(':').context("no port")?;
                match name {
                    WEB => ensure!(http::get(&format!("http://{found}/"))?.trim() == WEB),
                    "redis" => redis::ping(port.parse()?)?,
                    _ => drop(postgres::psql(host, port.parse()?, "select 1")?),
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn fail(&mut self, failure: Failure) -> Result<()> {
        let name = NAMES[self.below(NAMES.len())];
        match failure {
            Failure::ContainerKilled => self.kill_and_start(name),
            Failure::ContainerRestarted => {
                self.docker.run(&["restart", "--time", "1", name]).map(drop)
            }
            Failure::ContainerPaused => {
                self.docker.run(&["pause", name])?;
                self.docker.run(&["unpause", name]).map(drop)
            }
            Failure::LineCut => {
                self.line.disconnect();
                self.kill_and_start(name)?;
                self.line.reconnect();
                Ok(())
            }
            Failure::LineSlow => {
                self.line.delay(DELAY);
                self.kill_and_start(name)?;
                self.is_found()?;
                self.line.delay(Duration::ZERO);
                Ok(())
            }
            Failure::RegistrarKilled => {
                self.registrar.kill()?;
                self.kill_and_start(name)?;
                self.registrar = follow_for(self.env, &self.docker, &self.line.url())?;
                Ok(())
            }
            Failure::RegistryKilled => {
                self.registry.kill()?;
                self.kill_and_start(name)?;
                self.registry = registry(self.env)?;
                Ok(())
            }
            Failure::EngineKilled => {
                self.docker.kill_and_restart()?;
                // Without a policy for restarts, what has ended with the engine stays ended.
                NAMES.iter().try_for_each(|name| self.docker.run(&["start", name]).map(drop))
            }
            Failure::PortTaken => {
                self.docker.run(&["stop", "--time", "1", WEB])?;
                let foreign = self.env.foreign_listener(WEB_PORT)?;
                let refused = self.docker.output(&["start", WEB])?;
                ensure!(refused.code != Some(0), "{refused:?}");
                let others: Vec<&str> = NAMES.into_iter().filter(|name| *name != WEB).collect();
                registered(&others)?;
                drop(foreign);
                self.docker.run(&["start", WEB]).map(drop)
            }
        }
    }

    fn kill_and_start(&self, name: &str) -> Result<()> {
        self.docker.run(&["kill", name])?;
        self.docker.run(&["start", name]).map(drop)
    }

    /// The failures in a random order (Fisher and Yates).
    fn shuffled(&mut self) -> [Failure; FAILURES.len()] {
        let mut failures = FAILURES;
        for last in (1..failures.len()).rev() {
            failures.swap(last, self.below(last + 1));
        }
        failures
    }

    /// The next number below this one: the same ones for each seed (Knuth's linear congruential generator).
    fn below(&mut self, limit: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap_or_default() % limit
    }
}
