//! The lookups of a registry while forged datagrams arrive, compared with the same lookups without, in interleaved
//! samples. All traffic is on loopback.
//!
//! The sender uses a processor of the same machine. What that alone costs is measured too: with the same datagrams sent
//! to a group that nobody has joined.

pub(crate) mod server;

use std::io::{Write, stderr};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::report::{Goal, Row};
use server::{Client, Server, overflowed};

/// How many forged datagrams each part sends.
const DATAGRAMS: u64 = 200_000;
/// The duration of one sample.
const SAMPLE: Duration = Duration::from_millis(250);
/// The quiet samples of a part, and at least as many of the flood.
const ROUNDS: usize = 20;
const SERVICES: usize = 1000;
/// The group of the sender's control, which nobody has joined.
const DESERTED: Ipv4Addr = Ipv4Addr::new(239, 255, 0, 2);

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

/// What the sender does.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Phase {
    Quiet,
    /// It sends to a group that nobody has joined.
    Elsewhere,
    Flood,
    Ended,
}

/// The lookups of one round in nanoseconds.
struct Round {
    quiet: Vec<u32>,
    elsewhere: Vec<u32>,
    flooded: Vec<u32>,
}

type Part = fn(&Round) -> &Vec<u32>;

fn rows_of(name: &str, rate: Option<u64>) -> Result<Vec<Row>> {
    let server = Server::start()?;
    let mut client = Client::connect(server.address)?;
    for number in 0..SERVICES {
        client.register(number)?;
    }
    let forged = forged(&server.genuine()?)?;
    let before = (client.dropped()?, overflowed(server.channel.port())?);
    let (phase, sent) = (AtomicU8::new(Phase::Quiet as u8), AtomicU64::new(0));
    let mut rounds = Vec::new();
    std::thread::scope(|threads| -> Result<()> {
        let sender = threads.spawn(|| flood(server.channel, &forged, rate, &phase, &sent));
        let mut sample = |during: Phase| {
            phase.store(during as u8, Ordering::Relaxed);
            client.sample()
        };
        let measured = (|| -> Result<()> {
            while rounds.len() < ROUNDS || sent.load(Ordering::Relaxed) < DATAGRAMS {
                rounds.push(Round {
                    quiet: sample(Phase::Quiet)?,
                    elsewhere: sample(Phase::Elsewhere)?,
                    flooded: sample(Phase::Flood)?,
                });
            }
            Ok(())
        })();
        phase.store(Phase::Ended as u8, Ordering::Relaxed);
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
    let quiet: Part = |round| &round.quiet;
    let elsewhere: Part = |round| &round.elsewhere;
    let flooded: Part = |round| &round.flooded;
    let row = |what: &str, share, measured: Part, baseline: Part, goal| {
        let sides = rounds.iter().map(|round| [&measured(round)[..], &baseline(round)[..]]);
        Row::latency(format!("{name}: {what}"), share, sides, goal)
    };
    Ok(vec![
        row("lookup p50", 0.5, flooded, quiet, Goal::Unset),
        row("lookup p99", 0.99, flooded, quiet, Goal::AtMost(2.0)),
        row("p99, sender alone", 0.99, elsewhere, quiet, Goal::Unset),
        row("p99, to sender alone", 0.99, flooded, elsewhere, Goal::Unset),
    ])
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
    phase: &AtomicU8,
    sent: &AtomicU64,
) -> Result<()> {
    const ELSEWHERE: u8 = Phase::Elsewhere as u8;
    const FLOOD: u8 = Phase::Flood as u8;
    let socket = sender()?;
    let deserted = SocketAddrV4::new(DESERTED, channel.port());
    let mut number = 0;
    loop {
        let (to, counted) = match phase.load(Ordering::Relaxed) {
            ELSEWHERE => (deserted, 0),
            FLOOD => (channel, 1),
            ended if ended == Phase::Ended as u8 => return Ok(()),
            _ => {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
        };
        let began = Instant::now();
        let due = rate.map(|rate| rate / 1000);
        for _ in 0..due.unwrap_or(20) {
            number = (number + 1) % forged.len();
            if socket.send_to(&forged[number], to).is_ok() {
                sent.fetch_add(counted, Ordering::Relaxed);
            }
        }
        if due.is_some() {
            std::thread::sleep(Duration::from_millis(1).saturating_sub(began.elapsed()));
        }
    }
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
