//! What containers learn while they run: the settings of a service, the address of another one, and each other without a registry.

use anyhow::{Result, ensure};
use portolan_tests::docker::{Docker, IMAGE};
use portolan_tests::{TestEnv, http, isolated, portolan_program, redis, wait_for};

use super::{follow, registered, registry};

/// The registry as containers of the default network reach it.
const REGISTRY: &str = "http://172.30.0.1:7000";
/// No registry.
const NOBODY: &str = "http://127.0.0.1:9";
/// The directory of the test in the containers, which else see the host's file system without a right to write.
const SHARED: &str = "/mnt";

/// The options of a container in which the built `portolan` can run, and write into the directory of the test.
fn dependent(env: &TestEnv, network: &str) -> Result<Vec<String>> {
    let shared = format!("{}:/host{SHARED}", env.folder("shared")?.display());
    let options = ["--network", network, "--volume", "/:/host:ro", "--volume", &shared];
    Ok(options.map(str::to_owned).to_vec())
}

/// Starts a container that runs `portolan` with these arguments.
fn start(docker: &Docker<'_>, name: &str, options: &[String], arguments: &str) -> Result<()> {
    let script = format!("exec chroot /host {} {arguments}", portolan_program()?.display());
    let mut run = vec!["run", "--detach", "--name", name];
    run.extend(options.iter().map(String::as_str));
    run.extend([IMAGE, "sh", "-c", &script]);
    docker.run(&run).map(drop)
}

fn logs(docker: &Docker<'_>, container: &str) -> Result<String> {
    docker.run(&["logs", container])
}

#[test]
fn change_of_settings_and_of_an_address_reaches_a_container_that_depends_on_it() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        docker.import_servers()?;
        let mut server = registry(env)?;
        let _follower = follow(env, &docker)?;
        let redis_server = ["--label", "portolan.name=redis", "--publish", "6379"];
        docker.run(
            &[&["run", "--detach", "--name", "redis"], &redis_server[..], &["redis:7"]].concat(),
        )?;
        registered(&["redis"])?;
        env.portolan(&["config", "set", "api", "workers=4"])?.run()?.exits(0)?;

        let bridge = dependent(env, "bridge")?;
        env.write("shared/redis.j2", "at {{ service(\"redis\").address }}\n")?;
        let output = env.directory().join("shared/redis.conf");
        start(
            &docker,
            "settings",
            &bridge,
            &format!("config watch api --json --registry {REGISTRY}"),
        )?;
        let render = format!(
            "render {SHARED}/redis.j2 -o {SHARED}/redis.conf --watch --registry {REGISTRY}"
        );
        start(&docker, "rendered", &bridge, &render)?;
        let workers = |count: u32| {
            wait_for(&format!("{count} workers"), || {
                let seen = logs(&docker, "settings")?;
                ensure!(seen.contains(&format!("\"workers\":{count}")), "{seen}");
                Ok(())
            })
        };
        // The container's view: the gateway of its network, and the port that Docker has chosen.
        let rendered = || {
            let port = registered(&["redis"])?[0]["port"].clone();
            let expected = format!("at 172.30.0.1:{port}\n");
            wait_for(&expected, || {
                let text = std::fs::read_to_string(&output)?;
                ensure!(text == expected, "{text}");
                Ok(())
            })?;
            redis::ping(port.to_string().parse()?)
        };
        workers(4)?;
        rendered()?;

        env.portolan(&["config", "set", "api", "workers=5"])?.run()?.exits(0)?;
        workers(5)?;
        for _ in 0..3 {
            docker.run(&["kill", "redis"])?;
            registered(&[])?;
            docker.run(&["start", "redis"])?;
            rendered()?;
        }

        // Over the loss of the registry too.
        server.kill()?;
        let _server = registry(env)?;
        registered(&["redis"])?;
        env.portolan(&["config", "set", "api", "workers=6"])?.run()?.exits(0)?;
        workers(6)
    });
}

#[test]
fn containers_of_a_network_find_each_other_by_broadcast() {
    isolated(|env| {
        let docker = Docker::start(env)?;
        docker.run(&["network", "create", "--subnet", "172.31.1.0/24", "one"])?;
        docker.web("cache", &["--network", "one", "--ip", "172.31.1.9"])?;
        // A sidecar has the network of its container.
        let sidecar = dependent(env, "container:cache")?;
        let register = format!(
            "register cache --port 80 --protocol http --while-listening --ttl 1h --registry {NOBODY}"
        );
        start(&docker, "sidecar", &sidecar, &register)?;
        let caller = dependent(env, "one")?;
        let discover = format!(
            "address=$(chroot /host {} discover cache --strategy broadcast --registry {NOBODY}) && echo $address && wget -q -O - http://$address/",
            portolan_program()?.display()
        );
        let mut ask = vec!["run", "--rm"];
        ask.extend(caller.iter().map(String::as_str));
        ask.extend([IMAGE, "sh", "-c", &discover]);
        wait_for("the container to be found", || {
            let found = docker.run(&ask)?;
            ensure!(found.trim() == "172.31.1.9:80\ncache", "{found}");
            Ok(())
        })?;
        // Nobody told a registry.
        ensure!(http::get("http://127.0.0.1:7000/readyz").is_err(), "there is none");
        Ok(())
    });
}
