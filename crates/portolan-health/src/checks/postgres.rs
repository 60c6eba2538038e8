//! The check of PostgreSQL: the beginning of a session, without a password, as pg_isready does it
//! (PostgreSQL documentation, "Message Flow").

use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::{HealthReport, HealthStatus, Host, quoted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address::CheckAddress;
use crate::{Check, CheckInput, CheckKind, CheckOptions, Target};

pub(super) const KIND: CheckKind = CheckKind {
    name: "postgres",
    forms: &["postgres", "postgres:HOST:PORT"],
    url_form: Some("postgres://HOST:PORT"),
    options: &["user", "database"],
    parse,
};

/// The version of the protocol.
const VERSION: u32 = 3 << 16;
/// The user and the database unless others are given: every cluster has them by default.
const DEFAULT: &str = "postgres";
/// The maximum length of a name, as in PostgreSQL.
const MAX_NAME: usize = 63;
/// The maximum length of an error that is read, in bytes.
const MAX_ERROR: usize = 8 * 1024;

/// Begins a session and ends it before the authentication.
#[derive(Debug)]
struct Postgres {
    address: CheckAddress,
    /// The first message.
    startup: Vec<u8>,
}

/// What a server answers to the beginning of a session.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It asks for a password, or accepts the session.
    Authentication,
    /// It refuses, with this SQLSTATE.
    Error(String),
    /// The server is not PostgreSQL.
    Other,
}

fn parse(input: &mut CheckInput<'_>) -> Result<Arc<dyn Check>, String> {
    let address = CheckAddress::parse(input.value)?;
    let (user, database) = (name(input.options, "user")?, name(input.options, "database")?);
    Ok(Arc::new(Postgres { address, startup: startup(&user, &database) }))
}

fn name(options: &mut CheckOptions, option: &str) -> Result<String, String> {
    let name = options.text(option).unwrap_or(DEFAULT);
    match name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
        true => Err(format!("{option}: {} is not a name in PostgreSQL", quoted(name))),
        false => Ok(name.to_owned()),
    }
}

/// A `StartupMessage`.
fn startup(user: &str, database: &str) -> Vec<u8> {
    let mut parameters = Vec::new();
    for (name, value) in
        [("user", user), ("database", database), ("application_name", "portolan-health")]
    {
        parameters.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    parameters.push(0);
    let length = u32::try_from(parameters.len() + 8).expect("names are short");
    [&length.to_be_bytes()[..], &VERSION.to_be_bytes(), &parameters].concat()
}

impl Check for Postgres {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        self.run(target).boxed()
    }

    fn health_url(&self, host: &Host, port: u16) -> Option<String> {
        Some(self.address.url("postgres", host, port))
    }
}

impl Postgres {
    async fn run(&self, target: &Target) -> HealthReport {
        let stream = match self.address.connect(target).await {
            Ok(connected) => connected.stream,
            Err(failure) => return failure,
        };
        let address = self.address.on(target);
        match self.ask(stream).await {
            Ok(answer) => {
                let (status, meaning) = meaning_of(&answer);
                HealthReport::new(status, format!("{address}: {meaning}"))
            }
            Err(error) => HealthReport::new(HealthStatus::Critical, format!("{address}: {error}")),
        }
    }

    async fn ask(&self, mut stream: TcpStream) -> io::Result<Answer> {
        stream.write_all(&self.startup).await?;
        let mut head = [0; 5];
        if stream.read_exact(&mut head).await.is_err() {
            return Ok(Answer::Other);
        }
        let [kind, length @ ..] = head;
        let length = u32::from_be_bytes(length) as usize;
        match kind {
            b'R' if (8..MAX_ERROR).contains(&length) => {
                // Ends a session that was accepted. While it waits for a password, the server logs nothing either.
                _ = stream.write_all(b"X\0\0\0\x04").await;
                Ok(Answer::Authentication)
            }
            b'E' if (4..MAX_ERROR).contains(&length) => {
                let mut fields = vec![0; length - 4];
                stream.read_exact(&mut fields).await?;
                Ok(sqlstate(&fields).map_or(Answer::Other, Answer::Error))
            }
            _ => Ok(Answer::Other),
        }
    }
}

/// Returns the field `C` of an `ErrorResponse`.
fn sqlstate(fields: &[u8]) -> Option<String> {
    let code = fields.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"))?;
    let is_code = code.len() == 5 && code.iter().all(u8::is_ascii_alphanumeric);
    is_code.then(|| String::from_utf8_lossy(code).into_owned())
}

fn meaning_of(answer: &Answer) -> (HealthStatus, String) {
    match answer {
        Answer::Authentication => {
            (HealthStatus::Passing, "PostgreSQL accepts connections".to_owned())
        }
        Answer::Error(code) if code == "57P03" => (
            HealthStatus::Critical,
            "PostgreSQL is starting, stopping or recovering, and accepts no connections (57P03)"
                .to_owned(),
        ),
        Answer::Error(code) if code == "53300" => {
            (HealthStatus::Warning, "PostgreSQL has too many connections (53300)".to_owned())
        }
        // Such as an unknown user or database: the server is there.
        Answer::Error(code) => {
            (HealthStatus::Passing, format!("PostgreSQL answers, and refuses the session ({code})"))
        }
        Answer::Other => {
            (HealthStatus::Critical, "the answer is not that of PostgreSQL".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn startup_message_has_its_length_and_its_parameters() {
        let message = startup("ann", "shop");
        assert_eq!(message[..8], [0, 0, 0, u8::try_from(message.len()).unwrap(), 0, 3, 0, 0]);
        assert!(message[8..].starts_with(b"user\0ann\0database\0shop\0"));
        assert!(message.ends_with(b"\0\0"));
    }

    #[test]
    fn code_is_found_among_the_fields() {
        assert_eq!(sqlstate(b"SFATAL\0VFATAL\0C57P03\0Mx\0\0").as_deref(), Some("57P03"));
        for fields in [&b""[..], b"SFATAL\0\0", b"C57\0", b"C57P\xff3\0", b"C57P030\0"] {
            assert_eq!(sqlstate(fields), None, "{}", fields.escape_ascii());
        }
    }

    #[test]
    fn server_that_refuses_the_session_is_alive() {
        let status = |code: &str| meaning_of(&Answer::Error(code.to_owned())).0;
        assert_eq!(status("28000"), HealthStatus::Passing);
        assert_eq!(status("3D000"), HealthStatus::Passing);
        assert_eq!(status("53300"), HealthStatus::Warning);
        assert_eq!(status("57P03"), HealthStatus::Critical);
        assert_eq!(meaning_of(&Answer::Other).0, HealthStatus::Critical);
    }
}
