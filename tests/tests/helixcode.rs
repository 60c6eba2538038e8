//! The HelixCode example: a real PostgreSQL, a real Redis, an API and two workers.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use portolan_tests::{TIMEOUT, TestEnv, http, isolated, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

const STACK: &str = include_str!("../../examples/helixcode/portolan.yaml");

fn post_job(api: &str, text: &str) -> Result<i64> {
    let body = json!({ "text": text }).to_string();
    let request = http::client()?.post(format!("{api}/jobs")).body(body);
    let answer = request.header("content-type", "application/json").send()?;
    ensure!(answer.status() == 201, "{}: {}", answer.status(), answer.text()?);
    let job: Value = serde_json::from_str(&answer.text()?)?;
    job["id"].as_i64().context("the job has no id")
}

fn done(api: &str, id: i64) -> Result<Value> {
    wait_for(&format!("job {id} to be done"), || {
        let job = http::get_json(&format!("{api}/jobs/{id}"))?;
        ensure!(job["state"] == "done", "{job}");
        Ok(job)
    })
}

fn found(env: &TestEnv, name: &str) -> Result<String> {
    let call = env.portolan(&["discover", name])?.directory(&env.folder("helix")?);
    call.run()?.text()
}

#[test]
fn helixcode_workers_process_jobs_from_the_api() {
    isolated(|env| {
        // The default ports are taken, so every endpoint has to be discovered.
        let _foreign =
            (env.foreign_listener(5432)?, env.foreign_listener(6379)?, env.foreign_listener(8080)?);
        env.write("helix/portolan.yaml", STACK)?;
        let call = env.portolan(&["up"])?.directory(&env.folder("helix")?);
        let mut up = call.spawn("up")?;
        let api = up.wait_until("the API to be healthy", || {
            let api = format!("http://{}", found(env, "api")?);
            http::get(&format!("{api}/health"))?;
            Ok(api)
        })?;
        ensure!(found(env, "postgres")? == "127.0.0.1:5433");
        ensure!(found(env, "redis")? == "127.0.0.1:6380");
        let mut workers = BTreeSet::new();
        // An idle worker takes the next job: with enough jobs, both workers process some.
        let both = wait_for("both workers to have done a job", || {
            let job = done(&api, post_job(&api, "count these four words")?)?;
            ensure!(job["words"] == 4, "{job}");
            workers.insert(job["worker"].as_str().context("no worker")?.to_owned());
            ensure!(workers.len() == 2, "only {workers:?} so far");
            Ok(workers.clone())
        })?;
        ensure!(both.into_iter().eq(["worker-1", "worker-2"]));
        up.signal_group(Signal::INT)?;
        up.wait(TIMEOUT)?.exits(0)?;
        let left = env.processes()?;
        ensure!(left.is_empty(), "still running: {left:?}");
        Ok(())
    });
}
