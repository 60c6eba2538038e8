//! Every channel between the parts of a registry server.
//!
//! ```text
//! broadcast channel ---- import ----> registry writer
//! registry events ------ health ----> health monitor --- reports ---> registry writer
//! ```

mod health;
mod import;

pub(crate) use health::health;
pub(crate) use import::import;
