//! Discovery by the DNS servers of real networks: the right address or none.

use anyhow::{Result, ensure};
use portolan_tests::dns::Dns;
use portolan_tests::{TestEnv, isolated};

const DNS: [&str; 2] = ["--strategy", "dns"];

fn is_at(env: &TestEnv, name: &str, address: &str) -> Result<()> {
    let found = env.discover(name, &DNS)?.text()?;
    ensure!(found == address, "{name}: {found}");
    Ok(())
}

fn is_not_found(env: &TestEnv, name: &str) -> Result<()> {
    env.discover(name, &DNS)?.exits(3).map(drop)
}

#[test]
fn wildcard_of_the_search_domain_is_no_service() {
    isolated(|env| {
        let options = [
            "--local=/corp.test/",
            "--address=/corp.test/10.9.9.9",
            "--host-record=redis.corp.test,127.0.0.5",
        ];
        let _server = Dns::of_system(env, "127.0.0.1", "corp.test", &options)?;
        for name in ["typo-db", "postgres-primary", "my-api", "postgres"] {
            is_not_found(env, name)?;
        }
        is_at(env, "redis", "127.0.0.5:6379")
    });
}

#[test]
fn resolver_that_answers_for_every_name_is_no_service() {
    isolated(|env| {
        // Every name of every domain, as a resolver that replaces NXDOMAIN by its own page.
        let _server = Dns::of_system(env, "127.0.0.1", "lan.test", &["--address=/#/10.9.9.9"])?;
        for name in ["redis", "my-api", "postgres"] {
            // This one refuses service records, so that the service may exist: status 5.
            let outcome = env.discover(name, &DNS)?.exits(5)?;
            ensure!(outcome.stdout.is_empty(), "{outcome:?}");
        }
        Ok(())
    });
}

#[test]
fn refused_service_record_does_not_hide_the_address() {
    isolated(|env| {
        // Without an upstream server dnsmasq refuses what it does not know.
        let record = ["--host-record=redis.second.test,10.6.0.1"];
        let _server = Dns::of_system(env, "127.0.0.1", "first.test second.test", &record)?;
        is_at(env, "redis", "10.6.0.1:6379")?;
        // A name that the server refuses may exist: that is no "not found".
        env.discover("postgres", &DNS)?.exits(5).map(drop)
    });
}

#[test]
fn every_target_of_a_large_service_record_is_listed() {
    isolated(|env| {
        let mut options = vec!["--local=/corp.test/".to_owned()];
        for n in 1..=40 {
            options.push(format!("--host-record=node{n}.corp.test,10.0.0.{n}"));
            options
                .push(format!("--srv-host=_redis._tcp.corp.test,node{n}.corp.test,{}", 7000 + n));
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let _server = Dns::of_system(env, "127.0.0.1", "corp.test", &options)?;
        let listed = env.portolan(&["discover", "redis", "--all"])?.args(&DNS).run()?.text()?;
        ensure!(listed.lines().count() == 40, "{listed}");
        Ok(())
    });
}

#[test]
fn hosts_file_names_a_service() {
    isolated(|env| {
        let _server = Dns::of_system(env, "127.0.0.1", "", &["--local=/#/"])?;
        env.replace_file("/etc/hosts", "127.0.0.1 localhost\n127.0.0.9 postgres\n")?;
        is_at(env, "postgres", "127.0.0.9:5432")
    });
}

#[test]
fn resolver_of_a_docker_network_knows_single_labels() {
    isolated(|env| {
        let options = ["--host-record=redis,172.20.0.5", "--local=/#/"];
        let _server = Dns::of_system(env, "127.0.0.11", "", &options)?;
        is_at(env, "redis", "172.20.0.5:6379")?;
        is_not_found(env, "postgres")
    });
}

#[test]
fn resolver_of_a_kubernetes_cluster_knows_its_services() {
    isolated(|env| {
        let options =
            ["--host-record=redis.default.svc.cluster.local,10.96.0.7", "--local=/cluster.local/"];
        let search = "default.svc.cluster.local svc.cluster.local cluster.local";
        let _server = Dns::of_system(env, "127.0.0.1", search, &options)?;
        is_at(env, "redis", "10.96.0.7:6379")?;
        is_not_found(env, "postgres")
    });
}

#[test]
fn service_record_may_name_a_host_of_another_domain_or_an_alias() {
    isolated(|env| {
        let options = [
            "--local=/corp.test/",
            "--local=/other.test/",
            "--srv-host=_far-api._tcp.corp.test,node7.other.test,8443",
            "--host-record=node7.other.test,10.6.0.7",
            "--srv-host=_alias-api._tcp.corp.test,one.corp.test,9000",
            "--cname=one.corp.test,two.corp.test",
            "--cname=two.corp.test,three.other.test",
            "--host-record=three.other.test,10.6.0.3",
            // A target that does not exist.
            "--srv-host=_lost-api._tcp.corp.test,lost.corp.test,9001",
        ];
        let _server = Dns::of_system(env, "127.0.0.1", "corp.test", &options)?;
        is_at(env, "far-api", "10.6.0.7:8443")?;
        is_at(env, "FAR-API.", "10.6.0.7:8443")?;
        is_at(env, "alias-api", "10.6.0.3:9000")?;
        let lost = env.discover("lost-api", &DNS)?;
        ensure!(lost.stdout.is_empty() && lost.code != Some(0), "{lost:?}");
        Ok(())
    });
}

#[test]
fn alias_in_the_search_domain_is_the_service_and_ndots_changes_nothing() {
    isolated(|env| {
        let options = [
            "--local=/corp.test/",
            "--cname=redis.corp.test,cache7.corp.test",
            "--host-record=cache7.corp.test,10.6.0.9",
        ];
        let _server = Dns::of_system(env, "127.0.0.1", "corp.test", &options)?;
        is_at(env, "redis", "10.6.0.9:6379")?;
        is_not_found(env, "postgres")?;
        // As in a pod of Kubernetes.
        let resolv = "nameserver 127.0.0.1\nsearch corp.test\noptions ndots:5\n";
        env.replace_file("/etc/resolv.conf", resolv)?;
        is_at(env, "redis", "10.6.0.9:6379")?;
        is_not_found(env, "postgres")
    });
}
