//! The stack that the configuration file describes.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;

use portolan_config_manager::{ConfigError, Entries, Loaded, Origin};
use portolan_core::Remedy as _;
use portolan_server::Settings;
use portolan_supervisor::stack::{
    ServiceEntry, StackFile, hint_for, parse_env_file, read_env_file,
};

use super::{Context, directory_of};
use crate::config_file::{ConfigFile, Place};
use crate::exit::{Exit, Failure};

/// The file beside the stack file whose variables the stack file may use.
const VARIABLES: &str = ".env";

/// The variables of a stack file: those of the environment, else those of `.env` beside it.
struct Variables<'a> {
    file: Option<&'a ConfigFile>,
    /// Read when the first variable is not in the environment.
    of_file: OnceCell<Result<BTreeMap<String, String>, Failure>>,
}

impl Context {
    /// Returns the stack that the configuration file describes. The error names everything that is wrong with it.
    pub(crate) fn stack(&self) -> Result<StackFile, Failure> {
        let mut document = self.loaded.document.clone();
        let variables = Variables::new(self.source.as_ref());
        let mut problems = document.interpolate("services", &|name| variables.get(name));
        variables.finish()?;
        // An error that follows from an invalid value is not reported again.
        let unknown: Vec<String> = problems.iter().map(|problem| problem.path.clone()).collect();
        let is_known = |path: &str| !unknown.iter().any(|unknown| unknown.starts_with(path));

        let Entries { valid, problems: invalid } = document.entries("services");
        let is_complete = invalid.is_empty();
        problems.extend(invalid.into_iter().filter(|problem| is_known(&problem.path)));
        let mut stack = StackFile {
            name: document.section("name")?,
            services: valid.into_iter().collect::<BTreeMap<_, ServiceEntry>>(),
        };
        let file = self.file.as_deref().unwrap_or(Path::new("."));
        let found = stack.resolve(&directory_of(file)?).into_iter().chain(stack.problems());
        let found = found.filter(|problem| is_complete || !problem.is_of_whole_stack());
        problems.extend(found.filter(|problem| is_known(&problem.path())).map(|problem| {
            let remedy = problem.remedy().map(Cow::into_owned);
            document.problem(&problem.path(), problem.to_string(), remedy)
        }));
        problems.sort_by_key(|problem| match &problem.origin {
            Origin::File { line, column, .. } => (*line, *column),
            _ => (0, 0),
        });
        match problems.is_empty() {
            true => Ok(stack),
            false => Err(with_hints(ConfigError::Settings(problems)).into()),
        }
    }
}

/// Adds what takes the place of words that other programs have for a setting.
pub(super) fn with_hints(mut error: ConfigError) -> ConfigError {
    if let ConfigError::Settings(problems) = &mut error {
        for problem in problems {
            if problem.remedy.is_none()
                && let Some(hint) = hint_for(&problem.path, &problem.message)
            {
                problem.remedy = Some(format!("{}: {hint}", problem.path));
            }
        }
    }
    error
}

/// Replaces the variables in the name of the stack.
pub(super) fn interpolate_name(
    loaded: &mut Loaded<Settings>,
    file: Option<&ConfigFile>,
) -> Result<(), Failure> {
    let variables = Variables::new(file);
    let problems = loaded.document.interpolate("name", &|name| variables.get(name));
    variables.finish()?;
    match problems.is_empty() {
        true => Ok(()),
        false => Err(ConfigError::Settings(problems).into()),
    }
}

// === impl Variables ===

impl<'a> Variables<'a> {
    fn new(file: Option<&'a ConfigFile>) -> Self {
        Self { file, of_file: OnceCell::new() }
    }

    fn get(&self, name: &str) -> Option<String> {
        let of_file = || self.of_file.get_or_init(|| self.read()).as_ref().ok()?.get(name).cloned();
        std::env::var(name).ok().or_else(of_file)
    }

    /// Returns why the file could not be read, if it was needed.
    fn finish(self) -> Result<(), Failure> {
        self.of_file.into_inner().transpose().map(drop)
    }

    fn read(&self) -> Result<BTreeMap<String, String>, Failure> {
        let Some(file) = self.file else { return Ok(BTreeMap::new()) };
        let path = directory_of(&file.path)?.join(VARIABLES);
        if !path.exists() {
            return Ok(BTreeMap::new());
        }
        let variables = match file.place {
            Place::Named => read_env_file(&path),
            place => {
                let read = ConfigFile::read(path.clone(), place)?;
                parse_env_file(&read.contents.unwrap_or_default(), &path)
            }
        };
        variables.map_err(|error| Failure::from_error(Exit::Usage, &error))
    }
}
