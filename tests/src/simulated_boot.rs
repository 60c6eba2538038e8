//! A simulated reboot: programs run in a mount namespace with a different boot id.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::PortolanCommand;
use crate::env::TestEnv;

/// The file that contains the boot id (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Bind-mounts another file over it, for the started program and its children only.
const SCRIPT: &str = r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#;

/// A boot id under which programs can be started.
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
        let output = self.command().args(["cat", BOOT_ID]).output().context("unshare")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.stdout == fs::read(&self.id)? && output.stdout != fs::read(BOOT_ID)?,
            "this test needs a mount namespace ({error}); run it as root, or allow user namespaces \
             (sysctl -w kernel.unprivileged_userns_clone=1)"
        );
        Ok(())
    }
}

// === impl TestEnv ===

impl TestEnv {
    /// Returns a simulated boot with an id made from this number.
    ///
    /// # Errors
    /// The system allows no mount namespaces; the error names the setting that allows them.
    pub fn boot(&self, number: u8) -> Result<SimulatedBoot> {
        let id = format!("00000000-0000-4000-8000-0000000000{number:02x}\n");
        let boot = SimulatedBoot { id: self.write(&format!("boot-{number}"), &id)? };
        boot.check()?;
        Ok(boot)
    }
}

// === impl PortolanCommand ===

impl PortolanCommand<'_> {
    /// Runs the command under another boot id.
    pub fn in_boot(self, boot: &SimulatedBoot) -> Self {
        self.wrapped_by(boot.command())
    }
}
