//! Datagrams of another host on the broadcast channel: queries that are to flood a third one, a forged source, and a recording that is sent on
//! another channel.

use anyhow::{Result, ensure};
use portolan_tests::{Host, isolated, wait_for};

const KEY: (&str, &str) = ("PORTOLAN_BROADCAST_KEY", "a key that only the hosts of this test know");

/// `query SPACES`: sends one query for all services, and prints how many bytes it has and how many came back within a second.
/// `announce SOURCE`: announces a service from this address. `record`: prints `listening`, then sends what is heard on the
/// channel to another one.
const SENDER: &str = r#"
import datetime, json, socket, struct, sys, time
GROUP, OTHER, PORT = "239.255.0.1", "239.1.2.3", 7001
NOW = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")

def sender(source):
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.bind((source, 0))
    out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.77.0.2"))
    return out

if sys.argv[1] == "query":
    query = {"type": "service_query", "query_id": "q" + sys.argv[2], "all": True, "timestamp": NOW, "ttl": 5}
    query = json.dumps(query).encode() + b" " * int(sys.argv[2])
    out, received, until = sender("10.77.0.2"), 0, time.monotonic() + 1
    out.sendto(query, (GROUP, PORT))
    while (left := until - time.monotonic()) > 0:
        out.settimeout(left)
        try:
            received += len(out.recv(65536))
        except TimeoutError:
            pass
    print(len(query), received)
elif sys.argv[1] == "announce":
    service = {"name": "forged", "host": "10.77.0.2", "port": 6666}
    message = {"type": "service_announcement", "service": service, "timestamp": NOW, "ttl": 60}
    sender(sys.argv[2]).sendto(json.dumps(message).encode(), (GROUP, PORT))
else:
    heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    heard.bind((GROUP, PORT))
    member = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton("10.77.0.2"))
    heard.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    print("listening", flush=True)
    sender("10.77.0.2").sendto(heard.recv(65536), (OTHER, PORT))
"#;

/// Returns how many datagrams the registry on a host has dropped for this reason.
fn dropped(host: &Host<'_>, reason: &str) -> Result<f64> {
    let page = host.shell("curl -sf http://127.0.0.1:7000/metrics")?.stdout;
    let sample = format!("discovery_broadcast_dropped_total{{reason=\"{reason}\"}} ");
    let count = page.lines().find_map(|line| line.strip_prefix(sample.as_str()));
    Ok(count.unwrap_or("0").parse()?)
}

#[test]
fn unsigned_query_of_another_host_gets_at_most_three_times_its_size() {
    isolated(|env| {
        let (holder, other) = (env.host(1)?, env.host(2)?);
        let script = env.write("sender.py", SENDER)?.display().to_string();
        let command = ["python3", "-m", "http.server", "{port}"];
        let mut services = Vec::new();
        for name in ["one", "two", "three", "four", "five", "six"] {
            services.push(holder.service(name, &["--host", "10.77.0.1"], &command)?);
        }
        let ask = |spaces: u32| -> Result<(u32, u32)> {
            let sent = other.shell(&format!("python3 {script} query {spaces}"))?.stdout;
            let mut numbers = sent.split_whitespace().map(str::parse::<u32>);
            let (size, received) = (numbers.next(), numbers.next());
            Ok((size.unwrap_or(Ok(0))?, received.unwrap_or(Ok(0))?))
        };
        wait_for("all services to be found by the command", || {
            let found = other.portolan(&["list"])?.run()?;
            ensure!(
                services.len() == 6
                    && found.stdout.lines().filter(|line| line.contains("10.77.0.1")).count() == 6,
                "{found:?}"
            );
            Ok(())
        })?;
        // Each `run` is a process of its own, which responds for itself.
        let (size, received) = ask(0)?;
        ensure!(received <= 6 * 3 * size, "{received} bytes for a query of {size}");
        let (size, received) = ask(1000)?;
        ensure!(received > 0, "nothing for a query of {size}");
        Ok(())
    });
}

#[test]
fn datagram_with_a_source_of_another_network_is_dropped() {
    isolated(|env| {
        let (own, other) = (env.host(1)?, env.host(2)?);
        let script = env.write("sender.py", SENDER)?.display().to_string();
        let _registry = own.registry(&[])?;
        other.shell("ip addr add 192.0.2.9/32 dev lo")?;
        wait_for("the datagram to be dropped", || {
            other.shell(&format!("python3 {script} announce 192.0.2.9"))?;
            ensure!(dropped(&own, "network")? > 0.0);
            Ok(())
        })?;
        let list = || own.shell("curl -sf http://127.0.0.1:7000/api/v1/services");
        ensure!(!list()?.stdout.contains("forged"), "{}", list()?.stdout);
        wait_for("the same from an attached network to be accepted", || {
            other.shell(&format!("python3 {script} announce 10.77.0.2"))?;
            ensure!(list()?.stdout.contains("forged"), "{}", list()?.stdout);
            Ok(())
        })
    });
}

#[test]
fn recording_is_not_accepted_on_another_channel_with_the_same_key() {
    isolated(|env| {
        let (own, other, owner) = (env.host(1)?, env.host(2)?, env.host(3)?);
        let script = env.write("sender.py", SENDER)?.display().to_string();
        let channel = ["--set", "broadcast.multicast_address=239.1.2.3:7001"];
        let serve = own.portolan(&["serve", "--listen", "0.0.0.0:7000"])?.args(&channel);
        let mut registry = serve.env(KEY.0, KEY.1).spawn("registry")?;
        registry.wait_until("the registry to be ready", || dropped(&own, "other_channel"))?;
        let mut recorder = other.spawn("recorder", &["python3", &script, "record"])?;
        recorder.wait_for_line("listening")?;
        let announce = |channel: &[&str]| {
            let what = ["announce", "api", "--host", "10.77.0.3", "--port", "8080"];
            owner.portolan(&what)?.args(channel).env(KEY.0, KEY.1).run()?.exits(0)
        };
        announce(&[])?;
        recorder.wait(portolan_tests::TIMEOUT)?.exits(0)?;
        wait_for("the recording to be dropped", || {
            ensure!(dropped(&own, "other_channel")? > 0.0);
            Ok(())
        })?;
        let list = || own.shell("curl -sf http://127.0.0.1:7000/api/v1/services");
        ensure!(!list()?.stdout.contains("api"), "{}", list()?.stdout);
        wait_for("the same on its own channel to be accepted", || {
            announce(&channel)?;
            ensure!(list()?.stdout.contains("api"), "{}", list()?.stdout);
            Ok(())
        })
    });
}
