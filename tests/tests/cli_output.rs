//! The output and exit status of `run`, `discover` and `exec`.

use anyhow::{Context, ensure};
use portolan_tests::isolated;

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
/// Every strategy, in the order of the specification.
const STRATEGIES: [&str; 5] = ["default", "registry", "broadcast", "dns", "config"];

#[test]
fn run_exits_with_the_status_of_its_program() {
    isolated(|env| {
        let run = |words: &[&str]| env.portolan(&["run", "--"])?.args(words).run();
        run(&["true"])?.exits(0)?;
        run(&["false"])?.exits(1)?;
        run(&["sh", "-c", "exit 42"])?.exits(42)?;
        run(&["sh", "-c", "kill -TERM $$"])?.exits(143)?;
        Ok(())
    });
}

#[test]
fn unknown_service_is_not_found_and_each_strategy_reports_its_reason() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let answer = env.discover("nowhere", &["--explain"])?.exits(3)?;
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
fn unreachable_sources_are_not_reported_as_not_found() {
    isolated(|env| {
        let call = env.discover("nowhere", &["--set", "broadcast.enabled=false"])?;
        let answer = call.exits(5)?;
        ensure!(answer.stderr.contains("could not"), "{answer:#?}");
        ensure!(!answer.stderr.contains("does not exist"), "{answer:#?}");
        Ok(())
    });
}

#[test]
fn discover_prints_the_requested_format() {
    isolated(|env| {
        let _registry = env.registry()?;
        let mut api = env.service("api", &["--protocol", "http"], &[BINDER, "{port}"])?;
        api.wait_for_line("bound 8080")?;
        let url = env.discover("api", &["--format", "url"])?.text()?;
        ensure!(url == "http://127.0.0.1:8080", "{url}");
        let variables = env.discover("api", &["--format", "env"])?.text()?;
        ensure!(variables.lines().any(|line| line == "API_PORT=8080"), "{variables}");
        let json = env.discover("api", &["--json"])?.json()?;
        ensure!(json["name"] == "api" && json["port"] == 8080, "{json}");
        let listed = env.portolan(&["list", "--json"])?.run()?.json()?;
        ensure!(listed["services"].as_array().is_some_and(|all| all.len() == 1), "{listed}");
        Ok(())
    });
}

#[test]
fn exec_waits_for_its_needs_and_passes_their_endpoints() {
    isolated(|env| {
        let _registry = env.registry()?;
        let words = ["exec", "--needs", "api", "--wait=20s", "--"];
        let mut exec = env
            .portolan(&words)?
            .args(&["sh", "-c", "echo $API_HOST:$API_PORT; exit 7"])
            .spawn("exec")?;
        let _api = env.service("api", &[], &[BINDER, "{port}"])?;
        let answer = exec.wait(portolan_tests::TIMEOUT)?.exits(7)?;
        ensure!(answer.stdout.trim() == "127.0.0.1:8080", "{answer:?}");
        Ok(())
    });
}
