//! The strategy `kubernetes`: `portolan discover` asks a real API server by `portolan-kubernetes`.

use std::fs;

use anyhow::{Result, ensure};
use portolan_tests::kubernetes::{ADMIN, BRIDGE, ControlPlane};
use portolan_tests::{TestEnv, isolated, portolan_program};

use super::ready;

/// The programs of the tests are not optimized, and the machine may be busy.
const NAMED: [&str; 4] =
    ["--strategy", "kubernetes", "--set", "discovery.timeouts.kubernetes_lookup=10s"];

fn discover<'a>(
    env: &'a TestEnv,
    kubeconfig: &str,
    words: &[&str],
) -> Result<portolan_tests::PortolanCommand<'a>> {
    Ok(env.portolan(words)?.args(&NAMED).env("KUBECONFIG", kubeconfig))
}

#[test]
fn discover_asks_the_cluster_in_the_namespace_of_the_scope() {
    isolated(|env| {
        let mut plane = ControlPlane::start(env)?;
        plane.service("shop", "web")?;
        plane.slice("shop", "web", "web-1", &[("10.1.2.3", ready()), ("10.1.2.4", ready())])?;
        plane.service("shelf", "web")?;
        plane.slice("shelf", "web", "web-1", &[("10.1.9.9", ready())])?;
        let admin = plane.kubeconfig(ADMIN)?.display().to_string();
        let found = |words: &[&str]| discover(env, &admin, words)?.run()?.text();
        // The namespace of the credentials is shop.
        ensure!(found(&["discover", "web", "--all"])?.lines().count() == 2);
        ensure!(found(&["--scope", "shelf", "discover", "web"])? == "10.1.9.9:8000");
        ensure!(found(&["discover", "web.shelf.svc.cluster.local"])? == "10.1.9.9:8000");
        let explained = discover(env, &admin, &["discover", "web", "--explain"])?.run()?;
        let explained = format!("{}{}", explained.stdout, explained.stderr);
        ensure!(explained.contains("kubernetes"), "{explained}");

        let none = discover(env, &admin, &["discover", "missing"])?.run()?.exits(3)?;
        ensure!(none.stderr.contains("no ready endpoint of missing"), "{none:?}");
        // A user without rights, and a cluster that does not answer, are no "not found".
        let bridge = plane.kubeconfig(BRIDGE)?.display().to_string();
        let refused = discover(env, &bridge, &["discover", "web"])?.run()?;
        ensure!(![Some(0), Some(3)].contains(&refused.code), "{refused:?}");
        plane.kill_api()?;
        let down = discover(env, &admin, &["discover", "web"])?.run()?;
        ensure!(![Some(0), Some(3)].contains(&down.code), "{down:?}");

        // Outside of a pod it is asked only if it is named.
        let others = env.portolan(&["discover", "web"])?.env("KUBECONFIG", &admin).run()?;
        ensure!(!others.stderr.contains("kubernetes"), "{others:?}");
        Ok(())
    });
}

#[test]
fn program_that_is_missing_is_named_with_a_remedy() {
    isolated(|env| {
        let alone = env.folder("alone")?.join("portolan");
        fs::copy(portolan_program()?, &alone)?;
        let mut command = std::process::Command::new(&alone);
        command.args(["discover", "web"]).args(NAMED).env("PATH", "/nonexistent");
        let output = env.spawn("alone", command)?.wait(portolan_tests::TIMEOUT)?;
        ensure!(output.code != Some(0), "{output:?}");
        let message = "portolan-kubernetes is neither beside this program nor on the PATH";
        ensure!(output.stderr.contains(message), "{output:?}");
        ensure!(output.stderr.contains("-p portolan-kubernetes"), "{output:?}");
        Ok(())
    });
}
