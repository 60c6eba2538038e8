//! `portolan config get|set|history|rollback|watch|schema NAME`: the settings of services, in the registry.

use std::fs::File;
use std::io::{Read as _, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use portolan_client::{SettingsClient, SettingsVersion};
use portolan_core::ServiceName;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::{output, shutdown};

/// The longest file that is read; a registry accepts less.
const LONGEST: u64 = 1 << 20;

#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
pub(crate) struct Get {
    /// Name of the service
    name: ServiceName,
    /// Member to print, such as workers or db.host [default: all]
    key: Option<String>,
    /// A version that is kept [default: the newest]
    #[arg(long)]
    version: Option<u64>,
}

#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
pub(crate) struct Set {
    /// Name of the service
    name: ServiceName,
    /// Members to change, such as workers=4 or db.host=10.0.0.7; null removes one. A value that is not JSON is a text
    #[arg(value_name = "KEY=VALUE", required_unless_present_any = ["file", "delete"])]
    members: Vec<String>,
    /// File with all settings as a JSON object, or in YAML if its name ends in .yaml or .yml, which replaces them; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "members")]
    file: Option<PathBuf>,
    /// Delete the settings; their versions are kept
    #[arg(long, conflicts_with_all = ["members", "file"])]
    delete: bool,
    /// Change only if this is the newest version; 0: only if there are none
    #[arg(long, value_name = "VERSION")]
    version: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Name of the service
    name: ServiceName,
}

#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
pub(crate) struct Rollback {
    /// Name of the service
    name: ServiceName,
    /// Version whose value is restored, as a new version
    version: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Name of the service
    name: ServiceName,
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Name of a service: shows or changes the schema of its settings [default: that of the configuration file]
    name: Option<ServiceName>,
    /// File with the JSON Schema that the settings must meet; - is standard input
    #[arg(long, value_name = "FILE", requires = "name")]
    file: Option<PathBuf>,
    /// Remove the schema
    #[arg(long, requires = "name", conflicts_with = "file")]
    remove: bool,
}

impl Get {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let client = client(context, &self.name)?;
        let found = match self.version {
            None => client.get().await?,
            Some(version) => client.history().await?.into_iter().find(|it| it.version == version),
        };
        let found = found.and_then(|found| found.value.clone().map(|value| (found, value)));
        let (found, value) = found.ok_or_else(|| none(context, &self.name, self.version))?;
        let Some(key) = &self.key else {
            match context.json {
                true => output::json(&found)?,
                false => output::line(pretty(&value)?)?,
            }
            return Ok(Exit::Done);
        };
        let member = key.split('.').try_fold(&value, |value, part| value.get(part));
        match member.ok_or_else(|| no_member(&self.name, key, &value))? {
            Value::String(text) if !context.json => output::line(text)?,
            member if context.json => output::json(member)?,
            member => output::line(member)?,
        }
        Ok(Exit::Done)
    }
}

impl Set {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let client = client(context, &self.name)?;
        let done = if self.delete {
            client.delete(self.version).await?
        } else if let Some(file) = &self.file {
            client.set(&read(file)?, self.version).await?
        } else {
            client.patch(&patch(&self.members)?, self.version).await?
        };
        report(context, &done)
    }
}

impl History {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let versions = client(context, &self.name)?.history().await?;
        if context.json {
            output::json(&json!({ "versions": versions }))?;
            return Ok(Exit::Done);
        }
        let mut table = output::table(["VERSION", "TIME", "AUTHOR", "ACTION", "VALUE"]);
        for it in versions {
            let at = it.at.map(|at| format!("{at:.0}")).unwrap_or_default();
            let action = match (it.action.unwrap_or_default(), it.from) {
                (action, Some(from)) => format!("{action} to {from}"),
                (action, None) => action,
            };
            let value = it.value.map(|value| value.to_string()).unwrap_or_default();
            let value: String = value.chars().take(60).collect();
            table.add_row([
                it.version.to_string(),
                at,
                it.author.unwrap_or_default(),
                action,
                value,
            ]);
        }
        output::line(table.trim_fmt())?;
        Ok(Exit::Done)
    }
}

impl Rollback {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let done = client(context, &self.name)?.roll_back(self.version, None).await?;
        report(context, &done)
    }
}

impl Watch {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let mut watch = client(context, &self.name)?.watch();
        let mut stop = shutdown::signals()?;
        loop {
            let settings = tokio::select! {
                settings = watch.next() => settings?,
                () = stop.wait() => return Ok(Exit::Done),
            };
            match context.json {
                true => output::json(&settings)?,
                false => {
                    let value = settings.value.unwrap_or_default();
                    output::line(format_args!("{} {value}", settings.version))?;
                }
            }
        }
    }
}

impl Schema {
    /// Whether it is the schema of the configuration file that is meant.
    pub(crate) fn is_of_file(&self) -> bool {
        self.name.is_none()
    }

    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let Some(name) = &self.name else { return Ok(Exit::Done) };
        let client = client(context, name)?;
        if self.remove {
            return report(context, &client.set_schema(None, None).await?);
        }
        if let Some(file) = &self.file {
            return report(context, &client.set_schema(Some(&read(file)?), None).await?);
        }
        let schema = client.schema().await?.ok_or_else(|| {
            Failure::new(Exit::NotFound, format_args!("the settings of {name} have no schema"))
                .remedy(format!("set one with `portolan config schema {name} --file FILE`"))
        })?;
        match context.json {
            true => output::json(&schema)?,
            false => output::line(pretty(&schema)?)?,
        }
        Ok(Exit::Done)
    }
}

fn client(context: &Context, name: &ServiceName) -> Result<SettingsClient, Failure> {
    Ok(context.registry()?.settings(name.clone(), context.scope.clone()))
}

fn report(context: &Context, done: &SettingsVersion) -> CommandResult {
    if context.json {
        output::json(done)?;
    } else if !context.quiet {
        output::note(format_args!(
            "the settings of {} have the version {}",
            done.name, done.version
        ));
    }
    Ok(Exit::Done)
}

fn none(context: &Context, name: &ServiceName, version: Option<u64>) -> Failure {
    let scope = &context.scope;
    let failure = |text: String| Failure::new(Exit::NotFound, text);
    match version {
        Some(version) => {
            failure(format!("{name} in the scope {scope} has no settings of version {version}"))
                .remedy("choose a version that `portolan config history` shows")
        }
        None => failure(format!("{name} in the scope {scope} has no settings"))
            .remedy("set them with `portolan config set`, or name another scope with --scope"),
    }
}

fn no_member(name: &ServiceName, key: &str, value: &Value) -> Failure {
    let names = value.as_object().map(|members| members.keys().cloned().collect::<Vec<_>>());
    let names = names.unwrap_or_default().join(", ");
    Failure::new(Exit::NotFound, format_args!("the settings of {name} have no member {key}"))
        .remedy(format!("choose one of {names}"))
}

/// The merge patch of `KEY=VALUE` arguments, in which a dot in a key leads into an object.
fn patch(members: &[String]) -> Result<Value, Failure> {
    let mut patch = Map::new();
    for member in members {
        let (key, text) = member.split_once('=').ok_or_else(|| invalid(member, "it has no '='"))?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let mut parts: Vec<_> = key.split('.').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(invalid(member, "a part of the key is empty"));
        }
        let last = parts.pop().unwrap_or_default();
        let mut object = &mut patch;
        for part in parts {
            let inner = object.entry(part).or_insert_with(|| Value::Object(Map::new()));
            object = inner
                .as_object_mut()
                .ok_or_else(|| invalid(member, "a part of the key has a value"))?;
        }
        if object.insert(last.to_owned(), value).is_some() {
            return Err(invalid(member, "the key is given twice"));
        }
    }
    Ok(Value::Object(patch))
}

fn invalid(member: &str, problem: &str) -> Failure {
    Failure::usage(format_args!("invalid member {member}: {problem}"))
        .remedy("write KEY=VALUE, such as workers=4 or db.host=10.0.0.7")
}

/// Reads a file that is one JSON object as a whole, or its equivalent in YAML. Half a file of YAML can be valid, so its name must
/// say what it is.
fn read(file: &Path) -> Result<Value, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::usage(format_args!("cannot read {}: {error}", file.display()))
    };
    let mut text = Vec::new();
    let read = match file == Path::new("-") {
        true => stdin().lock().take(LONGEST).read_to_end(&mut text),
        false => File::open(file).and_then(|file| file.take(LONGEST).read_to_end(&mut text)),
    };
    read.map_err(|error| failed(&error))?;
    let remedy = "give a file with one JSON object; nothing was changed";
    if file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
        return serde_saphyr::from_slice(&text).map_err(|error| failed(&error).remedy(remedy));
    }
    serde_json::from_slice(&text).map_err(|error| failed(&error).remedy(remedy))
}

fn pretty(value: &Value) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(Failure::failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(members: &[&str]) -> Result<Value, Failure> {
        patch(&members.iter().map(|&member| member.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn members_make_a_merge_patch() {
        let patch =
            of(&["workers=4", "db.host=10.0.0.7", "db.tls=true", "log=null", "q=a=b", "s=\"4\""]);
        let expected = json!({
            "workers": 4, "db": {"host": "10.0.0.7", "tls": true}, "log": null, "q": "a=b", "s": "4",
        });
        assert_eq!(patch.unwrap(), expected);
        for wrong in [&["workers"][..], &["=4"], &["a..b=1"], &["a=1", "a.b=2"], &["a=1", "a=2"]] {
            of(wrong).unwrap_err();
        }
    }
}
