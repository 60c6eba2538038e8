//! The programs of Kubernetes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::env::target_directory;
use crate::programs;

/// The variable that names their directory. They are there, or in `bin`, as they are or compressed as `NAME.xz`.
const VARIABLE: &str = "PORTOLAN_KUBERNETES";

/// Returns the path of a program. A compressed one is unpacked below the target directory, once.
pub(super) fn find(name: &str) -> Result<PathBuf> {
    let tools = target_directory()?.with_file_name("tools").join("kubernetes");
    let given = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = given.unwrap_or_else(|| tools.clone());
    let places = [directory.clone(), directory.join("bin")];
    if let Some(program) = places.iter().map(|it| it.join(name)).find(|it| it.is_file()) {
        return Ok(program);
    }
    let packed = places.iter().map(|it| it.join(format!("{name}.xz"))).find(|it| it.is_file());
    let packed = packed.with_context(|| {
        format!(
            "there is no {name} in {}; build it with `cargo xtask kubernetes build`, which takes 15 minutes, or set \
             {VARIABLE} to a directory that has it",
            directory.display()
        )
    })?;
    unpack(&packed, &tools.join("unpacked"), name)
}

fn unpack(packed: &Path, directory: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let program = directory.join(name);
    // Tests run side by side.
    let lock = File::create(directory.join(format!("{name}.lock")))?;
    lock.lock()?;
    if program.is_file() {
        return Ok(program);
    }
    let partial = directory.join(format!("{name}.partial"));
    let mut xz = Command::new(programs::find("xz", "xz-utils")?);
    let status = xz.arg("-dc").arg(packed).stdout(File::create(&partial)?).status()?;
    ensure!(status.success(), "cannot unpack {} ({status})", packed.display());
    fs::set_permissions(&partial, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::rename(&partial, &program)?;
    Ok(program)
}
