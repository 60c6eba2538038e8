//! The lookups of a registry while forged datagrams arrive, compared with the same lookups without, in interleaved
//! samples. All traffic is on loopback.

mod server;

use std::io::{Write, stderr};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::report::{Goal, Row, Unit};
use crate::statistics::{median, percentile};
use server::{Client, Server, overflowed};

/// How many forged datagrams each part sends.
const DATAGRAMS: u64 = 200_000;
/// The duration of one sample.
const SAMPLE: Duration = Duration::from_millis(250);
/// The quiet samples of a part, and at least as many of the flood.
const ROUNDS: usize = 20;
const SERVICES: usize = 1000;

/// Datagrams a second; `None` is as many as the sender can send.
const RATES: [(&str, Option<u64>); 3] =
    [("5,000/s", Some(5_000)), ("20,000/s", Some(20_000)), ("as fast as possible", None)];

/// Rows for each rate of forged datagrams.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, rate) in RATES {
        rows.extend(rows_of(name, rate).with_context(|| format!("flood of {name}"))?);
    }
    Ok(rows)
}

fn rows_of(name: &str, rate: Option<u64>) -> Result<Vec<Row>> {
    let server = Server::start()?;
    let mut client = Client::connect(server.address)?;
    for number in 0..SERVICES {
        client.register(number)?;
    }
    let forged = forged(&server.genuine()?)?;
    let before = (client.dropped()?, overflowed(server.channel.port())?);
    let (floods, ends, sent) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let mut samples = Vec::new();
    std::thread::scope(|threads| -> Result<()> {
        let sender = threads.spawn(|| flood(server.channel, &forged, rate, &floods, &ends, &sent));
        let measured = (|| -> Result<()> {
            while samples.len() < ROUNDS || sent.load(Ordering::Relaxed) < DATAGRAMS {
                let quiet = client.sample()?;
                floods.store(true, Ordering::Relaxed);
                let flooded = client.sample()?;
                floods.store(false, Ordering::Relaxed);
                samples.push((quiet, flooded));
            }
            Ok(())
        })();
        ends.store(true, Ordering::Relaxed);
        sender.join().map_err(|_| anyhow::anyhow!("the sender failed"))??;
        measured
    })?;
    let sent = sent.load(Ordering::Relaxed);
    let counted = || -> Result<(u64, u64)> {
        Ok((client.dropped()? - before.0, overflowed(server.channel.port())? - before.1))
    };
    let (dropped, overflowed) = settled(counted, sent)?;
    writeln!(
        stderr(),
        "{name}: {sent} forged datagrams, {dropped} dropped by the registry, {overflowed} by the kernel"
    )?;
    ensure!(dropped + overflowed >= sent, "not every datagram is counted");
    let row = |what: &str, share, goal| {
        let micros = |values: &[u32]| f64::from(percentile(values, share)) / 1000.0;
        let ratios =
            samples.iter().map(|(quiet, flooded)| micros(flooded) / micros(quiet).max(0.001));
        let all_quiet: Vec<u32> = samples.iter().flat_map(|pair| pair.0.clone()).collect();
        let all_flooded: Vec<u32> = samples.iter().flat_map(|pair| pair.1.clone()).collect();
        Row {
            what: format!("{name}: {what}"),
            measured: Unit::Micros(micros(&all_flooded)),
            baseline: Unit::Micros(micros(&all_quiet)),
            compared: Unit::Times(median(ratios)),
            goal,
            specified: "",
        }
    };
    Ok(vec![row("lookup p50", 0.5, Goal::Unset), row("lookup p99", 0.99, Goal::AtMost(2.0))])
}

/// Polls the counters until they include every datagram.
fn settled(mut counted: impl FnMut() -> Result<(u64, u64)>, sent: u64) -> Result<(u64, u64)> {
    let began = Instant::now();
    loop {
        let (dropped, overflowed) = counted()?;
        if dropped + overflowed >= sent || began.elapsed() > Duration::from_secs(10) {
            return Ok((dropped, overflowed));
        }
        std::thread::sleep(SAMPLE / 10);
    }
}

fn flood(
    channel: SocketAddrV4,
    forged: &[Vec<u8>],
    rate: Option<u64>,
    floods: &AtomicBool,
    ends: &AtomicBool,
    sent: &AtomicU64,
) -> Result<()> {
    let socket = sender()?;
    while !ends.load(Ordering::Relaxed) {
        if !floods.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let began = Instant::now();
        let due = rate.map(|rate| rate / 1000);
        for _ in 0..due.unwrap_or(20) {
            let number = sent.load(Ordering::Relaxed) as usize;
            if socket.send_to(&forged[number % forged.len()], channel).is_ok() {
                sent.store(number as u64 + 1, Ordering::Relaxed);
            }
        }
        if due.is_some() {
            std::thread::sleep(Duration::from_millis(1).saturating_sub(began.elapsed()));
        }
    }
    Ok(())
}

fn sender() -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket.into())
}

/// Returns forged datagrams: replayed, changed, unsigned, wrongly signed, and garbage.
fn forged(genuine: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut message: serde_json::Value = serde_json::from_slice(genuine)?;
    message["service"]["host"] = "10.66.6.11".into();
    let changed = message.to_string();
    message["signature"] = "ab".repeat(32).into();
    let other_key = message.to_string();
    message.as_object_mut().context("not an object")?.remove("signature");
    let unsigned = message.to_string();
    let texts = [changed, other_key, unsigned].map(String::into_bytes);
    let garbage = [b"{garbage".to_vec(), b"[".repeat(1400), b"x".repeat(5000)];
    Ok(texts.into_iter().chain(garbage).chain([genuine.to_vec()]).collect())
}
