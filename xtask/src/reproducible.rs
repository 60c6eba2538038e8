//! `cargo xtask reproducible`: builds the programs of a release twice, from two copies of the last commit in different directories, and compares the
//! programs. What a build depends on besides the sources is then the compiler and the C compiler only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::build::target_directory;

/// The programs of a release.
const PROGRAMS: [&str; 2] = ["portolan", "portolan-kubernetes"];
/// The path of the sources in the program.
const SOURCES: &str = "/portolan";
/// The path of the dependencies in the program.
const CARGO_HOME: &str = "/cargo";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let profile = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => "release",
        ["--profile", profile] => profile,
        _ => bail!("unknown arguments {arguments:?}; expected --profile PROFILE or nothing"),
    };
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let time = output(git(&project, &["log", "-1", "--format=%ct"]))?;
    let directory = target_directory()?.join("reproducible");
    let mut programs = Vec::new();
    for copy in ["first", "a-second-one"] {
        let copy = directory.join(copy);
        export(&project, &copy)?;
        let directory = build(&copy, profile, time.trim())?;
        for program in PROGRAMS {
            let program = directory.join(program);
            println!("{}", output(Command::new("sha256sum").arg(&program))?.trim());
            programs.push(fs::read(&program).with_context(|| program.display().to_string())?);
        }
        // Cargo's intermediate files are several gigabytes.
        fs::remove_dir_all(copy.join("target").join(folder(profile)).join("deps"))?;
    }
    let (first, second) = programs.split_at(PROGRAMS.len());
    ensure!(first == second, "the programs differ: the build is not reproducible");
    println!("the programs are equal");
    Ok(())
}

/// Copies the last commit.
fn export(project: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| to.display().to_string())?;
    }
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    let archive = to.with_extension("tar");
    let archived = archive.display().to_string();
    output(git(project, &["archive", "--format=tar", "-o", &archived, "HEAD"]))?;
    output(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(to))?;
    fs::remove_file(&archive).with_context(|| archived)
}

fn build(sources: &Path, profile: &str, time: &str) -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let (here, home) = (sources.display(), home.display());
    let rust =
        format!("--remap-path-prefix={here}={SOURCES} --remap-path-prefix={home}={CARGO_HOME}");
    let c = format!("-ffile-prefix-map={here}={SOURCES} -ffile-prefix-map={home}={CARGO_HOME}");
    let target = sources.join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--profile", profile, "-p", "portolan-cli"]);
    command.args(["-p", "portolan-kubernetes", "--features", "portolan-cli/full"]);
    command.current_dir(sources);
    command.env("CARGO_TARGET_DIR", &target).env("SOURCE_DATE_EPOCH", time);
    command.env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.env("RUSTFLAGS", rust).env("CFLAGS", c).env("CARGO_INCREMENTAL", "0");
    println!("=== build in {here}");
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "the build in {here} failed ({status})");
    Ok(target.join(folder(profile)))
}

/// Returns the folder of a profile in the target directory.
fn folder(profile: &str) -> &str {
    if profile == "dev" { "debug" } else { profile }
}

fn git(project: &Path, arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(project).args(arguments);
    git
}

fn output(mut command: impl std::borrow::BorrowMut<Command>) -> Result<String> {
    let command = command.borrow_mut();
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {}", problem.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
