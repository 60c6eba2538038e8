//! An orderly stop: callers leave before the program receives its signal.

use std::net::TcpStream;

use anyhow::{Context, ensure};
use portolan_tests::{TIMEOUT, isolated, wait_for};
use rustix::process::Signal;

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
/// Longer than a test: a second signal ends it.
const DRAIN: [&str; 4] = ["--drain", "10m", "--grace", "20m"];

#[test]
fn instance_that_is_about_to_stop_serves_and_is_found_only_if_there_is_no_other() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let watch = env.portolan(&["watch", "api", "--json"])?.spawn("watch")?;
        let mut first = env.service("api", &DRAIN, &[BINDER, "{port}"])?;
        first.wait_for_line("bound 8080")?;
        env.wait_registered("api", 1, TIMEOUT)?;
        let mut second = env.service("api", &DRAIN, &[BINDER, "{port}"])?;
        second.wait_for_line("bound 8081")?;
        env.wait_registered("api", 2, TIMEOUT)?;
        first.signal(Signal::TERM)?;
        wait_for("a watcher to see it", || {
            let drains = watch.stdout().contains(r#""portolan.state":"draining""#);
            ensure!(drains, "{}", watch.stdout());
            Ok(())
        })?;
        for _ in 0..10 {
            let found = env.discover("api", &["--strategy", "registry"])?.text()?;
            ensure!(found == "127.0.0.1:8081", "{found}");
        }
        ensure!(first.ended()?.is_none(), "the program has its signal already");
        TcpStream::connect(("127.0.0.1", 8080))?;
        second.kill()?;
        env.wait_registered("api", 1, TIMEOUT)?;
        let found = env.discover("api", &["--strategy", "registry"])?.text()?;
        ensure!(found == "127.0.0.1:8080", "{found}");
        // The second signal ends the wait.
        first.signal(Signal::TERM)?;
        first.wait(TIMEOUT)?;
        env.wait_registered("api", 0, TIMEOUT).map(drop)
    });
}

#[test]
fn service_of_a_stack_serves_on_while_it_drains() {
    isolated(|env| {
        let service =
            format!("{{command: '{BINDER} {{port}}', port: 8090, drain: 10m, grace: 20m}}");
        let file =
            env.write("shop/portolan.yaml", &format!("name: shop\nservices:\n  api: {service}\n"))?;
        let folder = file.parent().context("no folder")?;
        let mut up = env.portolan(&["up"])?.directory(folder).spawn("up")?;
        up.wait_for_line("bound 8090")?;
        let listed = |text: &str| {
            let listed = env.portolan(&["list", "--json"])?.directory(folder).run()?.text()?;
            ensure!(listed.contains(text), "{text} is missing: {listed}");
            Ok(())
        };
        wait_for("the instance", || listed(r#""port":8090"#))?;
        up.signal(Signal::TERM)?;
        wait_for("its state", || listed("draining"))?;
        ensure!(up.ended()?.is_none(), "the stack has ended");
        TcpStream::connect(("127.0.0.1", 8090))?;
        // The second signal ends the wait.
        up.signal(Signal::TERM)?;
        up.wait(TIMEOUT).map(drop)
    });
}
