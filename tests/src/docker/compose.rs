//! Compose in both versions, and `portolan compose`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Result;

use super::Docker;
use crate::command::PortolanCommand;
use crate::programs;

/// A version of Compose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComposeVersion {
    /// The program `docker-compose`, written in Python.
    V1,
    /// The plugin `docker compose`.
    V2,
}

impl ComposeVersion {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];
}

impl Docker<'_> {
    /// Returns a builder of `portolan compose` in this directory, which finds only this version of Compose.
    ///
    /// # Errors
    /// It is not installed.
    pub fn compose(
        &self,
        version: ComposeVersion,
        directory: &Path,
        options: &[&str],
        arguments: &[&str],
    ) -> Result<PortolanCommand<'_>> {
        let bin = self.env.folder(&format!("bin-{version:?}"))?;
        let config = self.env.folder(&format!("docker-{version:?}"))?;
        link(&programs::find_system("docker", "docker.io")?, &bin.join("docker"))?;
        match version {
            ComposeVersion::V1 => {
                let program = programs::find_system("docker-compose", "docker-compose")?;
                link(&program, &bin.join("docker-compose"))?;
            }
            ComposeVersion::V2 => {
                fs::create_dir_all(config.join("cli-plugins"))?;
                let program =
                    programs::find_tool("docker-compose-v2", "compose", "cargo xtask programs")?;
                link(&program, &config.join("cli-plugins/docker-compose"))?;
            }
        }
        let line = [options, &["compose"], arguments].concat();
        let command = self.env.portolan(&line)?.directory(directory);
        Ok(command
            .env("PATH", &bin.display().to_string())
            .env("DOCKER_CONFIG", &config.display().to_string())
            .env("DOCKER_HOST", &format!("unix://{}", self.socket().display())))
    }
}

fn link(program: &Path, place: &Path) -> Result<()> {
    if !place.exists() {
        symlink(program, place)?;
    }
    Ok(())
}
