//! What the command answers, and with which exit status.

use anyhow::{Context, ensure};
use portolan_tests::isolated;

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
/// Every strategy, in the order of the specification.
const STRATEGIES: [&str; 5] = ["default", "registry", "broadcast", "dns", "config"];

#[test]
fn run_passes_the_programs_exit_status_on() {
    isolated(|world| {
        let run = |words: &[&str]| world.portolan(&["run", "--"])?.args(words).run();
        run(&["true"])?.exits(0)?;
        run(&["false"])?.exits(1)?;
        run(&["sh", "-c", "exit 42"])?.exits(42)?;
        run(&["sh", "-c", "kill -TERM $$"])?.exits(143)?;
        Ok(())
    });
}

#[test]
fn an_unknown_name_is_not_found_and_every_strategy_says_why() {
    isolated(|world| {
        let _registry = world.registry()?;
        let answer = world.discover("nowhere", &["--explain"])?.exits(3)?;
        ensure!(answer.stdout.is_empty(), "{answer:?}");
        for strategy in STRATEGIES {
            let mut lines = answer.stderr.lines().map(str::trim_start);
            let line = lines.find(|line| line.starts_with(strategy));
            let line = line.with_context(|| format!("{strategy} is missing in {answer:#?}"))?;
            let (time, reason) = line[strategy.len()..]
                .trim_start()
                .split_once("  ")
                .context("a strategy without a reason")?;
            ensure!(time.ends_with('s') && !reason.is_empty(), "{line}");
        }
        Ok(())
    });
}

#[test]
fn where_nobody_could_be_asked_it_does_not_say_that_the_service_does_not_exist() {
    isolated(|world| {
        let call = world.discover("nowhere", &["--set", "broadcast.enabled=false"])?;
        let answer = call.exits(5)?;
        ensure!(answer.stderr.contains("could not"), "{answer:#?}");
        ensure!(!answer.stderr.contains("does not exist"), "{answer:#?}");
        Ok(())
    });
}

#[test]
fn what_is_found_is_printed_in_the_form_asked_for() {
    isolated(|world| {
        let _registry = world.registry()?;
        let mut api = world.service("api", &["--protocol", "http"], &[BINDER, "{port}"])?;
        api.line("bound 8080")?;
        let url = world.discover("api", &["--format", "url"])?.text()?;
        ensure!(url == "http://127.0.0.1:8080", "{url}");
        let env = world.discover("api", &["--format", "env"])?.text()?;
        ensure!(env.lines().any(|line| line == "API_PORT=8080"), "{env}");
        let json = world.discover("api", &["--json"])?.json()?;
        ensure!(json["name"] == "api" && json["port"] == 8080, "{json}");
        let listed = world.portolan(&["list", "--json"])?.run()?.json()?;
        ensure!(listed["services"].as_array().is_some_and(|all| all.len() == 1), "{listed}");
        Ok(())
    });
}

#[test]
fn exec_waits_for_what_is_needed_and_passes_it_on() {
    isolated(|world| {
        let _registry = world.registry()?;
        let words = ["exec", "--needs", "api", "--wait=20s", "--"];
        let mut exec = world
            .portolan(&words)?
            .args(&["sh", "-c", "echo $API_HOST:$API_PORT; exit 7"])
            .spawn("exec")?;
        let _api = world.service("api", &[], &[BINDER, "{port}"])?;
        let answer = exec.wait(portolan_tests::PATIENCE)?.exits(7)?;
        ensure!(answer.stdout.trim() == "127.0.0.1:8080", "{answer:?}");
        Ok(())
    });
}
