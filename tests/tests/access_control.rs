//! Identities, their tokens and their rights, with the real registry and the real commands.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Output, Process, REGISTRY, TestEnv, http, isolated, wait_for};
use serde_json::json;

const POLICIES: &str = "\
policies:
  payments:
    - rights: [register, heartbeat]
      scopes: [default]
      services: [payments, payments-*]
      addresses: [127.0.0.0/8]
    - rights: [read, watch]
      scopes: ['*']
      services: ['*']
  monitoring:
    - rights: [metrics]
identities:
  payments: {policies: [payments]}
  prometheus: {policies: [monitoring]}
";

/// A registry with policies.
struct Guarded<'a> {
    env: &'a TestEnv,
    policies: PathBuf,
    registry: Process,
}

impl<'a> Guarded<'a> {
    fn start(env: &'a TestEnv) -> Result<Self> {
        let policies = env.write("policies.yaml", POLICIES)?;
        let setting = format!("service_registry.policies={}", policies.display());
        let registry = env.quiet_registry(REGISTRY, &["--set", &setting])?;
        Ok(Self { env, policies, registry })
    }

    fn token(&self, arguments: &[&str]) -> Result<Output> {
        let policies = self.policies.display().to_string();
        self.env.portolan(&["token", "--policies", &policies])?.args(arguments).run()
    }

    /// Creates a token, and waits until the registry knows it.
    fn create(&self, identity: &str) -> Result<(String, String)> {
        let created = self.token(&["create", identity, "--json"])?.exits(0)?.json()?;
        let text = |member: &str| created[member].as_str().map(str::to_owned).context("member");
        let (id, token) = (text("id")?, text("token")?);
        wait_for("the token to be accepted", || {
            ensure!(problem(&token)? != "wrong-token");
            Ok(())
        })?;
        Ok((id, token))
    }

    /// Runs a command as the owner of a token.
    fn as_owner(&self, token: &str, arguments: &[&str]) -> Result<Output> {
        self.env.portolan(arguments)?.env("PORTOLAN_TOKEN", token).run()
    }
}

/// The last part of the type of the problem that a list with this token meets, empty if none.
fn problem(token: &str) -> Result<String> {
    let url = format!("{REGISTRY}/api/v1/services");
    let answer = http::client()?.get(url).bearer_auth(token).send()?;
    let body: serde_json::Value = answer.json()?;
    let kind = body["type"].as_str().unwrap_or_default();
    Ok(kind.trim_start_matches("urn:portolan:problem:").to_owned())
}

#[test]
fn commands_do_what_their_identity_may_and_say_what_is_missing() {
    isolated(|env| {
        let guarded = Guarded::start(env)?;
        let (_, payments) = guarded.create("payments")?;
        let (_, prometheus) = guarded.create("prometheus")?;
        let run = |token: &str, arguments: &[&str]| guarded.as_owner(token, arguments);
        let register = ["register", "payments-api", "--port", "8080", "--host", "127.0.0.1"];
        run(&payments, &register)?.exits(0)?;
        let listed = run(&payments, &["list", "--json"])?.exits(0)?.stdout;
        ensure!(listed.contains("payments-api"), "{listed}");
        for (token, arguments, missing) in [
            (
                &payments,
                &["register", "orders", "--port", "8081", "--host", "127.0.0.1"][..],
                "`register`",
            ),
            (
                &payments,
                &["register", "payments", "--port", "8082", "--host", "10.0.0.7"],
                "127.0.0.0/8",
            ),
            (&prometheus, &["list"], "`read`"),
            (&prometheus, &["discover", "payments-api"], "`read`"),
            (&prometheus, &["deregister", "payments-api@127.0.0.1:8080"], "`re"),
        ] {
            let refused = run(token, arguments)?.exits(6)?.stderr;
            ensure!(refused.contains(missing) && refused.contains("remedy"), "{refused}");
        }
        let without = guarded.env.portolan(&["list"])?.run()?.exits(6)?.stderr;
        ensure!(without.contains("PORTOLAN_TOKEN"), "{without}");
        let metrics = http::client()?.get(format!("{REGISTRY}/metrics")).bearer_auth(&prometheus);
        let metrics = metrics.send()?.error_for_status()?.text()?;
        ensure!(metrics.contains("{reason=\"right\"}"), "{metrics}");

        // A whole service: registered, renewed, found, deregistered.
        let command = ["run", "--name", "payments", "--health", "none", "--", "sleep", "1000"];
        let service = env.portolan(&command)?.env("PORTOLAN_TOKEN", &payments);
        let mut service = service.spawn("run")?;
        service.wait_until("the service to be found", || {
            run(&payments, &["discover", "payments", "--strategy", "registry"])?.exits(0)
        })?;
        service.terminate()?;
        let listed = run(&payments, &["list", "--json"])?.exits(0)?.stdout;
        ensure!(!listed.contains("\"payments\""), "it is deregistered: {listed}");
        Ok(())
    });
}

#[test]
fn two_tokens_are_valid_until_one_is_revoked() {
    isolated(|env| {
        let mut guarded = Guarded::start(env)?;
        let (first_id, first) = guarded.create("payments")?;
        let file = env.directory().join("second.token");
        let output = file.display().to_string();
        guarded.token(&["create", "payments", "--output", &output, "--never-expires"])?.exits(0)?;
        let second = fs::read_to_string(&file)?.trim().to_owned();
        let in_file = format!("token_file={output}");
        wait_for("the second token to be accepted", || {
            env.portolan(&["list", "--set", &in_file])?.run()?.exits(0)
        })?;
        ensure!(problem(&first)?.is_empty());

        let list = guarded.token(&["list"])?.exits(0)?.stdout;
        ensure!(list.matches("payments").count() == 2 && list.contains("never"), "{list}");
        ensure!(!list.contains(&first) && !list.contains(&second), "{list}");
        let kept = fs::read_to_string(env.directory().join("policies.tokens.jsonl"))?;
        ensure!(!kept.contains(&first) && !kept.contains(&second), "{kept}");

        // A watch of the revoked token ends.
        let watch = env.portolan(&["watch", "--json"])?.env("PORTOLAN_TOKEN", &first);
        let mut watch = watch.spawn("watch")?;
        watch.wait_for_line("snapshot")?;
        guarded.token(&["revoke", &first_id])?.exits(0)?;
        guarded.registry.wait_for_line("Policies loaded again")?;
        wait_for("the token to be refused", || {
            ensure!(problem(&first)? == "wrong-token");
            Ok(())
        })?;
        watch.wait_for_line("is not a token of this server")?;
        ensure!(problem(&second)?.is_empty());
        guarded.token(&["revoke", &first_id])?.exits(1)?;
        let unknown = guarded.token(&["create", "payment"])?.exits(2)?.stderr;
        ensure!(unknown.contains("did you mean \"payments\"?"), "{unknown}");
        Ok(())
    });
}

#[test]
fn invalid_policies_are_refused_at_the_start_and_do_not_replace_valid_ones() {
    isolated(|env| {
        let mut guarded = Guarded::start(env)?;
        let (_, token) = guarded.create("payments")?;
        let broken = POLICIES.replace("policies: [payments]", "policies: [payment]");
        fs::write(&guarded.policies, broken)?;
        let warned = guarded.registry.wait_for_line("Changed policies not used")?;
        ensure!(warned.contains("did you mean \\\"payments\\\"?") || warned.contains("payments"));
        ensure!(problem(&token)?.is_empty(), "the former ones stay in force");
        let setting = format!("service_registry.policies={}", guarded.policies.display());
        for command in [&["config", "check"][..], &["serve", "--listen", "127.0.0.1:7100"]] {
            let refused = env.portolan(command)?.args(&["--set", &setting]).run()?.exits(2)?;
            let text = refused.stderr;
            ensure!(text.contains("policies.yaml:") && text.contains("did you mean"), "{text}");
        }
        fs::write(&guarded.policies, POLICIES)?;
        guarded.registry.wait_for_line("Policies loaded again")?;
        Ok(())
    });
}

/// The number of clients that send requests while policies change.
const CLIENTS: usize = 4;

#[test]
fn requests_are_neither_lost_nor_wrongly_answered_while_policies_and_tokens_change() {
    isolated(|env| {
        let guarded = Guarded::start(env)?;
        let (_, token) = guarded.create("payments")?;
        let (stopped, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let work = |client: usize| {
                let (client_of, url) = (http::client()?, format!("{REGISTRY}/api/v1/services"));
                let name = format!("payments-{client}");
                let port = 9000 + client;
                let own = json!({"name": name, "id": name, "host": "127.0.0.1", "port": port});
                let other = json!({"name": "orders", "host": "127.0.0.1", "port": port});
                while !stopped.load(Ordering::Relaxed) {
                    let registered = client_of.post(&url).bearer_auth(&token).json(&own).send()?;
                    ensure!(registered.status().is_success(), "{}", registered.text()?);
                    let foreign = client_of.post(&url).bearer_auth(&token).json(&other).send()?;
                    ensure!(foreign.status() == 403, "{}", foreign.text()?);
                    let read = client_of.get(format!("{url}?name={name}")).bearer_auth(&token);
                    ensure!(read.send()?.text()?.contains(&name));
                    let guess = client_of.get(&url).bearer_auth("of-nobody").send()?;
                    ensure!(matches!(guess.status().as_u16(), 403 | 429), "{}", guess.status());
                    sent.fetch_add(4, Ordering::Relaxed);
                }
                anyhow::Ok(())
            };
            let clients: Vec<_> =
                (0..CLIENTS).map(|client| scope.spawn(move || work(client))).collect();
            let changes = || {
                for round in 0..4 {
                    let before = sent.load(Ordering::Relaxed);
                    let more = format!("{POLICIES}  another-{round}: {{policies: [monitoring]}}\n");
                    fs::write(guarded.policies.with_extension("new"), more)?;
                    fs::rename(guarded.policies.with_extension("new"), &guarded.policies)?;
                    let identity = format!("another-{round}");
                    let (id, added) = guarded.create(&identity)?;
                    guarded.token(&["revoke", &id])?.exits(0)?;
                    wait_for("the token to be refused", || {
                        ensure!(problem(&added)? == "wrong-token");
                        Ok(())
                    })?;
                    wait_for("requests meanwhile", || {
                        ensure!(sent.load(Ordering::Relaxed) > before);
                        Ok(())
                    })?;
                }
                anyhow::Ok(())
            };
            let changed = changes();
            stopped.store(true, Ordering::Relaxed);
            for client in clients {
                client.join().expect("the client does not panic")?;
            }
            changed
        })
    });
}

#[test]
fn user_of_this_host_and_nobody_have_the_rights_of_their_identity() {
    isolated(|env| {
        let uid = rustix::process::getuid().as_raw();
        let policies = format!(
            "{POLICIES}  local: {{policies: [payments], users: [{uid}]}}\n  anonymous: {{policies: [monitoring]}}\n"
        );
        let policies = env.write("policies.yaml", &policies)?;
        let setting = format!("service_registry.policies={}", policies.display());
        let _registry = env.quiet_registry(REGISTRY, &["--set", &setting])?;
        // By the socket of the registry.
        let register = ["register", "payments", "--port", "8080", "--host", "127.0.0.1"];
        env.portolan(&register)?.run()?.exits(0)?;
        env.portolan(&["register", "orders", "--port", "8081", "--host", "127.0.0.1"])?
            .run()?
            .exits(6)?;
        // By TCP, where nobody knows the user.
        http::get(&format!("{REGISTRY}/metrics"))?;
        let refused = http::client()?.get(format!("{REGISTRY}/api/v1/services")).send()?;
        ensure!(refused.status() == 403, "{}", refused.status());
        let text = refused.text()?;
        ensure!(text.contains("anonymous may not read any service"), "{text}");
        Ok(())
    });
}

#[test]
fn registry_of_a_stack_is_changed_by_its_user_and_its_programs_only() {
    isolated(|env| {
        let stack = "name: shop\nservices: {api: {command: [sh, -c, 'printenv PORTOLAN_TOKEN > token; sleep 1000'], port: none}}";
        env.write("stack/portolan.yaml", stack)?;
        let folder = env.directory().join("stack");
        let up = env.portolan(&["up", "--pass-token"])?.directory(&folder);
        let mut up = up.spawn("up")?;
        let token = up.wait_until("the program to have the token", || {
            let token = fs::read_to_string(folder.join("token"))?.trim().to_owned();
            ensure!(token.len() == 64, "{token}");
            Ok(token)
        })?;
        let url = format!("{REGISTRY}/api/v1/services");
        let register = |scope: &str, token: Option<&str>| -> Result<u16> {
            let body = json!({
                "name": "extra", "host": "127.0.0.1", "port": 8080, "metadata": {"scope": scope},
            });
            let request = http::client()?.post(&url).json(&body);
            let request =
                token.into_iter().fold(request, |request, token| request.bearer_auth(token));
            Ok(request.send()?.status().as_u16())
        };
        // Another user of this host, who cannot use the socket, reads and changes nothing.
        http::get(&url)?;
        ensure!(register("shop", None)? == 403);
        ensure!(register("shop", Some("guessed"))? == 403);
        // A program of the stack changes the services of the stack, and no others.
        ensure!(register("shop", Some(&token))? == 201);
        ensure!(register("default", Some(&token))? == 403);
        // The user needs no token.
        let own = ["register", "own", "--port", "8081", "--host", "127.0.0.1"];
        env.portolan(&own)?.directory(&folder).run()?.exits(0)?;
        let listed = env.portolan(&["list"])?.directory(&folder).run()?.exits(0)?.stdout;
        ensure!(listed.contains("own") && listed.contains("extra"), "{listed}");
        Ok(())
    });
}

#[test]
fn clients_of_one_identity_share_its_limits() {
    isolated(|env| {
        let limits = "policies: [payments], limits: {watches: 1, requests_per_second: 2}";
        let policies = POLICIES.replace("policies: [payments]", limits);
        let policies = env.write("policies.yaml", &policies)?;
        let setting = format!("service_registry.policies={}", policies.display());
        let registry = env.quiet_registry(REGISTRY, &["--set", &setting])?;
        let guarded = Guarded { env, policies, registry };
        let created = guarded.token(&["create", "payments"])?.exits(0)?.stdout;
        let token = created.trim();
        let get = |path: &str| -> Result<_> {
            let request = http::client()?.get(format!("{REGISTRY}{path}")).bearer_auth(token);
            Ok(request.send()?)
        };
        let first = wait_for("the first watch", || Ok(get("/api/v1/watch")?.error_for_status()?))?;
        wait_for("the second watch to be refused", || {
            let second = get("/api/v1/watch")?;
            ensure!(second.status() == 429, "{}", second.status());
            let text = second.text()?;
            ensure!(text.contains("limits of the identity"), "{text}");
            Ok(())
        })?;
        drop(first);
        // More at once than the burst of eight.
        let answers = (0..40).map(|_| Ok(get("/api/v1/services")?.status().as_u16()));
        let answers = answers.collect::<Result<Vec<_>>>()?;
        ensure!(answers.contains(&429), "{answers:?}");
        Ok(())
    });
}

#[test]
fn unread_responses_to_one_identity_are_limited() {
    isolated(|env| {
        let limits = "policies: [payments], limits: {response_mib: 1}";
        let policies = POLICIES.replace("policies: [payments]", limits);
        let policies = env.write("policies.yaml", &policies)?;
        let setting = format!("service_registry.policies={}", policies.display());
        let registry = env.quiet_registry(REGISTRY, &["--set", &setting])?;
        let guarded = Guarded { env, policies, registry };
        let (_, token) = guarded.create("payments")?;
        // Far more than the buffers of a connection take.
        let padding = "x".repeat(4000);
        for batch in 0..30 {
            let operation = |number: usize| {
                let id = format!("payments-{}", batch * 200 + number);
                let service = json!({
                    "id": id, "name": "payments", "host": "127.0.0.1", "port": 1 + batch * 200 + number,
                    "metadata": {"padding": padding},
                });
                json!({"op": "register", "service": service})
            };
            let operations: Vec<_> = (0..200).map(operation).collect();
            let request = http::client()?.post(format!("{REGISTRY}/api/v1/batch"));
            let request = request.bearer_auth(&token).json(&json!({"operations": operations}));
            request.send()?.error_for_status()?;
        }
        let list = || -> Result<_> {
            let request = http::client()?.get(format!("{REGISTRY}/api/v1/services"));
            Ok(request.bearer_auth(&token).send()?)
        };
        let unread = (0..20).map(|_| list()).collect::<Result<Vec<_>>>()?;
        let (admitted, refused): (Vec<_>, Vec<_>) =
            unread.into_iter().partition(|it| it.status() == 200);
        ensure!(!admitted.is_empty() && !refused.is_empty(), "{} admitted", admitted.len());
        for response in refused {
            ensure!(response.status() == 429, "{}", response.status());
            let text = response.text()?;
            ensure!(text.contains("bytes of responses to its identity"), "{text}");
        }
        drop(admitted);
        wait_for("room for a response", || Ok(list()?.error_for_status()?))?;
        Ok(())
    });
}
