//! Why a file was not rendered.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use portolan_client::DiscoverError;
use portolan_core::{Remedy, ServiceName};

use crate::place::PlaceError;
use crate::run_on::FILE;
use crate::template::TemplateError;

/// Why a file was not rendered. The former file is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The template is not valid, or asks for what an instance does not have.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A service could not be looked up, was not ready in time, or has no instance although the template needs one.
    #[error("{place}{error}")]
    Discover {
        /// The place in the template, if one instance is needed there.
        place: String,
        /// The service.
        name: ServiceName,
        /// Why there is no instance.
        error: Box<DiscoverError>,
    },
    /// The services cannot be watched.
    #[error(transparent)]
    Watch(Box<DiscoverError>),
    /// The template asks for more services than are watched.
    #[error("{} asks for more than {limit} services", .template.display())]
    TooManyServices {
        /// The template.
        template: PathBuf,
        /// How many there may be.
        limit: usize,
    },
    /// A file cannot be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The path of a file leads to what is not safe to replace.
    #[error("{}: {error}", .path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// Why it is not.
        error: PlaceError,
    },
    /// The command that checks the new file has rejected it.
    #[error("`{command}` rejects the new {}: {reason}", .path.display())]
    Rejected {
        /// The command.
        command: String,
        /// The file that would have been replaced.
        path: PathBuf,
        /// The status of the command and the beginning of its output.
        reason: String,
    },
    /// The command or signal after the change has failed. The file is the new one.
    #[error("{} has changed, but {action} failed: {reason}", .path.display())]
    After {
        /// The file.
        path: PathBuf,
        /// The command or the signal.
        action: String,
        /// Why it failed.
        reason: String,
    },
}

// === impl RenderError ===

impl RenderError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, error }
    }

    pub(crate) fn place(path: impl Into<PathBuf>) -> impl FnOnce(PlaceError) -> Self {
        let path = path.into();
        move |error| match error {
            PlaceError::System(error) => Self::File { path, error },
            error => Self::Place { path, error },
        }
    }
}

impl Remedy for RenderError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Template(error) => error.remedy(),
            Self::Place { error, .. } => error.remedy(),
            Self::Discover { error, .. } | Self::Watch(error) => error.remedy(),
            Self::Rejected { .. } => {
                Some(format!("correct the template; {FILE} in the command is the new file").into())
            }
            Self::TooManyServices { .. } => Some("split the template".into()),
            Self::File { error, .. } => match error.kind() {
                io::ErrorKind::NotFound => {
                    Some("check the path, and that its directory exists".into())
                }
                io::ErrorKind::PermissionDenied => Some("let this user read and write it".into()),
                _ => None,
            },
            Self::After { .. } => None,
        }
    }
}
