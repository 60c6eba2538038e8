//! Registries with TLS, and the authority of `portolan ca`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, TestEnv, isolated, wait_for};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
const REGISTRY: &str = "https://127.0.0.1:7000";
const TOKEN: &str = "PORTOLAN_TOKEN";

/// An authority with a certificate of a registry and one of a client.
struct Authority<'a> {
    env: &'a TestEnv,
    directory: PathBuf,
}

impl<'a> Authority<'a> {
    fn new(env: &'a TestEnv) -> Result<Self> {
        let authority = Self { env, directory: env.directory().join("ca") };
        authority.ca(&["init"])?;
        authority.issue_registry()?;
        let subject = ["--client", "--subject", "spiffe://example.org/api"];
        authority.ca(&[&["issue", "client"][..], &subject].concat())?;
        Ok(authority)
    }

    /// Runs `portolan ca`, and returns what it prints.
    fn ca(&self, arguments: &[&str]) -> Result<String> {
        let directory = self.directory.to_str().context("path")?;
        let ca = self.env.portolan(&["ca", "--dir", directory])?.args(arguments);
        Ok(ca.run()?.exits(0)?.stdout)
    }

    fn issue_registry(&self) -> Result<String> {
        self.ca(&["issue", "registry", "--subject", "127.0.0.1", "--subject", "localhost"])
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// The settings of a section, with these files.
    fn settings(&self, section: &str, files: &[(&str, &str)]) -> Vec<String> {
        let setting = |(key, name): &(&str, &str)| format!("{section}.{key}={}", self.file(name));
        files.iter().flat_map(|file| ["--set".to_owned(), setting(file)]).collect()
    }

    /// Starts a registry that trusts clients with certificates of this authority.
    fn serve(&self, more: &[&str]) -> Result<Process> {
        let own = [("certificate", "registry.pem"), ("key", "registry.key")];
        let clients = [("client_ca", "ca.pem"), ("crl", "crl.pem")];
        let settings = self.settings("service_registry.tls", &[own, clients].concat());
        let serve = self.env.portolan(&["serve", "--set", "broadcast.enabled=false"])?;
        let mut server =
            serve.args(&settings).args(more).env(TOKEN, "a token of the test").spawn("registry")?;
        server.wait_for_line("Registry server started")?;
        Ok(server)
    }

    /// The options of a client that trusts the authority.
    fn trusting(&self) -> Vec<String> {
        let mut options = self.settings("discovery.tls", &[("ca", "ca.pem")]);
        options.extend(["--registry", REGISTRY].map(str::to_owned));
        options
    }

    /// The options of a client that has a certificate as well.
    fn certified(&self) -> Vec<String> {
        let own = [("certificate", "client.pem"), ("key", "client.key")];
        [self.trusting(), self.settings("discovery.tls", &own)].concat()
    }
}

/// The serial number of the certificate that the registry shows.
fn served_serial() -> Result<String> {
    let connect = ["s_client", "-connect", "127.0.0.1:7000"];
    let openssl = Command::new("openssl").args(connect).stdin(Stdio::null()).output();
    let shown = openssl.context("openssl is missing; run `apt-get install openssl`")?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let pem = shown.find("-----BEGIN").and_then(|from| {
        let end = "-----END CERTIFICATE-----";
        Some(&shown[from..shown.find(end)? + end.len()])
    });
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), pem.with_context(|| format!("no certificate: {shown}"))?)?;
    let read = ["x509", "-noout", "-serial", "-in"];
    let serial = Command::new("openssl").args(read).arg(file.path()).output()?;
    Ok(String::from_utf8(serial.stdout)?.to_lowercase())
}

#[test]
fn client_with_a_certificate_needs_no_token() {
    isolated(|env| {
        let authority = Authority::new(env)?;
        let _server = authority.serve(&[])?;
        let list = |options: &[String]| env.portolan(&["list"])?.args(options).run();
        let without = list(&authority.trusting())?.exits(6)?;
        ensure!(without.stderr.contains("401"), "{without:?}");
        list(&authority.certified())?.exits(0)?;

        let options = authority.certified();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut api = env.service("api", &options, &[BINDER, "{port}"])?;
        api.wait_for_line("bound 8080")?;
        wait_for("api in the list", || {
            let found = list(&authority.certified())?.exits(0)?;
            ensure!(found.stdout.contains("api"), "{found:?}");
            Ok(())
        })
    });
}

#[test]
fn connections_without_trust_fail_with_the_remedy() {
    isolated(|env| {
        let authority = Authority::new(env)?;
        let _server =
            authority.serve(&["--set", "service_registry.require_client_certificate=true"])?;
        let list = |options: &[String]| env.portolan(&["list"])?.args(options).run();
        let by = |url: &str| ["--registry".to_owned(), url.to_owned()];
        let distrusts = list(&by(REGISTRY))?.exits(5)?;
        ensure!(distrusts.stderr.contains("set discovery.tls.ca"), "{distrusts:?}");
        let anonymous = list(&authority.trusting())?.exits(5)?;
        ensure!(anonymous.stderr.contains("set discovery.tls.certificate"), "{anonymous:?}");
        list(&authority.certified())?.exits(0)?;
        // The socket for this user is plain, and asks for the token only.
        list(&by("http://127.0.0.1:7000"))?.exits(6)?;
        list(&by("https+srv://example.org"))?.exits(2)?;
        Ok(())
    });
}

#[test]
fn certificates_are_replaced_and_revoked_while_the_registry_runs() {
    isolated(|env| {
        let authority = Authority::new(env)?;
        let server = authority.serve(&[])?;
        let mut watch =
            env.portolan(&["watch", "--json"])?.args(&authority.certified()).spawn("watch")?;
        watch.wait_for_line("snapshot")?;
        let before = served_serial()?;
        authority.issue_registry()?;
        wait_for("the new certificate", || {
            ensure!(served_serial()? != before, "{before}");
            Ok(())
        })?;
        authority.ca(&["revoke", "client"])?;
        wait_for("the revoked certificate to be rejected", || {
            let list = env.portolan(&["list"])?.args(&authority.certified()).run()?;
            ensure!(list.stderr.contains("fatal alert: CertificateRevoked"), "{list:?}");
            Ok(())
        })?;
        // The connection of the watch is older than both.
        let token = env.portolan(&["register", "api", "--port", "8080"])?;
        token.args(&authority.trusting()).env(TOKEN, "a token of the test").run()?.exits(0)?;
        watch.wait_for_line("registered")?;
        // What cannot be used does not replace what is.
        fs::write(authority.file("registry.pem"), "no certificate")?;
        let again = env.portolan(&["list"])?.args(&authority.trusting());
        again.env(TOKEN, "a token of the test").run()?.exits(0)?;
        drop(server);
        Ok(())
    });
}

#[test]
fn settings_name_other_certificates_while_the_registry_runs() {
    isolated(|env| {
        let authority = Authority::new(env)?;
        authority.ca(&["issue", "other", "--subject", "127.0.0.1", "--subject", "localhost"])?;
        let settings = |certificate: &str, key: &str| {
            let (certificate, key) = (authority.file(certificate), authority.file(key));
            let tls = format!("{{certificate: {certificate:?}, key: {key:?}}}");
            env.write("portolan.yaml", &format!("service_registry:\n  tls: {tls}\n"))
        };
        let file = settings("registry.pem", "registry.key")?.display().to_string();
        let serve = ["serve", "--config", &file, "--set", "broadcast.enabled=false"];
        let serve = env.portolan(&serve)?.env(TOKEN, "a token of the test");
        let mut server = serve.spawn("registry")?;
        server.wait_for_line("Registry server started")?;
        let as_client = |arguments: &[&str]| {
            let command = env.portolan(arguments)?.args(&authority.trusting());
            anyhow::Ok(command.env(TOKEN, "a token of the test"))
        };
        let mut watch = as_client(&["watch", "--json"])?.spawn("watch")?;
        watch.wait_for_line("snapshot")?;
        let before = served_serial()?;

        // Nothing of a file that names an unusable certificate is applied.
        settings("registry.pem", "other.key")?;
        server.wait_for_line("Changed settings not used")?;
        ensure!(served_serial()? == before);
        env.write("portolan.yaml", "health: {interval: 3s}\n")?;
        server.wait_for_line("would serve http://")?;
        ensure!(served_serial()? == before);

        settings("other.pem", "other.key")?;
        wait_for("the other certificate", || {
            ensure!(served_serial()? != before, "{before}");
            Ok(())
        })?;
        // The connection of the watch is older.
        as_client(&["register", "api", "--port", "8080"])?.run()?.exits(0)?;
        watch.wait_for_line("registered")?;
        ensure!(watch.stdout().matches("snapshot").count() == 1, "{}", watch.stdout());
        Ok(())
    });
}

#[test]
fn unusable_certificates_end_serve_and_are_found_by_config_check() {
    isolated(|env| {
        let authority = Authority::new(env)?;
        let missing =
            authority.settings("service_registry.tls", &[("certificate", "registry.pem")]);
        for command in [&["serve"][..], &["config", "check"]] {
            let refused = env.portolan(command)?.args(&missing).run()?.exits(2)?;
            let expected = "service_registry.tls: no key of the certificate is given";
            ensure!(refused.stderr.contains(expected), "{refused:?}");
        }
        let listed = authority.ca(&["list"])?;
        ensure!(
            listed.contains("spiffe://example.org/api") && listed.contains("valid until"),
            "{listed}"
        );
        let directory = authority.directory.to_str().context("path")?;
        env.portolan(&["ca", "--dir", directory, "init"])?.run()?.exits(1)?;
        Ok(())
    });
}
