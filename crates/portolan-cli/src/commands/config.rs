//! `portolan config`: is the configuration right, and what is in force?

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Global;
use crate::context::Context;
use crate::exit::{Ending, Exit, Failure};
use crate::{logging, output};

/// Options of `portolan config`.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks a configuration file, and the environment and flags with it
    Check {
        /// The file, which is read instead of --config [default: the one that every command reads]
        file: Option<PathBuf>,
    },
    /// Shows every setting in force and where it came from
    Show,
}

impl Config {
    pub(crate) fn run(self, global: &Global) -> Ending {
        match self.command {
            Command::Check { file } => check(global, file),
            Command::Show => show(global),
        }
    }
}

fn check(global: &Global, file: Option<PathBuf>) -> Ending {
    let context = Context::load(global, file)?;
    context.settings().validate().map_err(Failure::usage)?;
    if let Some(level) = &context.settings().logging.level {
        logging::filter(level)?;
    }
    let has_stack = context.loaded.document.origin("services").is_some();
    let services = match has_stack {
        true => context.stack()?.services.len(),
        false => 0,
    };
    let file = context.file.as_ref().map(|file| file.display().to_string());
    match context.json {
        true => output::json(&json!({ "valid": true, "file": file, "services": services }))?,
        false => output::line(match (file, has_stack) {
            (Some(file), true) => format!("{file} is valid; its stack has {services} services"),
            (Some(file), false) => format!("{file} is valid"),
            (None, _) => "there is no configuration file; the defaults are in force".to_owned(),
        })?,
    }
    Ok(Exit::Done)
}

fn show(global: &Global) -> Ending {
    let context = Context::load(global, None)?;
    let settings = context.loaded.settings()?;
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
