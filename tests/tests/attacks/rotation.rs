//! Certificates, tokens and keys are replaced while services run: nobody is wrongly refused, and nobody wrongly admitted.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_tests::{
    Host, PortolanCommand, Process, TestEnv, isolated, portolan_program, wait_for,
};

const TTL: &str = "--ttl=3s";
const SERVICES: usize = 4;
const REPLACEMENTS: usize = 4;
const HTTP: [&str; 5] = ["python3", "-m", "http.server", "{port}", "--bind=127.0.0.1"];

/// Replaces a file by another one, as tools for configuration do.
fn replace(path: &Path, contents: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, contents)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    Ok(fs::rename(new, path)?)
}

/// A registry with TLS, a token in a file, and services that renew their leases.
struct Stack<'a> {
    env: &'a TestEnv,
    token: PathBuf,
    options: Vec<String>,
}

// === impl Stack ===

impl<'a> Stack<'a> {
    fn new(env: &'a TestEnv) -> Result<Self> {
        let token = env.directory().join("token");
        replace(&token, "token number 0 of this registry")?;
        let directory = env.directory().join("ca");
        let file = |name: &str| directory.join(name).display().to_string();
        let set = |key: &str, name: &str| ["--set".to_owned(), format!("{key}={}", file(name))];
        let options = [
            set("service_registry.tls.certificate", "registry.pem"),
            set("service_registry.tls.key", "registry.key"),
            set("service_registry.tls.client_ca", "ca.pem"),
            set("service_registry.tls.crl", "crl.pem"),
            set("discovery.tls.ca", "ca.pem"),
            ["--set".to_owned(), format!("token_file={}", token.display())],
            ["--set".to_owned(), "broadcast.enabled=false".to_owned()],
        ];
        let stack = Self { env, token, options: options.concat() };
        stack.ca(&["init"])?;
        stack.ca(&["issue", "registry", "--subject", "127.0.0.1"])?;
        stack.ca(&["issue", "client", "--client", "--subject", "client"])?;
        Ok(stack)
    }

    fn ca(&self, arguments: &[&str]) -> Result<()> {
        self.env.portolan(&["ca", "--dir", "ca"])?.args(arguments).run()?.exits(0)?;
        Ok(())
    }

    fn client(&self, arguments: &[&str]) -> Result<PortolanCommand<'a>> {
        let url = ["--registry", "https://127.0.0.1:7000"];
        Ok(self.env.portolan(arguments)?.args(&url).args(&self.options))
    }

    /// Starts a shell that looks a service up again and again, and says of each lookup whether it was found.
    fn lookups(&self) -> Result<Process> {
        let script = "while true; do if \"$@\" >&2; then echo found; else echo missed; fi; done";
        let discover = ["discover", "api-1", "--all", "--strategy", "registry", "--retries", "0"];
        let mut shell = Command::new("bash");
        shell.args(["-c", script, "lookups"]).arg(portolan_program()?).args(discover);
        shell.args(["--registry", "https://127.0.0.1:7000"]).args(&self.options);
        self.env.spawn("lookups", shell)
    }

    /// The status of a request with this token.
    fn status(&self, token: &str) -> Result<String> {
        let ca = self.env.directory().join("ca/ca.pem");
        let mut curl = Command::new("curl");
        curl.args(["-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]).arg(ca);
        curl.args([
            "-H",
            &format!("Authorization: Bearer {token}"),
            "https://127.0.0.1:7000/api/v1/services",
        ]);
        Ok(String::from_utf8(curl.output()?.stdout)?)
    }
}

#[test]
fn token_and_certificates_are_replaced_under_load_and_nothing_is_lost() {
    isolated(|env| {
        let stack = Stack::new(env)?;
        let serve = env.portolan(&["serve"])?.args(&stack.options);
        let mut registry = serve.spawn("registry")?;
        registry.wait_for_line("Registry server started")?;
        let service = |number: usize| {
            let name = format!("api-{number}");
            let run = ["run", "--name", &name, TTL, "--preferred"];
            let port = (8080 + number).to_string();
            stack.client(&[&run[..], &[&port]].concat())?.arg("--").args(&HTTP).spawn(&name)
        };
        let mut services = (0..SERVICES).map(service).collect::<Result<Vec<Process>>>()?;
        let mut watch = stack.client(&["watch", "--json"])?.spawn("watch")?;
        for number in 0..SERVICES {
            wait_for("the services", || {
                let found = stack.client(&["list"])?.run()?.exits(0)?;
                ensure!(found.stdout.contains(&format!("api-{number}")), "{found:?}");
                Ok(())
            })?;
        }
        watch.wait_for_line("api-0")?;

        let load = stack.lookups()?;
        for number in 1..=REPLACEMENTS {
            let token = |number: usize| format!("token number {number} of this registry");
            replace(&stack.token, &token(number))?;
            wait_for("the new token to be the only one", || {
                let statuses = [token(number), token(number - 1)].map(|it| stack.status(&it));
                let [new, former] = statuses;
                let statuses = (new?, former?);
                ensure!(statuses == ("200".to_owned(), "403".to_owned()), "{statuses:?}");
                Ok(())
            })?;
            stack.ca(&["issue", "registry", "--subject", "127.0.0.1"])?;
            stack.ca(&["revoke", "client"])?;
            stack.ca(&["issue", "client", "--client", "--subject", "client"])?;
            let before = load.stdout().lines().count();
            wait_for("lookups with all of this", || {
                let seen = load.stdout().lines().count();
                ensure!(seen > before + 3, "{seen} lookups: {}", load.output());
                Ok(())
            })?;
        }
        let looked_up = load.stdout();
        println!("{} lookups", looked_up.lines().count());
        ensure!(looked_up.lines().all(|line| line == "found"), "{looked_up}");
        drop(load);
        // No lease has ended, although each was renewed with several tokens; and the watch has missed nothing.
        for service in &mut services {
            ensure!(service.ended()?.is_none(), "{}", service.output());
        }
        let events = watch.output();
        ensure!(!events.contains("deregistered") && !events.contains("expired"), "{events}");
        services.pop().context("a service")?.terminate()?;
        watch.wait_for_line("deregistered")?;

        replace(&stack.token, "\n")?;
        registry.wait_for_line("Changed token not used")?;
        let last = format!("token number {REPLACEMENTS} of this registry");
        ensure!(stack.status(&last)? == "200", "the former token stays in use");
        Ok(())
    });
}

/// The option of a key that is in a file of this host.
fn key_of(env: &TestEnv, host: &Host<'_>) -> (PathBuf, String) {
    let file = env.directory().join(format!("{}.key", host.name()));
    let option = format!("broadcast.key_file={}", file.display());
    (file, option)
}

#[test]
fn key_of_the_channel_is_replaced_on_all_hosts_while_services_are_found() {
    isolated(|env| {
        let (server, client, stranger) = (env.host(1)?, env.host(2)?, env.host(3)?);
        let keys = [key_of(env, &server), key_of(env, &client), key_of(env, &stranger)];
        let write = |number: usize, text: &str| replace(&keys[number].0, text);
        (0..3).try_for_each(|number| write(number, "4f1c0a97d2e86b35 key number 0"))?;
        let command = ["python3", "-m", "http.server", "{port}"];
        let _service =
            server.service("api", &["--set", &keys[0].1, "--preferred", "8080"], &command)?;
        client.finds("api", &["--set", &keys[1].1], "10.77.0.1:8080")?;
        let mut listener = client.portolan(&["listen", "--set", &keys[1].1])?.spawn("listener")?;
        for round in 1..4 {
            let key = format!("be93d5708a1f642c key number {round}");
            write(0, &key)?;
            write(1, &key)?;
            client.finds("api", &["--set", &keys[1].1], "10.77.0.1:8080")?;
            let name = format!("job-{round}");
            let announce = ["announce", &name, "--port", "9000", "--set", &keys[0].1];
            server.portolan(&announce)?.run()?.exits(0)?;
            listener.wait_for_line(&format!("register {name}"))?;
        }
        // A program with the former key only is no longer heard.
        let missed = ["discover", "api", "--retries", "0", "--set", &keys[2].1];
        stranger.portolan(&missed)?.run()?.exits(3)?;
        let announce = ["announce", "forged", "--port", "9000", "--set", &keys[2].1];
        stranger.portolan(&announce)?.run()?.exits(0)?;
        let announce = ["announce", "last", "--port", "9000", "--set", &keys[0].1];
        server.portolan(&announce)?.run()?.exits(0)?;
        let heard = listener.wait_for_line("register last")?;
        ensure!(!listener.output().contains("register forged"), "{heard}");
        Ok(())
    });
}
