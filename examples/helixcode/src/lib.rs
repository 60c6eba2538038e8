//! What the programs of the example share: connections, jobs, start and shutdown.

pub mod database;
pub mod jobs;
pub mod process;
pub mod queue;
