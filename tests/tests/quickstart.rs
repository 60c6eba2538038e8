//! The stack in the root of the project, as `portolan up` starts it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_tests::{BRIEFLY, Process, World, http, isolated, wait_for};
use rustix::process::Signal;

const STACK: &str = include_str!("../../portolan.yaml");
/// How long Ctrl-C may take.
const STOP: Duration = Duration::from_secs(5);

/// A copy of the stack in a folder of its own.
struct Stack<'a> {
    world: &'a World,
    folder: PathBuf,
    up: Process,
}

// === impl Stack ===

impl<'a> Stack<'a> {
    fn start(world: &'a World, name: &str) -> Result<Self> {
        let file = world.write(&format!("{name}/portolan.yaml"), STACK)?;
        let folder = file.parent().map(Path::to_owned).context("no folder")?;
        let up = world.portolan(&["up"])?.directory(&folder).spawn(name)?;
        Ok(Self { world, folder, up })
    }

    /// Where this stack's API is, as somebody finds it who asks in the stack's folder.
    fn api(&mut self) -> Result<String> {
        let Self { world, folder, up } = self;
        up.until("the api to be found", || {
            let call = world.portolan(&["discover", "api", "--format", "url"])?;
            call.directory(folder).run()?.text()
        })
    }

    /// Waits until the worker says that this API answered.
    fn worker_found(&mut self, url: &str) -> Result<()> {
        let address = url.strip_prefix("http://").context("no http:// URL")?;
        self.up.line(&format!("{address} says"))?;
        // The table says the same, beside the port that the api wanted and the one it got.
        self.up.line(&format!("api at {address}")).map(drop)
    }

    fn ctrl_c(mut self) -> Result<()> {
        self.up.signal_group(Signal::INT)?;
        self.up.wait(STOP)?.exits(0).map(drop)
    }
}

fn nothing_is_left(world: &World) -> Result<()> {
    let processes = world.processes()?;
    ensure!(processes.is_empty(), "still running: {processes:?}");
    let held = world.portolan(&["ports", "list", "--json"])?.run()?.json()?;
    ensure!(held["ports"].as_array().is_some_and(Vec::is_empty), "still reserved: {held}");
    world.discover("api", &BRIEFLY)?.exits(3).map(drop)
}

#[test]
fn the_api_is_found_and_fetched_and_ctrl_c_leaves_nothing_behind() {
    isolated(|world| {
        let mut stack = Stack::start(world, "shop")?;
        let url = stack.api()?;
        ensure!(url == "http://127.0.0.1:8080", "{url}");
        ensure!(http::get(&url)?.contains("hello"));
        stack.worker_found(&url)?;
        stack.ctrl_c()?;
        nothing_is_left(world)
    });
}

#[test]
fn with_its_port_taken_it_works_on_another() {
    isolated(|world| {
        let _stranger = world.stranger(8080)?;
        let mut stack = Stack::start(world, "shop")?;
        let url = stack.api()?;
        ensure!(url == "http://127.0.0.1:8081", "{url}");
        ensure!(http::get(&url)?.contains("hello"));
        stack.worker_found(&url)?;
        stack.ctrl_c()?;
        nothing_is_left(world)
    });
}

#[test]
fn two_copies_run_side_by_side_and_each_worker_finds_its_own_api() {
    isolated(|world| {
        let (mut one, mut two) = (Stack::start(world, "one")?, Stack::start(world, "two")?);
        let (first, second) = (one.api()?, two.api()?);
        ensure!(first != second, "both are at {first}");
        one.worker_found(&first)?;
        two.worker_found(&second)?;
        let stray = |stack: &Stack<'_>, other: &str| {
            let answered = format!("{} says", other.trim_start_matches("http://"));
            stack.up.said().contains(&answered)
        };
        ensure!(!stray(&one, &second) && !stray(&two, &first), "a worker asked the other's api");
        one.ctrl_c()?;
        // The other one goes on.
        wait_for("the second stack's api", || http::get(&second))?;
        two.ctrl_c()?;
        nothing_is_left(world)
    });
}
