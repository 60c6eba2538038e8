//! A DNS server over UDP for tests.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

/// How it answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// From its records.
    Records,
    /// With this code and nothing else.
    Code(ResponseCode),
    /// With these bytes after the query's own id.
    Bytes(Vec<u8>),
    /// Not at all.
    Nothing,
}

pub(crate) struct FakeDns {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: AbortOnDropHandle<()>,
}

struct State {
    records: HashMap<(Name, RecordType), Vec<RData>>,
    refused: HashMap<Name, ResponseCode>,
    reply: Reply,
    asked: Vec<String>,
}

// === impl FakeDns ===

impl FakeDns {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (records, refused, asked) = (HashMap::new(), HashMap::new(), Vec::new());
        let state = State { records, refused, reply: Reply::Records, asked };
        let state = Arc::new(Mutex::new(state));
        let of_server = Arc::clone(&state);
        let server = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let answer = of_server.lock().answer(&buffer[..length]);
                if let Some(answer) = answer {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { address, state, _server: AbortOnDropHandle::new(server) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a SRV record: priority, weight, port, target.
    pub(crate) fn srv(&self, name: &str, (priority, weight, port, target): (u16, u16, u16, &str)) {
        let srv = SRV::new(priority, weight, port, target.parse().unwrap());
        self.add(name, RecordType::SRV, RData::SRV(srv));
    }

    pub(crate) fn host(&self, name: &str, address: &str) {
        match address.parse().unwrap() {
            IpAddr::V4(address) => self.add(name, RecordType::A, RData::A(A(address))),
            IpAddr::V6(address) => self.add(name, RecordType::AAAA, RData::AAAA(AAAA(address))),
        }
    }

    /// Answers questions for the name with this code.
    pub(crate) fn refuse(&self, name: &str, code: ResponseCode) {
        self.state.lock().refused.insert(name.parse().unwrap(), code);
    }

    pub(crate) fn reply(&self, reply: Reply) {
        self.state.lock().reply = reply;
    }

    /// Returns the questions so far: type and name.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().asked.clone()
    }

    fn add(&self, name: &str, of_type: RecordType, data: RData) {
        let name: Name = name.parse().unwrap();
        self.state.lock().records.entry((name, of_type)).or_default().push(data);
    }
}

// === impl State ===

impl State {
    /// Returns the name, or the wildcard that stands for it (RFC 4592).
    fn closest(&self, name: &Name) -> Name {
        let is_known = |name: &Name| {
            self.refused.contains_key(name) || self.records.keys().any(|(known, _)| known == name)
        };
        let wildcard = name.clone().into_wildcard();
        match !is_known(name) && is_known(&wildcard) {
            true => wildcard,
            false => name.clone(),
        }
    }

    fn answer(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries[0].clone();
        self.asked.push(format!("{} {}", question.query_type(), question.name()));
        let mut answer = Message::response(query.id, OpCode::Query);
        answer.add_query(question.clone());
        answer.metadata.recursion_available = true;
        match &self.reply {
            Reply::Nothing => return None,
            Reply::Bytes(bytes) => {
                return Some([&query.id.to_be_bytes()[..], bytes].concat());
            }
            Reply::Code(code) => answer.metadata.response_code = *code,
            Reply::Records => {
                let name = self.closest(question.name());
                let key = (name.clone(), question.query_type());
                let found = self.records.get(&key).cloned().unwrap_or_default();
                if let Some(code) = self.refused.get(&name) {
                    answer.metadata.response_code = *code;
                } else if !self.records.keys().any(|(known, _)| *known == name) {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                }
                for data in found {
                    answer.add_answer(Record::from_rdata(question.name().clone(), 60, data));
                }
            }
        }
        Some(answer.to_vec().unwrap())
    }
}
