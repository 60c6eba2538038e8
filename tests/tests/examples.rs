//! The library's examples do what they say.

use std::process::Command;

use anyhow::{Result, ensure};
use portolan_tests::{PATIENCE, Process, World, isolated};
use rustix::process::Signal;

fn example(world: &World, name: &str, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new(portolan_tests::target_directory()?.join("examples").join(name));
    ensure!(
        std::path::Path::new(command.get_program()).is_file(),
        "the example {name} is not built; build it with `cargo build -p portolan --examples`"
    );
    command.args(arguments).current_dir(world.directory());
    world.spawn(name, command)
}

#[test]
fn the_lease_becomes_a_listener_on_its_port() {
    isolated(|world| {
        let lease = example(world, "lease", &[])?.wait(PATIENCE)?.text()?;
        ensure!(lease.contains("granted 8080") && lease.contains(":8080"), "{lease}");
        let _stranger = world.stranger(8080)?;
        let lease = example(world, "lease", &[])?.wait(PATIENCE)?.text()?;
        ensure!(lease.contains("granted 8081") && lease.contains(":8081"), "{lease}");
        Ok(())
    });
}

#[test]
fn the_service_is_found_while_it_lives_and_its_end_is_seen() {
    isolated(|world| {
        let _registry = world.registry()?;
        let mut service = example(world, "service", &[])?;
        service.line(" at 127.0.0.1:8080")?;
        let mut watch = example(world, "watch", &["greeter-api"])?;
        watch.line("1 instances")?;

        let found = example(world, "blocking", &["greeter-api"])?.wait(PATIENCE)?.text()?;
        ensure!(found == "127.0.0.1:8080", "{found}");
        let explained = example(world, "discover", &["greeter-api"])?.wait(PATIENCE)?.text()?;
        ensure!(explained.contains("127.0.0.1:8080"), "{explained}");

        service.signal(Signal::INT)?;
        watch.line("deregistered 127.0.0.1:8080")?;
        service.wait(PATIENCE)?.exits(0)?;
        watch.signal(Signal::INT)?;
        watch.wait(PATIENCE)?.exits(0).map(drop)
    });
}
