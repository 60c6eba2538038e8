//! The jobs in PostgreSQL. The table is authoritative; the queue only wakes the workers.

use anyhow::Result;
use serde::Serialize;
use tokio_postgres::{Client, Row};

/// A text to process, and its result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// The job's id.
    pub id: i64,
    /// The text.
    pub text: String,
    /// `queued` or `done`.
    pub state: String,
    /// The number of words, once the job is done.
    pub words: Option<i64>,
    /// The worker that processed the job.
    pub worker: Option<String>,
}

const COLUMNS: &str = "id, text, state, words, worker";

/// Creates the table if it does not exist.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn prepare(client: &Client) -> Result<()> {
    let table = "create table if not exists jobs (
        id bigint generated always as identity primary key,
        text text not null,
        state text not null default 'queued',
        words bigint,
        worker text)";
    Ok(client.batch_execute(table).await?)
}

/// Adds a job.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn add(client: &Client, text: &str) -> Result<Job> {
    let query = format!("insert into jobs (text) values ($1) returning {COLUMNS}");
    Ok(job(&client.query_one(&query, &[&text]).await?))
}

/// Returns the job with this id.
///
/// # Errors
/// PostgreSQL does not respond.
pub async fn find(client: &Client, id: i64) -> Result<Option<Job>> {
    let query = format!("select {COLUMNS} from jobs where id = $1");
    Ok(client.query_opt(&query, &[&id]).await?.as_ref().map(job))
}

/// Returns the ids of the queued jobs, oldest first.
///
/// # Errors
/// PostgreSQL does not respond.
pub async fn waiting(client: &Client) -> Result<Vec<i64>> {
    let query = "select id from jobs where state = 'queued' order by id";
    Ok(client.query(query, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Processes the job unless it is done already: a job may be queued twice.
///
/// # Errors
/// PostgreSQL does not respond.
pub async fn work(client: &Client, id: i64, worker: &str) -> Result<bool> {
    let Some(job) = find(client, id).await? else { return Ok(false) };
    let words = i64::try_from(job.text.split_whitespace().count())?;
    let update = "update jobs set state = 'done', words = $2, worker = $3
        where id = $1 and state = 'queued'";
    Ok(client.execute(update, &[&id, &words, &worker]).await? > 0)
}

fn job(row: &Row) -> Job {
    Job {
        id: row.get(0),
        text: row.get(1),
        state: row.get(2),
        words: row.get(3),
        worker: row.get(4),
    }
}
