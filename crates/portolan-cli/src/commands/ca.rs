//! `portolan ca`: a small certificate authority, for registries with TLS.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[cfg(feature = "full")]
mod authority;

pub(crate) const AFTER_HELP: &str = "\
A registry with TLS, and a client that has a certificate:

  portolan ca init
  portolan ca issue registry --subject registry.example.org --subject 10.0.0.7
  portolan ca issue api --client --subject spiffe://example.org/api

`init` and `issue` print the settings that use the files. Servers and clients read changed files within a second. Keep ca.key \
secret: whoever has it can issue certificates for anyone.";

/// Options of `portolan ca`.
#[derive(Debug, Args)]
pub(crate) struct Ca {
    #[command(subcommand)]
    command: Command,
    /// Directory of the authority [default: ca in the user's configuration directory, ~/.config/portolan]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates an authority
    Init(Init),
    /// Issues a certificate and its key, NAME.pem and NAME.key in the directory; those of the name are replaced
    Issue(Issue),
    /// Revokes the certificates of a name: crl.pem lists them
    Revoke {
        /// Name of the certificate
        name: String,
    },
    /// Lists the certificates that the authority has issued
    List,
}

/// Options of `portolan ca init`.
#[derive(Debug, Args)]
struct Init {
    /// Name of the authority in its certificate [default: Portolan of USER at HOST, with the time]
    #[arg(long)]
    name: Option<String>,
    /// Days after which the certificate of the authority ends
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

/// Options of `portolan ca issue`.
#[derive(Debug, Args)]
struct Issue {
    /// Name of the files
    name: String,
    /// Host name, IP address or URI in the certificate; can be repeated. A server is reached at these hosts only
    #[arg(long, required = true, value_name = "SUBJECT")]
    subject: Vec<String>,
    /// Issue the certificate of a client instead of a server
    #[arg(long)]
    client: bool,
    /// Days after which the certificate ends
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

#[cfg(not(feature = "full"))]
impl Ca {
    pub(crate) fn run(self, _context: &crate::context::Context) -> crate::exit::CommandResult {
        Err(crate::exit::Failure::usage("certificates are not built into this version").remedy(
            "install a release of Portolan, which has them, or build it with `cargo build --release -p portolan-cli \
             --features full`",
        ))
    }
}
