//! Network settings of the test's own network namespace.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::env::TestEnv;
use crate::process::Output;
use crate::programs;
use crate::wait::TIMEOUT;

// === impl TestEnv ===

impl TestEnv {
    /// Runs a shell command line that changes the network namespace.
    ///
    /// # Errors
    /// The test has no network namespace, or the command fails.
    pub fn change_network(&self, command_line: &str) -> Result<Output> {
        ensure!(
            self.has_own_network(),
            "this test changes network settings in its own network namespace; allow network \
             namespaces (sysctl -w kernel.unprivileged_userns_clone=1), or run the tests as root"
        );
        let mut shell = Command::new("sh");
        // Debian's directories for such commands, which may be missing from the PATH.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        shell.args(["-c", command_line]).env("PATH", path);
        self.spawn("shell", shell)?.wait(TIMEOUT)?.exits(0)
    }

    /// Replaces a file of the system, in the mount namespace of the test only.
    ///
    /// # Errors
    /// The test has no namespaces of its own, or the command fails.
    pub fn replace_file(&self, path: &str, contents: &str) -> Result<()> {
        let name = format!("replaced{path}");
        let file = self.write(&name, contents)?;
        self.change_network(&format!("mount --bind {} {path}", file.display())).map(drop)
    }

    /// Sets a sysctl of the network namespace.
    ///
    /// # Errors
    /// The test has no network namespace, or the system refuses.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        programs::find("sysctl", "procps")?;
        self.change_network(&format!("sysctl -w {name}='{value}'")).map(drop)
    }
}
