//! A real control plane of Kubernetes: etcd and an API server on loopback, with its own authority and static tokens.

mod binaries;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::env::TestEnv;
use crate::etcd;
use crate::process::Process;
use crate::programs;

/// The URL of the API server.
pub const API: &str = "https://127.0.0.1:16443";
/// The token of an administrator.
pub const ADMIN: &str = "admin-token";
/// The token of a user without rights, who may get some.
pub const BRIDGE: &str = "bridge-token";

/// A definition that serves `discovery.k8s.io/v1` where the API server itself has `v1beta1` only.
const SLICES_V1: &str = include_str!("kubernetes/endpointslices-v1.json");

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane<'a> {
    env: &'a TestEnv,
    directory: PathBuf,
    /// Options of the API server besides those that it always gets.
    options: Vec<String>,
    api: Option<Process>,
    _etcd: Process,
    version: &'static str,
}

// === impl ControlPlane ===

impl<'a> ControlPlane<'a> {
    /// Starts one that serves endpoint slices as `v1beta1`.
    ///
    /// # Errors
    /// A program is missing, or the API server does not become ready.
    pub fn start(env: &'a TestEnv) -> Result<Self> {
        Self::with(env, "v1beta1", &[])
    }

    /// Starts one that serves endpoint slices as `v1`.
    ///
    /// # Errors
    /// A program is missing, or the API server does not become ready.
    pub fn start_v1(env: &'a TestEnv) -> Result<Self> {
        let plane = Self::with(env, "v1", &["--runtime-config=discovery.k8s.io/v1beta1=false"])?;
        plane.create(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            &serde_json::from_str(SLICES_V1)?,
        )?;
        crate::wait_for("v1 to be served", || {
            plane.get("/apis/discovery.k8s.io/v1/endpointslices")
        })?;
        Ok(plane)
    }

    fn with(env: &'a TestEnv, version: &'static str, options: &[&str]) -> Result<Self> {
        binaries::find("kube-apiserver")?;
        let directory = env.folder("kubernetes")?;
        certificates(&directory)?;
        fs::write(
            directory.join("tokens.csv"),
            format!("{ADMIN},admin,1,\"system:masters\"\n{BRIDGE},bridge,2,\n"),
        )?;
        let etcd = etcd::start(env)?;
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut plane = Self { env, directory, options, api: None, _etcd: etcd, version };
        plane.start_api()?;
        for namespace in ["shop", "shelf"] {
            plane.create("/api/v1/namespaces", &json!({"metadata": {"name": namespace}}))?;
        }
        Ok(plane)
    }

    /// Starts the API server, which may have run before, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or does not become ready.
    pub fn start_api(&mut self) -> Result<()> {
        let mut command = Command::new(binaries::find("kube-apiserver")?);
        command.current_dir(&self.directory).args(API_OPTIONS).args(&self.options);
        command.arg(format!("--etcd-servers={}", etcd::ETCD));
        let mut api = self.env.spawn("kube-apiserver", command)?;
        api.wait_until("the API server to be ready", || {
            self.request(&["-f"], "/readyz").map(drop)
        })?;
        self.api = Some(api);
        Ok(())
    }

    /// Ends the API server with SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_api(&mut self) -> Result<()> {
        self.api.take().context("it does not run")?.kill()
    }

    /// Starts the API server again with other tokens: each line is `token,user,uid`.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn restart_with_tokens(&mut self, tokens: &str) -> Result<()> {
        self.kill_api()?;
        let all = format!("{ADMIN},admin,1,\"system:masters\"\n{tokens}\n");
        fs::write(self.directory.join("tokens.csv"), all)?;
        self.start_api()
    }

    /// Writes the credentials of this token to a file and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn kubeconfig(&self, token: &str) -> Result<PathBuf> {
        let token_file = self.env.write(&format!("{token}.token"), token)?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": API, "certificate-authority": self.directory.join("ca.crt")}}],
            "users": [{"name": "user", "user": {"tokenFile": token_file}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user", "namespace": "shop"}}],
        });
        self.env.write(&format!("{token}.kubeconfig"), &config.to_string())
    }

    /// Grants rights to the user of [`BRIDGE`], in one namespace or in all.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn grant(&self, namespace: Option<&str>, rules: &Value) -> Result<()> {
        let base = "/apis/rbac.authorization.k8s.io/v1";
        let (path, kind) = match namespace {
            Some(namespace) => (format!("{base}/namespaces/{namespace}"), "Role"),
            None => (base.to_owned(), "ClusterRole"),
        };
        let (roles, bindings) = match namespace {
            Some(_) => ("roles", "rolebindings"),
            None => ("clusterroles", "clusterrolebindings"),
        };
        self.create(
            &format!("{path}/{roles}"),
            &json!({"metadata": {"name": "bridge"}, "rules": rules}),
        )?;
        let binding = json!({
            "metadata": {"name": "bridge"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "bridge"},
            "subjects": [{"kind": "User", "name": "bridge", "apiGroup": "rbac.authorization.k8s.io"}],
        });
        self.create(&format!("{path}/{bindings}"), &binding).map(drop)
    }

    /// Creates a Service with the ports `http` and `metrics`, and no selector.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn service(&self, namespace: &str, name: &str) -> Result<()> {
        let ports = json!([{"name": "http", "port": 80}, {"name": "metrics", "port": 81}]);
        let service = json!({"metadata": {"name": name}, "spec": {"ports": ports}});
        self.create(&format!("/api/v1/namespaces/{namespace}/services"), &service).map(drop)
    }

    /// Creates or replaces a slice of a Service. Each endpoint is an address and its conditions.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn slice(
        &self,
        namespace: &str,
        service: &str,
        name: &str,
        endpoints: &[(&str, Value)],
    ) -> Result<()> {
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|(address, conditions)| json!({"addresses": [address], "conditions": conditions}))
            .collect();
        let labels = json!({"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "test"});
        let slice = json!({
            "apiVersion": format!("discovery.k8s.io/{}", self.version), "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": namespace, "labels": labels}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}, {"name": "metrics", "port": 9090, "protocol": "TCP"}],
            "endpoints": endpoints,
        });
        let options = "?fieldManager=test&force=true";
        let path = format!("{}/{name}{options}", self.slices_path(namespace));
        self.send("PATCH", &path, Some(&slice)).map(drop)
    }

    /// The path of the slices of a namespace.
    #[must_use]
    pub fn slices_path(&self, namespace: &str) -> String {
        format!("/apis/discovery.k8s.io/{}/namespaces/{namespace}/endpointslices", self.version)
    }

    /// Creates an object.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.send("POST", path, Some(object))
    }

    /// Returns an object or a list.
    ///
    /// # Errors
    /// The API server refuses, or there is none.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.send("GET", path, None)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// The API server refuses, or there is none.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.send("DELETE", path, None).map(drop)
    }

    /// Sends a request of the administrator. `PATCH` is a server-side apply.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn send(&self, method: &str, path: &str, object: Option<&Value>) -> Result<Value> {
        let kind =
            if method == "PATCH" { "application/apply-patch+yaml" } else { "application/json" };
        let header = format!("Content-Type: {kind}");
        let body = object.map(Value::to_string);
        let mut options = vec!["-X", method, "-H", header.as_str()];
        if let Some(body) = &body {
            options.extend(["--data-binary", body.as_str()]);
        }
        let answer = self.request(&options, path)?;
        let answer: Value = serde_json::from_str(&answer).context(answer)?;
        if answer["kind"] == "Status" && answer["status"] == "Failure" {
            bail!("{method} {path}: {answer}");
        }
        Ok(answer)
    }

    /// Forgets the history of all objects, so that watches cannot resume.
    ///
    /// # Errors
    /// etcd refuses.
    pub fn compact(&self) -> Result<()> {
        let status: Value =
            serde_json::from_str(&etcd::ctl(&["endpoint", "status", "-w", "json"])?)?;
        let revision = &status[0]["Status"]["header"]["revision"];
        etcd::ctl(&["compaction", &revision.to_string()]).map(drop)
    }

    fn request(&self, options: &[&str], path: &str) -> Result<String> {
        let mut curl = Command::new(programs::find("curl", "curl")?);
        curl.args(["-sS", "--max-time", "20", "--cacert"]).arg(self.directory.join("ca.crt"));
        curl.args(["-H", &format!("Authorization: Bearer {ADMIN}")]).args(options);
        let output = curl.arg(format!("{API}{path}")).output()?;
        ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// What every API server of the tests gets. Files are in its working directory.
const API_OPTIONS: [&str; 16] = [
    "--bind-address=127.0.0.1",
    "--secure-port=16443",
    "--insecure-port=0",
    "--advertise-address=127.0.0.1",
    "--tls-cert-file=api.crt",
    "--tls-private-key-file=api.key",
    "--client-ca-file=ca.crt",
    "--token-auth-file=tokens.csv",
    "--authorization-mode=RBAC",
    "--service-account-issuer=https://kubernetes.default.svc",
    "--service-account-key-file=api.key",
    "--service-account-signing-key-file=api.key",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--endpoint-reconciler-type=none",
    "--etcd-compaction-interval=0",
    "--watch-cache=true",
];

/// Makes an authority and a certificate of 127.0.0.1.
fn certificates(directory: &std::path::Path) -> Result<()> {
    let openssl = |arguments: &str| {
        let mut command = Command::new(programs::find("openssl", "openssl")?);
        let output = command.args(arguments.split(' ')).current_dir(directory).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    fs::write(directory.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")?;
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=test-ca",
    )?;
    openssl("req -newkey rsa:2048 -nodes -keyout api.key -out api.csr -subj /CN=kube-apiserver")?;
    openssl(
        "x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out api.crt -extfile names",
    )
}
