//! Several services that need one another: described in a file, started in order of need.

pub mod file;
mod order;

pub use file::{InvalidStack, PortWish, ServiceEntry, StackFile, scope_of_folder};
