//! `portolan up` with the quickstart stack of the project's root.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, SHORT_BROADCAST_WAIT, TestEnv, http, over_each_store, wait_for};
use rustix::process::Signal;

const STACK: &str = include_str!("../../portolan.yaml");
/// The documented limit for Ctrl-C.
const STOP: Duration = Duration::from_secs(5);

/// A copy of the stack in its own directory.
struct Stack<'a> {
    env: &'a TestEnv,
    folder: PathBuf,
    up: Process,
}

// === impl Stack ===

impl<'a> Stack<'a> {
    fn start(env: &'a TestEnv, name: &str) -> Result<Self> {
        let file = env.write(&format!("{name}/portolan.yaml"), STACK)?;
        let folder = file.parent().map(Path::to_owned).context("no folder")?;
        let up = env.portolan(&["up"])?.directory(&folder).spawn(name)?;
        Ok(Self { env, folder, up })
    }

    /// Discovers this stack's API from the stack's directory and returns its URL.
    fn api(&mut self) -> Result<String> {
        let Self { env, folder, up } = self;
        up.wait_until("the api to be found", || {
            let call = env.portolan(&["discover", "api", "--format", "url"])?;
            call.directory(folder).run()?.text()
        })
    }

    /// Waits until the worker reports a response of this API.
    fn worker_found(&mut self, url: &str) -> Result<()> {
        let address = url.strip_prefix("http://").context("no http:// URL")?;
        self.up.wait_for_line(&format!("{address} says"))?;
        // The live table shows the same address.
        self.up.wait_for_line(&format!("api at {address}")).map(drop)
    }

    fn ctrl_c(mut self) -> Result<()> {
        self.up.signal_group(Signal::INT)?;
        self.up.wait(STOP)?.exits(0).map(drop)
    }
}

fn nothing_is_left(env: &TestEnv) -> Result<()> {
    let processes = env.processes()?;
    ensure!(processes.is_empty(), "still running: {processes:?}");
    let held = env.portolan(&["ports", "list", "--json"])?.run()?.json()?;
    ensure!(held["ports"].as_array().is_some_and(Vec::is_empty), "still reserved: {held}");
    env.discover("api", &SHORT_BROADCAST_WAIT)?.exits(3).map(drop)
}

/// Runs the stack, whose API gets this port, and stops it with Ctrl-C.
fn serves_and_cleans_up(env: &TestEnv, port: u16) -> Result<()> {
    let mut stack = Stack::start(env, "shop")?;
    let url = stack.api()?;
    ensure!(url == format!("http://127.0.0.1:{port}"), "{url}");
    ensure!(http::get(&url)?.contains("hello"));
    stack.worker_found(&url)?;
    stack.ctrl_c()?;
    nothing_is_left(env)
}

#[test]
fn quickstart_api_is_discoverable_and_ctrl_c_cleans_up() {
    over_each_store(|env| serves_and_cleans_up(env, 8080));
}

#[test]
fn quickstart_uses_another_port_when_the_preferred_one_is_taken() {
    over_each_store(|env| {
        let _foreign = env.foreign_listener(8080)?;
        serves_and_cleans_up(env, 8081)
    });
}

#[test]
fn two_stacks_have_separate_scopes() {
    over_each_store(|env| {
        let (mut one, mut two) = (Stack::start(env, "one")?, Stack::start(env, "two")?);
        let (first, second) = (one.api()?, two.api()?);
        ensure!(first != second, "both are at {first}");
        one.worker_found(&first)?;
        two.worker_found(&second)?;
        let stray = |stack: &Stack<'_>, other: &str| {
            let answered = format!("{} says", other.trim_start_matches("http://"));
            stack.up.output().contains(&answered)
        };
        ensure!(
            !stray(&one, &second) && !stray(&two, &first),
            "a worker called the API of the other stack"
        );
        one.ctrl_c()?;
        // The other stack keeps running.
        wait_for("the second stack's api", || http::get(&second))?;
        two.ctrl_c()?;
        nothing_is_left(env)
    });
}
