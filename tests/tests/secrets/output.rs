//! What peers send cannot imitate log lines, or control a terminal.

use anyhow::ensure;
use portolan_tests::{http, isolated, wait_for};

#[test]
fn datagram_cannot_add_a_line_to_the_log() {
    isolated(|env| {
        let registry = env.registry()?;
        let forged = "x\\n2026-11-27T00:00:00Z  INFO audit: Service registered service_name=FORGED\\u001b[31m\\u202e";
        wait_for("the datagram to be dropped", || {
            let time = "2026-11-27T00:00:00Z";
            let message = format!(r#"{{"type": "{forged}", "timestamp": "{time}", "ttl": 60}}"#);
            env.multicast(message.as_bytes())?;
            ensure!(registry.stderr().contains("FORGED"), "{}", registry.stderr());
            Ok(())
        })?;
        let log = registry.stderr();
        let line = log.lines().find(|line| line.contains("FORGED")).unwrap_or_default();
        ensure!(line.contains("Datagram dropped"), "{log}");
        ensure!(!log.contains('\u{1b}') && !log.contains('\u{202e}'), "{log:?}");
        Ok(())
    });
}

/// A server that answers every request with this body.
const HOSTILE: &str = r#"
import socket
server = socket.create_server(("127.0.0.1", 7000))
print("listening", flush=True)
body = b'{"services": [{"health": "\\u001b]0;pwned\\u0007\\u001b[2J\\nOK\\u202e"}], "revision": 1}'
while True:
    connection, _ = server.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
                       + b"content-length: %d\r\n\r\n" % len(body) + body)
    connection.close()
"#;

#[test]
fn registry_cannot_control_the_terminal_by_an_error() {
    isolated(|env| {
        let script = env.write("hostile.py", HOSTILE)?;
        let mut command = std::process::Command::new("python3");
        command.arg(script);
        let mut server = env.spawn("hostile", command)?;
        server.wait_for_line("listening")?;
        let failed = env.portolan(&["list"])?.run()?.exits(1)?;
        ensure!(failed.stderr.contains("pwned"), "{failed:?}");
        ensure!(!failed.stderr.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{failed:?}");
        ensure!(!failed.stderr.lines().any(|line| line.starts_with("OK")), "{failed:?}");
        Ok(())
    });
}

#[test]
fn version_with_invisible_characters_is_refused() {
    isolated(|env| {
        let _registry = env.registry()?;
        for version in ["1.0\u{202e}", "1.0\u{200b}", "\u{2066}1.0"] {
            let register = [
                "register",
                "api",
                "--port",
                "80",
                "--host",
                "10.9.9.9",
                "--service-version",
                version,
            ];
            let refused = env.portolan(&register)?.run()?;
            ensure!(refused.code != Some(0) && refused.stderr.contains("version"), "{refused:?}");
        }
        ensure!(http::get("http://127.0.0.1:7000/api/v1/services")?.contains("\"services\":[]"));
        Ok(())
    });
}
