//! Templates, in the language of Jinja2, and the functions by which they ask for services.

mod functions;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use parking_lot::Mutex;
use portolan_core::{Protocol, Remedy, ServiceEndpoint, ServiceName, quote};

/// The instances of each service that is known.
pub(crate) type Known = BTreeMap<ServiceName, Vec<ServiceEndpoint>>;

/// The maximum number of instructions of one rendering, so that an endless loop ends.
const FUEL: u64 = 5_000_000;

/// A template that asks for services while it is rendered.
pub struct Template {
    file: PathBuf,
    environment: Environment<'static>,
    lookups: Arc<Mutex<Lookups>>,
}

/// What the functions of a template know, and what they were asked.
#[derive(Debug, Default)]
struct Lookups {
    known: Known,
    asked: BTreeSet<ServiceName>,
    url_schemes: BTreeSet<Protocol>,
    /// The service without an instance that the template needs.
    missing: Option<ServiceName>,
}

/// A template that is not valid, or that asks for what is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{detail}")]
pub struct TemplateError {
    /// The file and the line, with what separates them from the rest.
    pub(crate) place: String,
    detail: String,
}

/// What one rendering has asked for, and the text unless it has failed.
#[derive(Debug)]
pub(crate) struct Rendering {
    pub(crate) asked: BTreeSet<ServiceName>,
    /// The service without an instance because of which it has failed.
    pub(crate) missing: Option<ServiceName>,
    pub(crate) text: Result<String, TemplateError>,
}

// === impl Template ===

impl Template {
    /// Parses a template. `file` is named in errors.
    ///
    /// # Errors
    ///
    /// The text is no template; the error names the line.
    pub fn parse(file: &Path, text: &str) -> Result<Self, TemplateError> {
        let lookups = Arc::new(Mutex::new(Lookups::default()));
        let mut environment = Environment::new();
        // An address that is missing is an error, not an empty text in the output.
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_keep_trailing_newline(true);
        environment.set_fuel(Some(FUEL));
        functions::add_to(&mut environment, &lookups);
        let name = file.display().to_string();
        environment.add_template_owned(name, text.to_owned())?;
        Ok(Self { file: file.to_owned(), environment, lookups })
    }

    /// Allows URLs of further schemes.
    pub(crate) fn allow_schemes(&self, schemes: &BTreeSet<Protocol>) {
        self.lookups.lock().url_schemes.clone_from(schemes);
    }

    /// Renders the template with the services that are known. Those it asks for beside these have no instance in this rendering.
    pub(crate) fn render(&self, known: &Known) -> Rendering {
        {
            let mut lookups = self.lookups.lock();
            lookups.known.clone_from(known);
            lookups.asked.clear();
            lookups.missing = None;
        }
        let name = self.file.display().to_string();
        let template = self.environment.get_template(&name);
        let text = template.and_then(|template| template.render(()));
        let mut lookups = self.lookups.lock();
        let (asked, missing) = (std::mem::take(&mut lookups.asked), lookups.missing.take());
        Rendering { asked, missing, text: text.map_err(TemplateError::from) }
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("file", &self.file).finish_non_exhaustive()
    }
}

// === impl TemplateError ===

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> Self {
        let place = match (error.name(), error.line()) {
            (Some(name), Some(line)) => format!("{name}:{line}: "),
            _ => String::new(),
        };
        let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        let code = if error.kind() == ErrorKind::UndefinedError { code(&error) } else { None };
        Self { place, detail: detail + &code.unwrap_or_default() }
    }
}

/// The part of the template that has no value.
fn code(error: &minijinja::Error) -> Option<String> {
    let text = error.template_source()?.get(error.range()?)?;
    Some(format!(": {}", quote::bounded(text)))
}

impl Remedy for TemplateError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        None
    }
}

#[cfg(test)]
mod tests;
