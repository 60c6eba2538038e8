//! Files that are rendered from a template and the services that it names, for programs that read their peers from a file.
//!
//! A [`Template`] asks for services by name while it is rendered. The [`Renderer`] looks these up, writes the
//! [output](OutputFile) if it differs, and follows their changes.

mod after;
mod error;
mod instances;
mod output;
mod pid_file;
mod place;
mod renderer;
mod run_on;
mod template;
mod watches;

pub use after::{AfterChange, UnknownSignal, parse_signal};
pub use error::RenderError;
pub use output::{Outcome, OutputFile};
pub use place::PlaceError;
pub use renderer::{Renderer, RendererOptions};
pub use run_on::FILE;
pub use template::{Template, TemplateError};
