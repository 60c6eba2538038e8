//! The API: accepts jobs, stores them in PostgreSQL and queues them in Redis.
//!
//! The program does not use discovery itself: `portolan up` passes the addresses of its servers in
//! the environment (`POSTGRES_HOST`, `REDIS_PORT` …), as for any other program.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use portolan_example_helixcode::database::Database;
use portolan_example_helixcode::process::{log, needed, own_port, told_to_stop};
use portolan_example_helixcode::queue::Queue;
use portolan_example_helixcode::{jobs, jobs::Job};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tracing::{info, warn};

#[tokio::main]
async fn main() -> Result<()> {
    log();
    let store = Arc::new(Store::open().await?);
    let listener = TcpListener::bind(("127.0.0.1", own_port()?)).await?;
    info!(service_name = "api", port = listener.local_addr()?.port(), "listening");
    let routes = Router::new()
        .route("/jobs", post(add))
        .route("/jobs/{id}", get(find))
        .route("/health", get(health))
        .with_state(store);
    let stop = async { told_to_stop().await.unwrap_or_default() };
    Ok(axum::serve(listener, routes).with_graceful_shutdown(stop).await?)
}

/// The two servers behind the API.
struct Store {
    postgres: (String, u16),
    redis: (String, u16),
    database: Mutex<Arc<Database>>,
}

#[derive(Deserialize)]
struct NewJob {
    text: String,
}

/// Why a request failed: PostgreSQL or Redis did not respond.
struct Unavailable(anyhow::Error);

// === impl Store ===

impl Store {
    /// Connects, creates the table, and queues the jobs left over from the last run.
    async fn open() -> Result<Self> {
        let (postgres, redis) = (needed("POSTGRES")?, needed("REDIS")?);
        let database = Database::connect(&postgres.0, postgres.1).await?;
        jobs::prepare(database.client()).await?;
        let mut queue = Queue::connect(&redis.0, redis.1).await?;
        for id in jobs::waiting(database.client()).await? {
            queue.push(id).await?;
        }
        Ok(Self { postgres, redis, database: Mutex::new(Arc::new(database)) })
    }

    /// Returns the connection to PostgreSQL, reconnecting if it was lost.
    async fn database(&self) -> Result<Arc<Database>> {
        let mut database = self.database.lock().await;
        if database.is_closed() {
            *database = Arc::new(Database::connect(&self.postgres.0, self.postgres.1).await?);
        }
        Ok(Arc::clone(&database))
    }

    async fn queue(&self) -> Result<Queue> {
        Queue::connect(&self.redis.0, self.redis.1).await
    }
}

// === the requests ===

async fn add(
    State(store): State<Arc<Store>>,
    Json(new): Json<NewJob>,
) -> Result<(StatusCode, Json<Job>), Unavailable> {
    let job = jobs::add(store.database().await?.client(), &new.text).await?;
    store.queue().await?.push(job.id).await?;
    Ok((StatusCode::CREATED, Json(job)))
}

async fn find(
    State(store): State<Arc<Store>>,
    Path(id): Path<i64>,
) -> Result<Response, Unavailable> {
    let job = jobs::find(store.database().await?.client(), id).await?;
    Ok(match job {
        Some(job) => Json(job).into_response(),
        None => (StatusCode::NOT_FOUND, format!("there is no job {id}")).into_response(),
    })
}

/// Reports healthy while both servers respond.
async fn health(State(store): State<Arc<Store>>) -> Result<&'static str, Unavailable> {
    store.database().await?.client().execute("select 1", &[]).await.map_err(|e| anyhow!(e))?;
    store.queue().await?.ping().await?;
    Ok("ok")
}

impl From<anyhow::Error> for Unavailable {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        let why = format!("{:#}", self.0);
        warn!(error = why, "request failed");
        (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
    }
}
