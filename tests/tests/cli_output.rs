//! The output and exit status of `run`, `discover` and `exec`.

use anyhow::{Context, ensure};
use portolan_tests::{TIMEOUT, isolated, over_each_store, portolan_program};

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
    over_each_store(|env| {
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
    over_each_store(|env| {
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
    over_each_store(|env| {
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

#[test]
fn progress_is_shown_on_a_terminal_only_and_removed() {
    isolated(|env| {
        let program = portolan_program()?;
        let discover = format!("{} discover nowhere", program.display());
        let on_terminal = |name: &str, options: &str, terminal: &str| {
            let mut command = std::process::Command::new("script");
            command.args(["-qec", &format!("{discover} {options}"), "/dev/null"]);
            command.current_dir(env.directory()).env("TERM", terminal);
            env.spawn(name, command)?.wait(TIMEOUT)
        };
        let shown = on_terminal("shown", "", "xterm")?.stdout;
        let last = shown.rfind("looking for nowhere: asking").context("nothing is shown")?;
        ensure!(shown[last..].contains("\r\u{1b}[K"), "not removed: {shown:?}");
        for (name, options, terminal) in
            [("quiet", "-q", "xterm"), ("json", "--json", "xterm"), ("dumb", "", "dumb")]
        {
            let output = on_terminal(name, options, terminal)?.stdout;
            ensure!(!output.contains("looking for nowhere: asking"), "{name}: {output:?}");
        }
        let piped = env.discover("nowhere", &[])?;
        ensure!(!piped.stderr.contains("looking for"), "{piped:?}");
        Ok(())
    });
}

#[test]
fn interrupted_command_removes_its_line_and_dies_of_the_signal() {
    // Interrupts the command once the line is shown, and prints how it ended.
    const INTERRUPT: &str = "import os, pty, signal, sys
pid, terminal = pty.fork()
if pid == 0:
    os.environ['TERM'] = 'xterm'
    # A shell does so for a command in the foreground; what runs these tests in the background ignores it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
shown = b''
while b'asking' not in shown:
    shown += os.read(terminal, 4096)
os.write(terminal, bytes([3]))
try:
    while chunk := os.read(terminal, 4096):
        shown += chunk
except OSError:
    pass
status = os.waitpid(pid, 0)[1]
line = shown[shown.rindex(b'asking'):]
print('signal', os.WTERMSIG(status) if os.WIFSIGNALED(status) else None, bytes([13, 27, 91, 75]) in line)";
    isolated(|env| {
        let program = portolan_program()?.display().to_string();
        let script = env.write("interrupt.py", INTERRUPT)?.display().to_string();
        for (name, arguments) in [
            ("discover", &["discover", "nowhere", "--wait=1h"][..]),
            ("exec", &["exec", "--needs", "nowhere", "--wait=1h", "--", "true"]),
        ] {
            let mut command = std::process::Command::new("python3");
            command.args([&script, &program]).args(arguments).current_dir(env.directory());
            let output = env.spawn(name, command)?.wait(TIMEOUT)?.text()?;
            ensure!(output == "signal 2 True", "{name}: {output}");
        }
        Ok(())
    });
}

#[test]
fn all_instances_are_explained() {
    over_each_store(|env| {
        let _registry = env.registry()?;
        env.portolan(&["register", "api", "--port", "8080"])?.run()?.exits(0)?;
        env.portolan(&["register", "api", "--port", "8081"])?.run()?.exits(0)?;
        let found = env.discover("api", &["--all", "--explain"])?.exits(0)?;
        ensure!(found.stdout.lines().count() == 2, "{found:?}");
        let has = |text: &str| found.stderr.contains(text);
        ensure!(has("api is at 127.0.0.1:808") && has("registry ") && has("dns "), "{found:?}");
        let listed = env.portolan(&["list", "--json"])?.run()?.json()?;
        ensure!((listed["incomplete"] == true) == env.starts_incomplete(), "{listed}");
        let listed = env.portolan(&["list"])?.run()?.exits(0)?;
        let is_said = listed.stderr.contains("the registry has just started");
        ensure!(is_said == env.starts_incomplete(), "{listed:?}");
        let quiet = env.portolan(&["list", "-q"])?.run()?.exits(0)?;
        ensure!(quiet.stderr.is_empty(), "{quiet:?}");
        Ok(())
    });
}
