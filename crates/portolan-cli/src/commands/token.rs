//! `portolan token`: the tokens of a registry with policies.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use portolan_access::{ANONYMOUS, NewToken, TokenRecord, write_secret_file};
use portolan_core::{quoted, suggest};
use portolan_registry::PolicySource;
use portolan_server::LoadedPolicies;
use serde_json::json;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

mod tokens;

use tokens::Tokens;

pub(crate) const AFTER_HELP: &str = "\
A token proves an identity of the policies (service_registry.policies). The digests of the tokens are beside the file of the \
policies, or with the policies in the store of the registry; a change takes effect within a second. To replace a token, create a second one, give it to the \
client, and revoke the first:

  portolan token create api --output /run/secrets/api.token
  portolan token list
  portolan token revoke 3fa19c02";

/// Options of `portolan token`.
#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    command: Command,
    /// File of policies, or `store` for those of the registry, instead of service_registry.policies
    #[arg(long, global = true, value_name = "FILE")]
    policies: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates a token and prints it, once: only its digest is kept
    Create(Create),
    /// Lists the tokens
    List,
    /// Revokes a token
    Revoke {
        /// Id of the token, as `list` shows it
        id: String,
    },
}

/// Options of `portolan token create`.
#[derive(Debug, Args)]
struct Create {
    /// Identity that the token proves
    identity: String,
    /// Days after which the token expires
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Let the token be valid until it is revoked
    #[arg(long, conflicts_with = "days")]
    never_expires: bool,
    /// Write the token to a file that only this user can read, instead of printing it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

// === impl Token ===

impl Token {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let configured = context.settings().service_registry.policies.clone();
        let source = self.policies.map(PolicySource::from).or(configured).ok_or_else(|| {
            Failure::usage("no policies are configured").remedy(
                "set service_registry.policies, or name the file with --policies; docs/access-control.md has an example",
            )
        })?;
        let tokens = Tokens::open(source, context)?;
        match self.command {
            Command::Create(create) => create.run(&tokens, context).await,
            Command::List => list(&tokens.load().await?, context),
            Command::Revoke { id } => revoke(&tokens, &id, context).await,
        }
    }
}

impl Create {
    async fn run(self, tokens: &Tokens, context: &Context) -> CommandResult {
        let Self { identity, days, never_expires, output } = self;
        check_identity(&identity, &tokens.load().await?)?;
        // Nobody needs fractions of a second in a list.
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        let lasts = SignedDuration::from_hours(24 * i64::from(days));
        let expires = (!never_expires).then(|| now + lasts);
        let NewToken { secret, record } = NewToken::new(&identity, now, expires);
        // The digest last, so that no token is valid that nobody has.
        if let Some(path) = &output {
            write_secret_file(path, secret.expose())?;
        }
        tokens.add(&record).await?;
        let TokenRecord { id, expires, .. } = &record;
        if context.json {
            let token = output.is_none().then(|| secret.expose());
            let file = output.map(|file| file.display().to_string());
            output::json(&json!({
                "id": id, "identity": identity, "expires": expires, "token": token, "file": file,
            }))?;
            return Ok(Exit::Done);
        }
        match &output {
            None => output::line(secret.expose())?,
            Some(path) => output::line(path.display())?,
        }
        output::note(match expires {
            Some(expires) => format!("token {id} of {identity}, valid until {expires}"),
            None => format!("token {id} of {identity}, valid until it is revoked"),
        });
        Ok(Exit::Done)
    }
}

fn check_identity(identity: &str, loaded: &LoadedPolicies) -> Result<(), Failure> {
    let identities = &loaded.policies.identities;
    if identity == ANONYMOUS {
        return Err(Failure::usage("clients without an identity need no token")
            .remedy("name another identity"));
    }
    if identities.contains_key(identity) {
        return Ok(());
    }
    let names = identities.keys().map(String::as_str).filter(|name| *name != ANONYMOUS);
    let failure = Failure::usage(format_args!("there is no identity {}", quoted(identity)));
    Err(failure.remedy(match suggest(identity, names) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => "add it to `identities` in the policies".to_owned(),
    }))
}

fn list(loaded: &LoadedPolicies, context: &Context) -> CommandResult {
    let now = Timestamp::now();
    let state = |record: &TokenRecord| match record.expires {
        _ if !loaded.policies.identities.contains_key(&record.identity) => "no identity",
        Some(at) if at <= now => "expired",
        _ => "valid",
    };
    let records = loaded.tokens.records();
    if context.json {
        let entry = |record: &TokenRecord| {
            let TokenRecord { id, identity, created, expires, .. } = record;
            json!({
                "id": id, "identity": identity, "created": created, "expires": expires, "state": state(record),
            })
        };
        let tokens: Vec<_> = records.iter().map(entry).collect();
        output::json(&json!({ "tokens": tokens }))?;
        return Ok(Exit::Done);
    }
    let mut table = output::table(["ID", "IDENTITY", "CREATED", "EXPIRES", "STATE"]);
    for record in records {
        let day = |at: Timestamp| at.to_string();
        let expires = record.expires.map_or_else(|| "never".to_owned(), day);
        let TokenRecord { id, identity, created, .. } = record;
        table.add_row([id, identity, &day(*created), &expires, state(record)]);
    }
    output::line(table.trim_fmt())?;
    Ok(Exit::Done)
}

async fn revoke(tokens: &Tokens, id: &str, context: &Context) -> CommandResult {
    let Some(TokenRecord { identity, .. }) = tokens.remove(id).await? else {
        return Err(Failure::failed(format_args!("there is no token {}", quoted(id)))
            .remedy("name an id that `portolan token list` shows"));
    };
    match context.json {
        true => output::json(&json!({ "revoked": id, "identity": identity }))?,
        false => output::line(format_args!("token {id} of {identity} is revoked"))?,
    }
    Ok(Exit::Done)
}
