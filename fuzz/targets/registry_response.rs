//! Responses of a server that is not a registry: JSON or an event stream. The client accepts or
//! rejects a response, independently of how the network splits it.
//!
//! The first byte is the size of the pieces; the rest is the body, sent by a server on loopback.

#![no_main]

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;

use futures_util::StreamExt;
use libfuzzer_sys::fuzz_target;
use portolan_client::{ListQuery, RegistryClient, RegistryClientConfig, RegistryClientError, WatchRequest};
use portolan_core::{Registration, ServiceEvent, ServiceId};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

thread_local! {
    static FIXTURE: Fixture = Fixture::new();
}

fuzz_target!(|data: &[u8]| FIXTURE.with(|fixture| fixture.run(data)));

/// A client, and a server with a configurable response.
struct Fixture {
    runtime: Runtime,
    tasks: LocalSet,
    client: RegistryClient,
    answer: Rc<RefCell<Vec<u8>>>,
}

// === impl Fixture ===

impl Fixture {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let url = format!("http://{address}");
        let client = RegistryClient::new(RegistryClientConfig::new(url)).expect("a client");
        let (tasks, answer) = (LocalSet::new(), Rc::default());
        tasks.spawn_local(serve(listener, Rc::clone(&answer)));
        Self { runtime, tasks, client, answer }
    }

    fn run(&self, data: &[u8]) {
        let Some((cut, body)) = data.split_first() else { return };
        self.tasks.block_on(&self.runtime, async {
            self.read_json(body).await;
            let whole = self.watch(body, body.len()).await;
            let cut = self.watch(body, usize::from(*cut % 16) + 1).await;
            assert_eq!(cut, whole);
        });
    }

    async fn read_json(&self, body: &[u8]) {
        self.answer.replace(head("200 OK", "application/json", body.len()));
        self.answer.borrow_mut().extend_from_slice(body);
        let id: ServiceId = "api@127.0.0.1:8080".parse().expect("an id");
        if let Some(endpoint) = taken(self.client.get(&id).await) {
            Registration::from(endpoint).validate().expect("what is taken is valid");
        }
        taken(self.client.list(&ListQuery::default()).await);
        self.answer.replace(head("409 Conflict", "application/problem+json", body.len()));
        self.answer.borrow_mut().extend_from_slice(body);
        let refused = self.client.list(&ListQuery::default()).await;
        assert!(matches!(refused, Err(RegistryClientError::Refused { status: 409, .. })));
        taken(refused);
    }

    /// Returns the events and the end of the stream.
    async fn watch(&self, body: &[u8], cut: usize) -> (Vec<ServiceEvent>, String) {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                     transfer-encoding: chunked\r\n\r\n";
        let mut answer = head.to_vec();
        for piece in body.chunks(cut.max(1)) {
            answer.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            answer.extend([piece, b"\r\n"].concat());
        }
        answer.extend(b"0\r\n\r\n");
        self.answer.replace(answer);
        let mut events = Vec::new();
        let mut watch = self.client.watch(&WatchRequest::default()).await.expect("a stream");
        while let Some(event) = watch.next().await {
            match event {
                Ok(event) => events.push(event),
                Err(error) => return (events, error.to_string()),
            }
        }
        panic!("a stream that ended without a reason");
    }
}

fn head(status: &str, kind: &str, length: usize) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n")
        .into_bytes()
}

async fn serve(listener: TcpListener, answer: Rc<RefCell<Vec<u8>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(converse(stream, Rc::clone(&answer)));
    }
}

/// Responds to every request until the client closes; no request has a body.
async fn converse(stream: TcpStream, answer: Rc<RefCell<Vec<u8>>>) {
    stream.set_nodelay(true).expect("a stream");
    let mut stream = BufStream::new(stream);
    let mut line = String::new();
    while matches!(stream.read_line(&mut line).await, Ok(1..)) {
        if line == "\r\n" {
            let answer = answer.borrow().clone();
            if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
        line.clear();
    }
}

fn taken<T>(answer: Result<T, RegistryClientError>) -> Option<T> {
    answer.inspect_err(check_error).ok()
}

/// Checks that an error is short and has no control characters: it is logged and may contain the
/// server's text.
fn check_error(error: &impl Display) {
    let error = error.to_string();
    assert!(error.len() < 8_000 && !error.contains(char::is_control), "{error:?}");
}
