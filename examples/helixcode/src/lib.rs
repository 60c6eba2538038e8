//! What the programs of the example share: where the servers are, what a job is, and how a
//! program starts and ends.

pub mod database;
pub mod jobs;
pub mod process;
pub mod queue;
