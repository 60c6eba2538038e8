//! The channels between the components of a registry server.
//!
//! ```text
//! broadcast channel ---- import ----> registry commands
//! registry events ------ health ----> health monitor --- reports ---> registry commands
//! ```

mod health;
mod import;

pub(crate) use health::health;
pub(crate) use import::import;
