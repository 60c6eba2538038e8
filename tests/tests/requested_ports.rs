//! Ports that are requested explicitly: granted in a pool or not, by `run`, by `ports alloc` and in a stack.

use std::net::TcpListener;

use anyhow::{Result, ensure};
use portolan_tests::{TestEnv, isolated};

/// Runs a program as a service with these options, and returns the port that it got.
fn run(env: &TestEnv, name: &str, options: &[&str]) -> Result<String> {
    let run = env.portolan(&["run", "--name", name, "--health", "none"])?.args(options);
    run.args(&["--", "sh", "-c", "echo $PORT $PORT_DEBUG"]).run()?.text()
}

fn refused(env: &TestEnv, options: &[&str], status: i32) -> Result<String> {
    let run = env.portolan(&["run", "--name", "app", "--health", "none"])?.args(options);
    let output = run.args(&["--", "true"]).run()?.exits(status)?;
    Ok(output.stderr.clone())
}

fn occupied(ports: &[u16]) -> Result<Vec<TcpListener>> {
    ports.iter().map(|port| Ok(TcpListener::bind(("127.0.0.1", *port))?)).collect()
}

#[test]
fn requested_port_outside_every_pool_is_granted() {
    isolated(|env| {
        for (name, port) in [("app", "3000"), ("web", "5173"), ("my-api", "4200"), ("db", "3306")] {
            ensure!(run(env, name, &["--preferred", port])? == port, "{name} {port}");
        }
        ensure!(run(env, "app", &["--preferred", "3000", "--port", "debug=9229"])? == "3000 9229");
        Ok(())
    });
}

#[test]
fn search_continues_if_the_requested_port_is_taken() {
    isolated(|env| {
        let _foreign = occupied(&[8090, 3000, 3001])?;
        let found = |name: &str, options: &[&str]| run(env, name, options);
        ensure!(found("frontend", &["--preferred", "8090"])? == "8091", "the ports above");
        ensure!(found("web-api", &["--preferred", "3000"])? == "8081", "the pool of its name");
        ensure!(found("app", &["--preferred", "3000,3001,5173"])? == "5173", "the list");
        ensure!(
            found("one", &["--preferred", "3000", "--range", "4000-4002"])? == "4000",
            "a range"
        );
        let error = refused(env, &["--preferred", "3000,3001", "--strict"], 4)?;
        for text in ["3000 is used by", "3001 is used by", "do not be strict"] {
            ensure!(error.contains(text), "{error}");
        }
        Ok(())
    });
}

#[test]
fn forbidden_port_is_an_error_that_names_the_setting() {
    isolated(|env| {
        let reserved = ["--set", "port_allocator.reserved_ports=[3000]", "--preferred", "3000"];
        let error = refused(env, &reserved, 2)?;
        ensure!(error.contains("port_allocator.reserved_ports"), "{error}");
        let restricted = ["--set", "port_allocator.restrict_to_ranges=true"];
        let error = refused(env, &[&restricted[..], &["--preferred", "3000"]].concat(), 2)?;
        ensure!(error.contains("port_allocator.restrict_to_ranges"), "{error}");
        let allowed = [&restricted[..], &["--preferred", "8085"]].concat();
        ensure!(run(env, "app", &allowed)? == "8085");
        Ok(())
    });
}

#[test]
fn stack_takes_a_list_a_range_and_strict() {
    const STACK: &str = "services:
  app: { command: [sh, -c, 'echo at $PORT; sleep 60'], port: [3000, 5173], strict: true, health: none }
  dev: { command: [sh, -c, 'echo at $PORT; sleep 60'], range: 4000-4009, instances: 2, health: none }
  tool: { command: [sh, -c, 'echo at $PORT $PORT_DEBUG; sleep 60'], port: 3000, ports: { debug: 9229 }, health: none }
";
    isolated(|env| {
        let _foreign = occupied(&[3000, 3001])?;
        env.write("portolan.yaml", STACK)?;
        let mut up = env.portolan(&["up"])?.spawn("up")?;
        for line in ["at 5173", "at 4000", "at 4001", "at 3002 9229"] {
            up.wait_for_line(line)?;
        }
        up.terminate()?.exits(0)?;
        Ok(())
    });
}
