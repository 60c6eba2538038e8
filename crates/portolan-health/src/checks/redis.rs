//! The check of Redis and Valkey: `PING`, without a password.

use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::{HealthReport, HealthStatus, Host};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address::CheckAddress;
use crate::{Check, CheckKind, Target};

pub(super) const KIND: CheckKind = CheckKind {
    name: "redis",
    forms: &["redis", "redis:HOST:PORT"],
    url_form: Some("redis://HOST:PORT"),
    options: &[],
    parse: |input| Ok(Arc::new(Redis(CheckAddress::parse(input.value)?))),
};

/// What the first word of an answer means.
#[rustfmt::skip]
const ANSWERS: &[(&str, HealthStatus, &str)] = &[
    ("+PONG", HealthStatus::Passing, "Redis answers"),
    ("-NOAUTH", HealthStatus::Passing, "Redis answers, and asks for a password"),
    ("-NOPERM", HealthStatus::Passing, "Redis answers, and permits no PING"),
    ("-DENIED", HealthStatus::Warning, "Redis is in protected mode and serves its own host only"),
    ("-BUSY", HealthStatus::Warning, "Redis is busy with a script"),
    ("-MISCONF", HealthStatus::Warning, "Redis cannot write its snapshots and refuses writes"),
    ("-LOADING", HealthStatus::Critical, "Redis is loading its data"),
    ("-MASTERDOWN", HealthStatus::Critical, "Redis is a replica without a connection to its master"),
];
/// The longest first word, and what follows it.
const LONGEST: usize = 12;

/// Sends `PING`.
#[derive(Debug)]
struct Redis(CheckAddress);

impl Check for Redis {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        self.run(target).boxed()
    }

    fn health_url(&self, host: &Host, port: u16) -> Option<String> {
        Some(self.0.url("redis", host, port))
    }
}

impl Redis {
    async fn run(&self, target: &Target) -> HealthReport {
        let stream = match self.0.connect(target).await {
            Ok(connected) => connected.stream,
            Err(failure) => return failure,
        };
        let address = self.0.on(target);
        match ping(stream).await {
            Ok(answer) => {
                let (status, meaning) = meaning_of(&answer);
                HealthReport::new(status, format!("{address}: {meaning}"))
            }
            Err(error) => HealthReport::new(HealthStatus::Critical, format!("{address}: {error}")),
        }
    }
}

/// Returns the beginning of the answer.
async fn ping(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
    let mut answer = Vec::with_capacity(LONGEST);
    while answer.len() < LONGEST && !answer.contains(&b'\r') {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            break;
        }
        answer.push(byte[0]);
    }
    Ok(answer)
}

fn meaning_of(answer: &[u8]) -> (HealthStatus, &'static str) {
    let end = answer.iter().position(|byte| matches!(byte, b'\r' | b' ')).unwrap_or(answer.len());
    let known = ANSWERS.iter().find(|(word, ..)| word.as_bytes() == &answer[..end]);
    known.map_or((HealthStatus::Critical, "the answer is not that of Redis"), |known| {
        let (_, status, meaning) = *known;
        (status, meaning)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_word_of_the_answer_decides() {
        for (answer, status) in [
            ("+PONG\r", HealthStatus::Passing),
            ("-NOAUTH Auth", HealthStatus::Passing),
            ("-LOADING Red", HealthStatus::Critical),
            ("-MASTERDOWN ", HealthStatus::Critical),
            ("-MISCONF Red", HealthStatus::Warning),
            ("-ERR unknown", HealthStatus::Critical),
            ("+PONGS\r", HealthStatus::Critical),
            ("HTTP/1.1 400", HealthStatus::Critical),
            ("", HealthStatus::Critical),
        ] {
            assert_eq!(meaning_of(answer.as_bytes()).0, status, "{answer}");
        }
        assert!(ANSWERS.iter().all(|(word, ..)| word.len() < LONGEST));
    }
}
