//! Another boot of this machine, as programs see it: the system tells another boot id.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::PortolanCommand;
use crate::env::TestEnv;

/// Where the system tells the id.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Puts a file of ours there, for the one program that is started and its children.
const SCRIPT: &str = r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#;

/// A boot that programs can be started in.
#[derive(Debug)]
pub struct SimulatedBoot {
    id: PathBuf,
}

// === impl SimulatedBoot ===

impl SimulatedBoot {
    fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", SCRIPT, "sh"]).arg(&self.id).arg(BOOT_ID);
        command
    }

    fn check(&self) -> Result<()> {
        let told = self.command().args(["cat", BOOT_ID]).output().context("unshare")?;
        let said = String::from_utf8_lossy(&told.stderr);
        ensure!(
            told.stdout == fs::read(&self.id)? && told.stdout != fs::read(BOOT_ID)?,
            "this test needs a mount namespace ({said}); run it as root, or allow user namespaces \
             (sysctl -w kernel.unprivileged_userns_clone=1)"
        );
        Ok(())
    }
}

// === impl TestEnv ===

impl TestEnv {
    /// The boot with this number, which is none of the system's own.
    ///
    /// # Errors
    /// The system allows no mount namespaces; says what allows them.
    pub fn boot(&self, number: u8) -> Result<SimulatedBoot> {
        let id = format!("00000000-0000-4000-8000-0000000000{number:02x}\n");
        let boot = SimulatedBoot { id: self.write(&format!("boot-{number}"), &id)? };
        boot.check()?;
        Ok(boot)
    }
}

// === impl PortolanCommand ===

impl PortolanCommand<'_> {
    /// Runs it in another boot.
    pub fn in_boot(self, boot: &SimulatedBoot) -> Self {
        self.wrapped_by(boot.command())
    }
}
