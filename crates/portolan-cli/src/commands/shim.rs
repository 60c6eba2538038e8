//! `portolan shim`: the process between Portolan and a program, which `run` and `up` start.

use std::ffi::OsString;
use std::os::fd::RawFd;

use clap::Args;
use portolan_supervisor::shim::{self, ShimCommand, ShimOptions};

use crate::exit::{CommandResult, Exit, Failure};

/// Options of `portolan shim`.
#[derive(Debug, Args)]
pub(crate) struct Shim {
    #[arg(long)]
    life: RawFd,
    #[arg(long)]
    report: RawFd,
    #[arg(long)]
    group: i32,
    #[arg(long)]
    terminal: bool,
    #[arg(long)]
    uid: Option<u32>,
    #[arg(long)]
    gid: Option<u32>,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Shim {
    pub(crate) fn run(self) -> CommandResult {
        let Self { life, report, group, terminal, uid: user, gid, command } = self;
        let options = ShimOptions { life, report, group, terminal, user, gid, command };
        shim::run(&options).map_err(Failure::failed)?;
        Ok(Exit::Done)
    }
}

/// Returns what starts a shim: this program, also if its file was replaced meanwhile.
pub(crate) fn command() -> ShimCommand {
    ShimCommand { program: "/proc/self/exe".into(), arguments: vec!["shim".into()] }
}
