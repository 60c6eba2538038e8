//! The constraints on a stack file that its types do not express.

use std::collections::BTreeMap;
use std::path::Path;

use portolan_core::{ServiceName, env, suggest};
use tracing::warn;

use super::entry::ServiceEntry;
use super::error::InvalidStack;
use super::file::{MAX_INSTANCES, StackFile};
use super::needs::Condition;
use super::port_spec::MainPort;
use super::terminal::StdinMode;
use super::{files, start_order};
use crate::CommandLine;
use crate::placeholders::{mentions_socket, needs_in, unknown_placeholder};
use crate::service::validate;

impl StackFile {
    /// Returns the first problem as an error.
    pub fn validate(&self) -> Result<(), InvalidStack> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns everything that is wrong with the file.
    pub fn problems(&self) -> Vec<InvalidStack> {
        if self.services.is_empty() {
            return vec![InvalidStack::Empty];
        }
        let of_entries =
            self.services.iter().flat_map(|(name, entry)| self.problems_of(name, entry));
        let cycle = start_order::levels(&self.services).err();
        of_entries.chain(cycle).collect()
    }

    /// Reads the files with environment variables, relative to the directory of the file, and returns what is wrong with them and
    /// with the directories of the services.
    pub fn resolve(&mut self, folder: &Path) -> Vec<InvalidStack> {
        let services = self.services.iter_mut();
        services.flat_map(|(name, entry)| resolve_entry(name, entry, folder)).collect()
    }

    fn problems_of(&self, service: &ServiceName, entry: &ServiceEntry) -> Vec<InvalidStack> {
        let named = || service.clone();
        let found = entry.instances;
        let is_portless = entry.port == MainPort::None;
        let checks = [
            (!(1..=MAX_INSTANCES).contains(&found))
                .then(|| InvalidStack::Instances { service: named(), found }),
            entry
                .key_without_port()
                .filter(|_| is_portless)
                .map(|key| InvalidStack::Portless { service: named(), key }),
            (entry.range.is_some() && entry.pool.is_some())
                .then(|| InvalidStack::RangeAndPool { service: named() }),
            entry.validate_drain(service).err(),
            (entry.tty && entry.stdin == StdinMode::Closed)
                .then(|| InvalidStack::StdinOfTerminal { service: named() }),
            files::validate(service, entry).err(),
            entry.validate_strict(service).err().filter(|_| !is_portless),
            self.validate_needs(service, entry).err(),
            self.validate_command(service, entry).err(),
        ];
        checks.into_iter().flatten().collect()
    }

    fn validate_command(
        &self,
        service: &ServiceName,
        entry: &ServiceEntry,
    ) -> Result<(), InvalidStack> {
        let named = || service.clone();
        let command = entry
            .command_line()
            .map_err(|problem| InvalidStack::Command { service: named(), problem })?;
        validate(&command, &entry.env, &entry.ports, entry.handoff)
            .map_err(|source| InvalidStack::Service { service: named(), source })?;
        let stop_command = entry
            .stop_command_line()
            .map_err(|problem| InvalidStack::StopCommand { service: named(), problem })?;
        if stop_command.as_ref().is_some_and(|it| mentions_socket(it, &BTreeMap::new())) {
            return Err(InvalidStack::StopCommandSocket { service: named() });
        }
        let in_command = command.words().iter().map(|word| ("command", word));
        let stop_words = stop_command.iter().flat_map(CommandLine::words);
        let in_stop_command = stop_words.map(|word| ("stop_command", word));
        let in_commands = in_command.chain(in_stop_command);
        for (key, text) in in_commands.chain(entry.env.values().map(|value| ("env", value))) {
            let needs = entry.needs.ready.iter().map(ServiceName::as_str);
            if let Some((place, similar)) = unknown_placeholder(text, &needs) {
                let service = named();
                return Err(InvalidStack::UnknownPlaceholder { service, key, place, similar });
            }
            for (need, place) in needs_in(text) {
                if entry.needs.ready.iter().any(|known| known.as_str() == need) {
                    continue;
                }
                let similar = suggest(&need, self.services.keys().map(ServiceName::as_str));
                if let Some(similar) = similar.map(str::to_owned) {
                    let service = named();
                    return Err(InvalidStack::Placeholder { service, key, place, similar });
                }
            }
        }
        Ok(())
    }

    /// A need outside the stack is allowed if it can be discovered, and is not a slip in the name of a service of the stack.
    fn validate_needs(
        &self,
        service: &ServiceName,
        entry: &ServiceEntry,
    ) -> Result<(), InvalidStack> {
        let needs = &entry.needs;
        for need in needs.names().filter(|need| !self.services.contains_key(*need)) {
            let (service, need) = (service.clone(), need.clone());
            // `redis-2` beside `redis-1` is another service.
            let digits = |name: &str| name.chars().filter(char::is_ascii_digit).collect::<String>();
            let names = self.services.keys().map(ServiceName::as_str);
            let known = names.filter(|name| digits(name) == digits(need.as_str()));
            if let Some(similar) = suggest(need.as_str(), known).map(str::to_owned) {
                return Err(InvalidStack::NeedsSimilar { service, need, similar });
            }
            if needs.others.iter().any(|(name, _)| *name == need) {
                return Err(InvalidStack::NeedsForeign { service, need });
            }
        }
        let endless = |(need, condition): &&(ServiceName, Condition)| {
            let needed = self.services.get(need);
            *condition == Condition::Completed && needed.is_some_and(|it| it.restart.is_endless())
        };
        if let Some((need, _)) = needs.others.iter().find(endless).cloned() {
            return Err(InvalidStack::NeedsEndless { service: service.clone(), need });
        }
        let portless = |need: &&ServiceName| {
            self.services.get(*need).is_some_and(|needed| needed.port == MainPort::None)
        };
        if let Some(need) = needs.ready.iter().find(portless).cloned() {
            return Err(InvalidStack::NeedsPortless { service: service.clone(), need });
        }
        env::check(&needs.ready, "")
            .map_err(|source| InvalidStack::Variables { service: service.clone(), source })
    }
}

fn resolve_entry(
    service: &ServiceName,
    entry: &mut ServiceEntry,
    folder: &Path,
) -> Vec<InvalidStack> {
    let mut problems = Vec::new();
    if let Some(directory) = &entry.directory
        && !folder.join(directory).is_dir()
    {
        let (service, directory) = (service.clone(), directory.clone());
        problems.push(InvalidStack::Directory { service, directory });
    }
    if let Err(problem) = entry.account() {
        problems.push(InvalidStack::Account { service: service.clone(), problem });
    }
    match entry.env_file.read(folder) {
        Ok(variables) => {
            let own = entry.port_variables();
            for (name, value) in variables {
                if own.contains(&name) {
                    // Such a file is often also for other ways to start the program.
                    warn!(%service, variable = name, "Variable of env_file not used, the leased port precedes it");
                    continue;
                }
                entry.env.entry(name).or_insert(value);
            }
        }
        Err(problem) => {
            let service = service.clone();
            problems.push(InvalidStack::EnvFile { service, problem });
        }
    }
    problems
}
