//! Certificates that do not count, versions and ciphers that are weak, and what is not TLS, with `openssl` and `curl`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, TestEnv, isolated, metrics, wait_for};

use super::target::{AuditFile, TOKEN};

const URL: &str = "https://127.0.0.1:7000";
/// The configuration of `openssl ca`, which issues certificates for any time.
const CONFIGURATION: &str = "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nserial = serial\nnew_certs_dir = .\n\
    default_md = sha256\npolicy = any\nunique_subject = no\nrand_serial = yes\n[any]\ncommonName = supplied\n\
    [req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = attacker\n";

/// The directory of an authority of `portolan ca`, and certificates that `openssl` made.
struct Certificates<'a> {
    env: &'a TestEnv,
    directory: PathBuf,
}

// === impl Certificates ===

impl<'a> Certificates<'a> {
    fn new(env: &'a TestEnv) -> Result<Self> {
        let certificates = Self { env, directory: env.directory().join("ca") };
        certificates.portolan(&["init"])?;
        certificates.portolan(&["issue", "registry", "--subject", "127.0.0.1"])?;
        certificates.portolan(&["issue", "elsewhere", "--subject", "other.example"])?;
        for client in ["client", "revoked"] {
            let subject = ["--client", "--subject", "spiffe://example.org/api"];
            certificates.portolan(&[&["issue", client][..], &subject].concat())?;
        }
        certificates.portolan(&["revoke", "revoked"])?;
        env.write("ca/openssl.cnf", CONFIGURATION)?;
        env.write("ca/index.txt", "")?;
        env.write("ca/extensions", "subjectAltName=IP:127.0.0.1,URI:spiffe://example.org/api\nextendedKeyUsage=clientAuth,serverAuth\n")?;
        let root = "req -x509 -newkey rsa:2048 -nodes -days 30 -config openssl.cnf";
        let alternative = "-addext subjectAltName=IP:127.0.0.1";
        certificates.openssl(&format!(
            "{root} {alternative} -keyout self-signed.key -out self-signed.pem"
        ))?;
        certificates.openssl(&format!("{root} -keyout foreign-ca.key -out foreign-ca.pem"))?;
        certificates.issue("foreign", "foreign-ca", "20200101000000Z", "20990101000000Z")?;
        certificates.issue("expired", "ca", "20200101000000Z", "20200201000000Z")?;
        certificates.issue("later", "ca", "20980101000000Z", "20990101000000Z")?;
        Ok(certificates)
    }

    fn portolan(&self, arguments: &[&str]) -> Result<()> {
        let directory = self.directory.to_str().context("path")?;
        self.env.portolan(&["ca", "--dir", directory])?.args(arguments).run()?.exits(0)?;
        Ok(())
    }

    fn openssl(&self, arguments: &str) -> Result<()> {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split(' ')).current_dir(&self.directory);
        let made = openssl.output().context("openssl is missing; run `apt-get install openssl`")?;
        ensure!(
            made.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        Ok(())
    }

    /// Issues NAME.pem and NAME.key for a time, signed by an authority.
    fn issue(&self, name: &str, authority: &str, from: &str, until: &str) -> Result<()> {
        self.openssl(&format!(
            "req -newkey rsa:2048 -nodes -config openssl.cnf -keyout {name}.key -out {name}.csr"
        ))?;
        self.openssl(&format!(
            "ca -batch -notext -config openssl.cnf -extfile extensions -cert {authority}.pem -keyfile {authority}.key \
             -startdate {from} -enddate {until} -in {name}.csr -out {name}.pem"
        ))
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Starts a registry with this certificate, which requires one of its clients.
    fn serve(&self, certificate: &str, options: &[String]) -> Result<Process> {
        let own =
            [("certificate", format!("{certificate}.pem")), ("key", format!("{certificate}.key"))];
        let clients = [("client_ca", "ca.pem".to_owned()), ("crl", "crl.pem".to_owned())];
        let settings = own.iter().chain(&clients).flat_map(|(key, file)| {
            ["--set".to_owned(), format!("service_registry.tls.{key}={}", self.file(file))]
        });
        let settings: Vec<String> = settings.collect();
        let serve = [
            "serve",
            "--set",
            "broadcast.enabled=false",
            "--set",
            "service_registry.require_client_certificate=true",
        ];
        let serve = self.env.portolan(&serve)?.args(&settings).args(options);
        let mut server = serve.env("PORTOLAN_TOKEN", TOKEN).spawn("registry")?;
        server.wait_for_line("Registry server started")?;
        Ok(server)
    }

    /// The options of `curl` that show a certificate.
    fn showing(&self, certificate: &str) -> Vec<String> {
        let (pem, key) =
            (self.file(&format!("{certificate}.pem")), self.file(&format!("{certificate}.key")));
        ["--cert".to_owned(), pem, "--key".to_owned(), key].into()
    }

    /// What `curl` prints for a path.
    fn curl(&self, options: &[String], url: &str) -> Result<String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "10", "--cacert", &self.file("ca.pem")]).args(options).arg(url);
        let output = curl.output().context("curl is missing; run `apt-get install curl`")?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// Sends a request by `openssl s_client` with these options, and returns everything that it prints.
    fn s_client(&self, options: &[String]) -> Result<String> {
        let request = format!(
            "GET /api/v1/services HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        );
        let file = self.env.write("request", &request)?;
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", "127.0.0.1:7000", "-ign_eof"]).args(options);
        let output = client.stdin(Stdio::from(std::fs::File::open(file)?)).output()?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// How many handshakes the registry has rejected.
    fn rejected(&self) -> Result<f64> {
        let page = self.curl(&self.showing("client"), &format!("{URL}/metrics"))?;
        ensure!(page.contains("# TYPE discovery_http_rejected"), "{page}");
        Ok(metrics::value(&page, "discovery_http_rejected_total{reason=\"handshake\"}"))
    }

    /// The right client is served.
    fn serves(&self) -> Result<()> {
        let listing = self.curl(&self.showing("client"), &format!("{URL}/api/v1/services"))?;
        ensure!(listing.contains("\"services\":[]"), "{listing}");
        Ok(())
    }
}

#[test]
fn openssl_and_curl_get_nothing_with_certificates_that_do_not_count() {
    isolated(|env| {
        let certificates = Certificates::new(env)?;
        let audit = AuditFile::new(env);
        let _registry = certificates.serve("registry", &audit.settings())?;
        certificates.serves()?;
        let showing = |name: &str| {
            [
                "-cert",
                &certificates.file(&format!("{name}.pem")),
                "-key",
                &certificates.file(&format!("{name}.key")),
            ]
            .map(str::to_owned)
            .to_vec()
        };
        let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let right = certificates.s_client(&showing("client"))?;
        ensure!(right.contains("HTTP/1.1 200 OK"), "{right}");
        let attempts = [
            ("no certificate", Vec::new()),
            ("another authority", showing("foreign")),
            ("self-signed", showing("self-signed")),
            ("expired", showing("expired")),
            ("not yet valid", showing("later")),
            ("revoked", showing("revoked")),
            ("for servers", showing("registry")),
            ("TLS 1.1", [showing("client"), words("-tls1_1 -cipher DEFAULT@SECLEVEL=0")].concat()),
            (
                "a cipher without forward secrecy",
                [showing("client"), words("-tls1_2 -cipher AES128-SHA")].concat(),
            ),
            (
                "RC4 and MD5",
                [
                    showing("client"),
                    words("-tls1_2 -cipher ALL:COMPLEMENTOFALL@SECLEVEL=0:!ECDHE:!DHE"),
                ]
                .concat(),
            ),
        ];
        for (what, options) in &attempts {
            let before = certificates.rejected()?;
            let got = certificates.s_client(options)?;
            ensure!(got.contains("alert"), "{what}: {got}");
            ensure!(!got.contains("HTTP/1.1"), "{what}: {got}");
            wait_for(what, || {
                ensure!(certificates.rejected()? > before, "{what} is not counted");
                Ok(())
            })?;
            certificates.serves()?;
        }
        let before = certificates.rejected()?;
        let plain = certificates.curl(&[], "http://127.0.0.1:7000/api/v1/services")?;
        ensure!(plain.contains("curl:") && !plain.contains("services\":"), "{plain}");
        ensure!(certificates.rejected()? > before, "plain HTTP is not counted");
        for name in ["foreign", "self-signed", "expired", "revoked"] {
            let got = certificates
                .curl(&certificates.showing(name), &format!("{URL}/api/v1/services"))?;
            ensure!(got.contains("curl:"), "{name}: {got}");
        }
        audit.record("handshake")?;
        let records = audit.records()?;
        let handshakes = records.iter().filter(|record| record["reason"] == "handshake");
        let details: Vec<_> =
            handshakes.map(|record| record["detail"].as_str().unwrap_or_default()).collect();
        for detail in [
            "UnknownIssuer",
            "certificate expired",
            "not valid yet",
            "Revoked",
            "peer is incompatible",
            "corrupt message",
        ] {
            ensure!(
                details.iter().any(|known| known.contains(detail)),
                "no {detail} in {details:#?}"
            );
        }
        ensure!(records.iter().all(|record| record["principal"] != "token"), "{records:?}");
        certificates.serves()
    });
}

#[test]
fn clients_reject_registries_whose_certificate_does_not_count() {
    isolated(|env| {
        let certificates = Certificates::new(env)?;
        let own = certificates.showing("client");
        let settings: Vec<String> = [
            ("ca", "ca.pem"),
            ("crl", "crl.pem"),
            ("certificate", "client.pem"),
            ("key", "client.key"),
        ]
        .iter()
        .flat_map(|(key, file)| {
            ["--set".to_owned(), format!("discovery.tls.{key}={}", certificates.file(file))]
        })
        .collect();
        certificates.portolan(&["issue", "former", "--subject", "127.0.0.1"])?;
        certificates.portolan(&["revoke", "former"])?;
        for (name, problem) in [
            ("elsewhere", "not valid for name"),
            ("self-signed", "UnknownIssuer"),
            ("foreign", "UnknownIssuer"),
            ("expired", "expired"),
            ("later", "not valid yet"),
            ("former", "revoked"),
        ] {
            let registry = certificates.serve(name, &[])?;
            let list = env.portolan(&["list", "--registry", URL])?.args(&settings);
            let refused = list.env("PORTOLAN_TOKEN", TOKEN).run()?.exits(5)?;
            ensure!(
                refused.stderr.to_lowercase().contains(&problem.to_lowercase()),
                "{name}: {refused:?}"
            );
            let crl = ["--crlfile".to_owned(), certificates.file("crl.pem")];
            let curl = certificates
                .curl(&[own.clone(), crl.into()].concat(), &format!("{URL}/api/v1/services"))?;
            ensure!(curl.contains("curl:"), "{name}: {curl}");
            drop(registry);
        }
        Ok(())
    });
}
