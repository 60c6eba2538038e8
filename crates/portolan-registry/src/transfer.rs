//! Moves the data of a registry between stores, through a file of JSON lines.

mod export;
mod import;

pub use export::{Export, InvalidExport};
pub use import::{ImportError, ImportReport, import};
