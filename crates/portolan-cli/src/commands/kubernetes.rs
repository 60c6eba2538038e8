//! `portolan kubernetes`: starts the program of that name, as Cargo does with its subcommands.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;
use portolan_client::environment::variable;
use portolan_core::companion_program;

use crate::context::{Context, withheld_variables};
use crate::exit::{CommandResult, Exit, Failure};

/// The program. A client of Kubernetes takes as long to build as the rest of Portolan.
const PROGRAM: &str = "portolan-kubernetes";

/// Options of `portolan kubernetes`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Kubernetes {
    /// Arguments of portolan-kubernetes; --help shows its commands
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

// === impl Kubernetes ===

impl Kubernetes {
    pub(crate) fn run(self, context: &Context) -> CommandResult {
        let Some(program) = companion_program(PROGRAM) else { return Err(missing()) };
        let mut command = Command::new(program);
        withheld_variables().for_each(|name| _ = command.env_remove(name));
        command.envs(environment(context)).args(options(context)).args(self.arguments);
        match replace_by(&mut command) {
            Ok(never) => match never {},
            Err(error) => Err(Failure::failed(format_args!("cannot start {PROGRAM}: {error}"))),
        }
    }
}

/// Signals and the exit status are then the program's own.
fn replace_by(command: &mut Command) -> io::Result<Infallible> {
    Err(command.exec())
}

/// The scope and the registry of the settings, with its token.
fn environment(context: &Context) -> impl Iterator<Item = (String, OsString)> {
    let variables = context.environment(&context.registry_url(), true).into_iter();
    let variables = variables.filter(|(name, _)| {
        [variable::SCOPE, variable::REGISTRY_URL, variable::TOKEN, variable::TOKEN_FILE]
            .contains(&name.as_str())
    });
    let tls = context.settings().discovery.tls.clone();
    let files =
        [("CA", tls.ca), ("CERTIFICATE", tls.certificate), ("KEY", tls.key), ("CRL", tls.crl)];
    let files = files.into_iter().filter_map(|(name, file)| {
        Some((format!("PORTOLAN_DISCOVERY__TLS__{name}"), file?.into_os_string()))
    });
    variables.map(|(name, value)| (name, value.into())).chain(files)
}

fn options(context: &Context) -> impl Iterator<Item = &'static str> {
    let json = context.json.then_some("--json");
    let quiet = context.quiet.then_some("--quiet");
    json.into_iter().chain(quiet)
}

fn missing() -> Failure {
    let message = format!("{PROGRAM} is neither beside portolan nor on the PATH");
    Failure::new(Exit::Usage, message).remedy(
        "install the packaged release, or build it with `cargo build --release -p portolan-kubernetes`",
    )
}
