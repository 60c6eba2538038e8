//! The subcommands of `portolan ca`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::TlsConfig;
use portolan_host_facts::{directories, user_name};
use portolan_tls::{Authority, IssuedCertificate, Purpose, Request};
use serde_json::json;

use super::{Ca, Command, Init, Issue};
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

impl Ca {
    pub(crate) fn run(self, context: &Context) -> CommandResult {
        let directory = self.dir.map_or_else(default_directory, Ok)?;
        match self.command {
            Command::Init(init) => init.run(&directory, context),
            Command::Issue(issue) => issue.run(&directory, context),
            Command::Revoke { name } => revoke(&name, &directory, context),
            Command::List => list(&directory, context),
        }
    }
}

impl Init {
    fn run(self, directory: &Path, context: &Context) -> CommandResult {
        let name = self.name.unwrap_or_else(default_name);
        let authority = Authority::create(directory, &name, days(self.days))?;
        let ca = authority.certificate();
        if context.json {
            output::json(&json!({ "name": name, "ca": ca, "crl": authority.revocations() }))?;
            return Ok(Exit::Done);
        }
        output::line(format_args!(
            "Authority {name:?} created in {}.\n\nClients trust it with the setting\n\n  discovery.tls.ca: {}",
            directory.display(),
            ca.display()
        ))?;
        Ok(Exit::Done)
    }
}

impl Issue {
    fn run(self, directory: &Path, context: &Context) -> CommandResult {
        let mut authority = Authority::open(directory)?;
        let purpose = if self.client { Purpose::Client } else { Purpose::Server };
        let lasts = days(self.days);
        let (name, subjects) = (self.name, self.subject);
        let (certificate, key) = authority.issue(&Request { name, subjects, purpose, lasts })?;
        let tls = TlsConfig {
            ca: Some(authority.certificate()),
            certificate: Some(certificate),
            key: Some(key),
            crl: Some(authority.revocations()),
        };
        if context.json {
            output::json(&tls)?;
            return Ok(Exit::Done);
        }
        let section = match purpose {
            Purpose::Server => "service_registry:\n  tls:",
            Purpose::Client => "discovery:\n  tls:",
        };
        // A server with the authority of clients asks them for certificates, which is another decision.
        let ca = tls.ca.as_deref().filter(|_| purpose == Purpose::Client);
        output::line(section)?;
        let files =
            [("ca", ca), ("certificate", tls.certificate.as_deref()), ("key", tls.key.as_deref())];
        for (setting, file) in files {
            if let Some(file) = file {
                output::line(format_args!("    {setting}: {}", file.display()))?;
            }
        }
        Ok(Exit::Done)
    }
}

fn revoke(name: &str, directory: &Path, context: &Context) -> CommandResult {
    let mut authority = Authority::open(directory)?;
    authority.revoke(name)?;
    let crl = authority.revocations();
    match context.json {
        true => output::json(&json!({ "revoked": name, "crl": crl }))?,
        false => output::line(format_args!(
            "{name} is revoked where the setting `crl` names {}",
            crl.display()
        ))?,
    }
    Ok(Exit::Done)
}

fn list(directory: &Path, context: &Context) -> CommandResult {
    let authority = Authority::open(directory)?;
    if context.json {
        output::json(&authority.issued())?;
        return Ok(Exit::Done);
    }
    let mut table = output::table(["NAME", "SUBJECTS", "STATE", "SERIAL"]);
    for issued in authority.issued() {
        let IssuedCertificate { name, serial, subjects, .. } = issued;
        table.add_row([name.clone(), subjects.join(" "), state(issued), serial.clone()]);
    }
    output::line(table)?;
    Ok(Exit::Done)
}

fn state(issued: &IssuedCertificate) -> String {
    let date = |seconds| {
        Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |at| at.to_string())
    };
    match issued.revoked_at {
        Some(at) => format!("revoked {}", date(at)),
        None if issued.not_after < Timestamp::now().as_second() => "expired".to_owned(),
        None => format!("valid until {}", date(issued.not_after)),
    }
}

fn default_directory() -> Result<PathBuf, Failure> {
    let config = directories::config_home().map(|config| config.join("portolan/ca"));
    config.ok_or_else(|| Failure::usage("no home directory is known").remedy("give --dir"))
}

/// Two authorities of one name would be taken for each other, so the name has the time.
fn default_name() -> String {
    let user = user_name(rustix::process::geteuid().as_raw());
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    format!("Portolan of {user} at {host}, {}", Timestamp::now())
}

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 24 * 3600)
}
