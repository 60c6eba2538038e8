//! `portolan config`: checks and shows the configuration, and reads and changes the settings of services.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::runtime::Builder;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::global::Global;
use crate::{logging, output, runtime};

mod service;

/// Options of `portolan config`.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks a configuration file, together with the environment and the flags
    Check {
        /// Configuration file, instead of --config
        file: Option<PathBuf>,
    },
    /// Shows every setting in force with its origin
    Show,
    /// Prints the JSON Schema of the configuration file, for editors, or that of the settings of a service
    Schema(service::Schema),
    /// Prints the settings of a service, which the registry keeps
    Get(service::Get),
    /// Changes the settings of a service
    Set(service::Set),
    /// Lists the versions of the settings of a service
    History(service::History),
    /// Restores an earlier version of the settings of a service
    Rollback(service::Rollback),
    /// Prints the settings of a service, and each change of them
    Watch(service::Watch),
}

impl Config {
    pub(crate) fn run(self, global: &Global) -> CommandResult {
        match self.command {
            Command::Check { file } => check(global, file),
            Command::Show => show(global),
            Command::Schema(of) if of.is_of_file() => schema(),
            Command::Schema(it) => in_registry(global, async |context| it.run(context).await),
            Command::Get(it) => in_registry(global, async |context| it.run(context).await),
            Command::Set(it) => in_registry(global, async |context| it.run(context).await),
            Command::History(it) => in_registry(global, async |context| it.run(context).await),
            Command::Rollback(it) => in_registry(global, async |context| it.run(context).await),
            Command::Watch(it) => in_registry(global, async |context| it.run(context).await),
        }
    }
}

/// Runs a command that needs the registry, and therefore a valid configuration.
fn in_registry(
    global: &Global,
    command: impl AsyncFnOnce(&Context) -> CommandResult,
) -> CommandResult {
    let context = Context::load(global, None)?;
    let (settings, metrics) = (&context.settings().logging, context.metrics.clone());
    let _audit = logging::start(settings, global, "warn", metrics, false)?;
    runtime::block_on(global, &mut Builder::new_current_thread(), command(&context))
}

fn check(global: &Global, file: Option<PathBuf>) -> CommandResult {
    let context = Context::load(global, file)?;
    check_usable(&context)?;
    let has_stack = context.loaded.document.origin("services").is_some();
    let services = if has_stack { context.stack()?.services.len() } else { 0 };
    let file = context.file.as_ref().map(|file| file.display().to_string());
    match context.json {
        true => output::json(&json!({ "valid": true, "file": file, "services": services }))?,
        false => output::line(match (file, has_stack) {
            (Some(file), true) => format!("{file} is valid; its stack has {services} services"),
            (Some(file), false) => format!("{file} is valid"),
            (None, _) => "no configuration file; the defaults are in force".to_owned(),
        })?,
    }
    Ok(Exit::Done)
}

/// Checks what the settings name, as a server does when it starts.
pub(crate) fn check_usable(context: &Context) -> Result<(), Failure> {
    let settings = context.settings();
    if let Some(level) = &settings.logging.level {
        logging::filter(level)?;
    }
    settings.broadcast.check_files()?;
    portolan_server::check_certificates(&settings.service_registry)?;
    portolan_server::read_policies(&settings.service_registry)?;
    Ok(())
}

/// Written by hand, like the OpenAPI document; the tests compare it with the settings.
const SCHEMA: &str = include_str!("config/schema.json");

fn schema() -> CommandResult {
    output::line(SCHEMA.trim_end())?;
    Ok(Exit::Done)
}

fn show(global: &Global) -> CommandResult {
    let context = Context::load(global, None)?;
    let settings = context.loaded.settings()?;
    let ignored = &context.loaded.ignored_variables;
    if !ignored.is_empty() && !context.quiet {
        output::note(format_args!("ignored, because they name no setting: {}", ignored.join(", ")));
    }
    if context.json {
        output::json(&settings)?;
        return Ok(Exit::Done);
    }
    let mut table = output::table(["SETTING", "VALUE", "FROM"]);
    for setting in settings {
        table.add_row([setting.path, setting.value.to_string(), setting.origin.to_string()]);
    }
    output::line(table.trim_fmt())?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
