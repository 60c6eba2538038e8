//! An axum server that keeps registrations in a map.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use axum::extract::{Path, State};
use axum::routing::put;
use axum::{Json, Router};
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::served::WITHIN;

/// The argument that makes this program such a server at the address that follows it.
pub const MAP: &str = "map";

/// The server. Dropping it ends it.
pub(super) struct Map {
    child: Child,
    address: SocketAddr,
}

#[derive(Clone, Serialize, Deserialize)]
struct Registration {
    name: String,
    host: String,
    port: u16,
    ttl: u32,
    metadata: BTreeMap<String, String>,
}

/// A registration, and when it was renewed.
type Entries = Arc<Mutex<Renewed>>;

type Renewed = HashMap<String, (Registration, Instant)>;

// === impl Map ===

impl Map {
    pub(super) fn start() -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.arg(MAP).arg(address.to_string()).spawn()?;
        let (map, began) = (Self { child, address }, Instant::now());
        while TcpStream::connect(address).is_err() {
            ensure!(began.elapsed() < WITHIN, "the axum server does not listen");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(map)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Serves until this process is killed.
pub fn serve(address: &str) -> Result<()> {
    let routes = Router::new()
        .route("/api/v1/services/{id}", put(register))
        .route("/api/v1/services/{id}/heartbeat", put(renew))
        .with_state(Entries::default());
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        Ok(axum::serve(listener, routes).await?)
    })
}

async fn register(
    State(entries): State<Entries>,
    Path(id): Path<String>,
    Json(registration): Json<Registration>,
) -> Json<Registration> {
    entries.lock().insert(id, (registration.clone(), Instant::now()));
    Json(registration)
}

async fn renew(State(entries): State<Entries>, Path(id): Path<String>) -> StatusCode {
    match entries.lock().get_mut(&id) {
        Some((_, renewed)) => {
            *renewed = Instant::now();
            StatusCode::NO_CONTENT
        }
        None => StatusCode::NOT_FOUND,
    }
}
