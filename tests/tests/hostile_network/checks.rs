//! Health checks that are requested to reach what only the registry can reach.

use anyhow::{Result, ensure};
use portolan_tests::{isolated, wait_for};

/// Counts the requests to it, and answers them with a secret.
const INTERNAL: &str = r#"
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("REQUESTED", self.path, flush=True)
        self.send_response(403); self.end_headers(); self.wfile.write(b"secret=hunter2\n")
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 8443), Handler)
print("listening", flush=True)
server.serve_forever()
"#;

#[test]
fn registry_sends_no_request_for_another_host() {
    isolated(|env| {
        let (own, other) = (env.host(1)?, env.host(2)?);
        env.replace_file("/etc/hosts", "127.0.0.1 localhost\n127.0.0.1 rebind.example\n")?;
        let script = env.write("internal.py", INTERNAL)?.display().to_string();
        let mut internal = own.spawn("internal", &["python3", &script])?;
        internal.wait_for_line("listening")?;
        let _registry =
            own.registry(&["--set", "health.interval=50ms", "--set", "broadcast.enabled=false"])?;
        let url = "http://10.77.0.1:7000/api/v1/services";
        let register = |name: &str, host: &str, health_url: &str| {
            let body = format!(
                r#"{{"name":"{name}","host":"{host}","port":8443,"health_url":"{health_url}"}}"#
            );
            other.shell(&format!("curl -sf -H 'Content-Type: application/json' -d '{body}' {url}"))
        };
        register("rebound", "rebind.example", "http://rebind.example:8443/admin?do=it")?;
        register("neighbour", "10.77.0.1", "http://10.77.0.1:7000/metrics")?;
        register("metadata", "169.254.169.254", "tcp://169.254.169.254:80")?;
        let explained = |name: &str| -> Result<()> {
            let listing = own
                .shell(&format!("curl -sf 'http://127.0.0.1:7000/api/v1/services?name={name}'"))?
                .json()?;
            let service = &listing["services"][0];
            let reason = service["health_reason"].as_str().unwrap_or_default();
            ensure!(service["health"] == "unknown", "{listing}");
            ensure!(reason.contains("health.allowed_networks"), "{listing}");
            Ok(())
        };
        for name in ["rebound", "neighbour", "metadata"] {
            wait_for(&format!("the reason of {name}"), || explained(name))?;
        }
        // A service that the registry may check is: so the checks of the others ran meanwhile.
        let listening = [
            "python3",
            "-c",
            "import socket,time; s=socket.create_server(('10.77.0.2',8080)); print('up',flush=True); time.sleep(1000)",
        ];
        let mut server = other.spawn("server", &listening)?;
        server.wait_for_line("up")?;
        other.shell(&format!(
            "curl -sf -H 'Content-Type: application/json' -d '{}' {url}",
            r#"{"name":"own","host":"10.77.0.2","port":8080,"health_url":"tcp://10.77.0.2:8080"}"#
        ))?;
        wait_for("own to be checked", || {
            let listing =
                own.shell("curl -sf 'http://127.0.0.1:7000/api/v1/services?name=own'")?.json()?;
            ensure!(listing["services"][0]["health"] == "passing", "{listing}");
            Ok(())
        })?;
        ensure!(!internal.stdout().contains("REQUESTED"), "{}", internal.stdout());
        Ok(())
    });
}
