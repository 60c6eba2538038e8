//! Instances of several hosts that want the same id or the same address: nobody's action affects another's
//! instance, and no name is answered with the address of another service.

use anyhow::{Context, Result, ensure};
use portolan_tests::{Host, Process, TIMEOUT, TestEnv, isolated, wait_for};
use rustix::process::{Pid, Signal, kill_process};

const HTTP_SERVER: [&str; 4] = ["python3", "-m", "http.server", "{port}"];
/// An address that belongs to no host of the test: that of a load balancer.
const VIRTUAL: &str = "10.77.0.200";
/// A registry whose answers are complete after one second.
const SHORT_START: [&str; 2] = ["--set", "service_registry.ttl_default=2s"];

/// The registry on host 1; broadcast is off, so that only the registry answers.
struct Network<'a> {
    hosts: [Host<'a>; 4],
    url: String,
    _registry: Process,
}

// === impl Network ===

impl<'a> Network<'a> {
    fn start(env: &'a TestEnv) -> Result<Self> {
        let hosts = [env.host(1)?, env.host(2)?, env.host(3)?, env.host(4)?];
        let registry = hosts[0].registry(&SHORT_START)?;
        let url = hosts[0].registry_url();
        let network = Self { hosts, url, _registry: registry };
        wait_for("the answers to be complete", || network.is_missing("some-api"))?;
        Ok(network)
    }

    fn run(&self, host: &Host<'a>, name: &str, options: &[&str]) -> Result<Process> {
        let own = ["--registry", &self.url, "--set", "broadcast.enabled=false"];
        host.service(name, &[&own[..], options].concat(), &HTTP_SERVER)
    }

    fn discover(&self, name: &str) -> Result<portolan_tests::Output> {
        let options = ["--registry", &self.url, "--strategy", "registry", "--retries", "0"];
        self.hosts[3].portolan(&["discover", name])?.args(&options).run()
    }

    fn is_missing(&self, name: &str) -> Result<()> {
        self.discover(name)?.exits(3).map(drop)
    }

    fn finds(&self, name: &str, address: &str) -> Result<()> {
        let options = ["--registry", &self.url, "--strategy", "registry"];
        self.hosts[3].finds(name, &options, address)
    }

    /// Returns the instance at this address, as the registry has it.
    fn incarnation(&self, name: &str) -> Result<String> {
        let url = format!("{}/api/v1/services?name={name}", self.url);
        let listing = self.hosts[3].shell(&format!("curl -sf '{url}'"))?.json()?;
        let services = listing["services"].as_array().context("no list")?;
        ensure!(services.len() == 1, "one instance of {name}: {services:?}");
        Ok(services[0]["incarnation"].as_str().context("no incarnation")?.to_owned())
    }
}

/// Returns the ids of the programs whose command line begins with these words.
fn pids(env: &TestEnv, command: &str) -> Result<Vec<Pid>> {
    let processes = env.processes()?.into_iter();
    let wanted = processes.filter(|(_, line)| line.contains(command));
    Ok(wanted.filter_map(|(id, _)| Pid::from_raw(id.try_into().ok()?)).collect())
}

#[test]
fn second_host_behind_a_virtual_address_does_not_touch_the_first_ones_instance() {
    isolated(|env| {
        let network = Network::start(env)?;
        let [_, first, second, _] = &network.hosts;
        let options = ["--host", VIRTUAL, "--preferred", "8090", "--ttl", "2s"];
        let mut one = network.run(first, "vip-api", &options)?;
        network.finds("vip-api", &format!("{VIRTUAL}:8090"))?;
        let owner = network.incarnation("vip-api")?;
        let mut two = network.run(second, "vip-api", &options)?;
        let refused = two.wait(TIMEOUT)?;
        ensure!(refused.code != Some(0), "two owners: {refused:?}");
        ensure!(refused.stderr.contains("another registrant owns the instance"), "{refused:?}");
        ensure!(network.incarnation("vip-api")? == owner, "the second one changed the owner");
        network.finds("vip-api", &format!("{VIRTUAL}:8090"))?;
        one.terminate()?;
        network.is_missing("vip-api")?;
        let _three = network.run(second, "vip-api", &options)?;
        network.finds("vip-api", &format!("{VIRTUAL}:8090"))
    });
}

#[test]
fn owner_that_was_paused_does_not_take_the_instance_of_its_successor() {
    isolated(|env| {
        let network = Network::start(env)?;
        let [_, first, second, _] = &network.hosts;
        let options = ["--host", VIRTUAL, "--preferred", "8090", "--ttl", "2s"];
        let mut paused = network.run(first, "vip-api", &options)?;
        network.finds("vip-api", &format!("{VIRTUAL}:8090"))?;
        let before = network.incarnation("vip-api")?;
        let runs = pids(env, "run --name vip-api")?;
        runs.iter().try_for_each(|pid| kill_process(*pid, Signal::STOP))?;
        wait_for("the paused one to expire", || network.is_missing("vip-api"))?;
        let _successor = network.run(second, "vip-api", &options)?;
        network.finds("vip-api", &format!("{VIRTUAL}:8090"))?;
        let owner = network.incarnation("vip-api")?;
        ensure!(owner != before, "the successor is registered");
        runs.iter().try_for_each(|pid| kill_process(*pid, Signal::CONT))?;
        paused.wait_for_line("another registrant owns the instance")?;
        ensure!(network.incarnation("vip-api")? == owner, "the old owner took it back");
        paused.terminate()?;
        ensure!(network.incarnation("vip-api")? == owner, "the old owner ended its successor");
        network.finds("vip-api", &format!("{VIRTUAL}:8090"))
    });
}

#[test]
fn address_of_a_host_that_is_gone_answers_for_its_new_service_only() {
    isolated(|env| {
        let network = Network::start(env)?;
        let [_, old, new, _] = &network.hosts;
        let long = ["--preferred", "8080", "--ttl", "10m"];
        let _old = network.run(old, "old-api", &long)?;
        network.finds("old-api", "10.77.0.2:8080")?;
        // The host vanishes without a word, and another one gets its address.
        old.shell("ip link set eth0 down")?;
        new.remove_address("10.77.0.3/24")?;
        new.add_address("10.77.0.2/24")?;
        let _new = network.run(new, "new-api", &["--preferred", "8080"])?;
        network.finds("new-api", "10.77.0.2:8080")?;
        network.is_missing("old-api")
    });
}

#[test]
fn port_of_a_killed_service_answers_for_the_next_one_only() {
    isolated(|env| {
        let network = Network::start(env)?;
        let host = &network.hosts[1];
        let long = ["--preferred", "8080", "--ttl", "10m"];
        let mut killed = network.run(host, "old-api", &long)?;
        network.finds("old-api", "10.77.0.2:8080")?;
        killed.kill()?;
        for program in pids(env, "-m http.server 8080")? {
            kill_process(program, Signal::KILL)?;
        }
        let _next = network.run(host, "new-api", &["--preferred", "8080"])?;
        network.finds("new-api", "10.77.0.2:8080")?;
        network.is_missing("old-api")
    });
}

#[test]
fn services_of_two_hosts_that_exchange_their_addresses_keep_their_names() {
    isolated(|env| {
        let network = Network::start(env)?;
        let [_, first, second, _] = &network.hosts;
        let port = ["--preferred", "8080"];
        let _one = network.run(first, "one-api", &port)?;
        let _two = network.run(second, "two-api", &port)?;
        let _same = network.run(first, "same-api", &["--preferred", "8085"])?;
        network.finds("one-api", "10.77.0.2:8080")?;
        network.finds("two-api", "10.77.0.3:8080")?;
        network.finds("same-api", "10.77.0.2:8085")?;
        first.remove_address("10.77.0.2/24")?;
        second.remove_address("10.77.0.3/24")?;
        first.add_address("10.77.0.3/24")?;
        second.add_address("10.77.0.2/24")?;
        network.finds("one-api", "10.77.0.3:8080")?;
        network.finds("two-api", "10.77.0.2:8080")?;
        network.finds("same-api", "10.77.0.3:8085")?;
        // One with the name and at the place that the first one had when it started.
        let _other = network.run(second, "same-api", &["--preferred", "8085"])?;
        wait_for("both instances", || {
            let options = ["--all", "--registry", &network.url, "--strategy", "registry"];
            let found =
                network.hosts[3].portolan(&["discover", "same-api"])?.args(&options).run()?;
            let mut lines: Vec<&str> = found.stdout.lines().collect();
            lines.sort_unstable();
            ensure!(lines == ["10.77.0.2:8085", "10.77.0.3:8085"], "{found:?}");
            Ok(())
        })
    });
}
