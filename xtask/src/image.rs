//! `cargo xtask image`: the image of `packaging/docker/Dockerfile`, from programs that Cargo has built on this machine. It needs no network if
//! the base image is there.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::build::target_directory;
use crate::steps::Step;

const PROGRAMS: [&str; 2] = ["portolan", "portolan-kubernetes"];

/// What to build.
struct Image {
    profile: String,
    prebuilt: Option<PathBuf>,
    base: String,
    tag: String,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let image = Image::parse(arguments)?;
    let programs = match &image.prebuilt {
        Some(directory) => directory.clone(),
        None => build(&image.profile)?,
    };
    let context = BuildContext::create(&target_directory()?)?;
    copy(&programs, &context.0.join("prebuilt"))?;
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let mut docker = Command::new("docker");
    docker
        .arg("build")
        .arg("--file")
        .arg(project.join("packaging/docker/Dockerfile"))
        .args(["--tag", &image.tag])
        // The programs are there, so no stage compiles anything.
        .args(["--build-arg", &format!("BUILDER={}", image.base)])
        .args(["--build-arg", &format!("BASE={}", image.base)])
        .args(["--build-arg", concat!("VERSION=", env!("CARGO_PKG_VERSION"))])
        .args(["--build-arg", &format!("REVISION={}", revision(&project))])
        .arg(&context.0);
    let status =
        docker.status().context("cannot start docker; install it, as by the package docker.io")?;
    ensure!(status.success(), "docker build failed ({status})");
    println!("the image is {}", image.tag);
    Ok(())
}

/// The directory that Docker gets, which is removed when it is dropped.
struct BuildContext(PathBuf);

// === impl BuildContext ===

impl BuildContext {
    /// Creates the first of `image-1`, `image-2`, … that does not exist. A process id would not be unique: others may build in another
    /// PID namespace.
    fn create(parent: &Path) -> Result<Self> {
        for number in 1_u32.. {
            let path = parent.join(format!("image-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
        bail!("{} is full of images", parent.display())
    }
}

impl Drop for BuildContext {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

// === impl Image ===

impl Image {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut image = Self {
            profile: "release".to_owned(),
            prebuilt: None,
            base: "debian:bookworm-slim".to_owned(),
            tag: concat!("portolan:", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let mut arguments = arguments.iter();
        while let Some(option) = arguments.next() {
            let mut value =
                || arguments.next().cloned().with_context(|| format!("{option} needs a value"));
            match option.as_str() {
                "--profile" => image.profile = value()?,
                "--prebuilt" => image.prebuilt = Some(value()?.into()),
                "--base" => image.base = value()?,
                "--tag" => image.tag = value()?,
                _ => bail!(
                    "unknown argument {option:?}; expected --profile, --prebuilt, --base or --tag"
                ),
            }
        }
        Ok(image)
    }
}

fn build(profile: &str) -> Result<PathBuf> {
    let packages = ["-p", "portolan-cli", "-p", "portolan-kubernetes"];
    let options =
        ["build", "--locked", "--bins", "--features=portolan-cli/full", "--profile", profile];
    Step::cargo("build", &[&options[..], &packages].concat()).run()?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target_directory()?.join(folder))
}

fn copy(programs: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for program in PROGRAMS {
        let from = programs.join(program);
        fs::copy(&from, to.join(program)).with_context(|| from.display().to_string())?;
    }
    Ok(())
}

/// The commit, if the sources are a clone.
fn revision(project: &Path) -> String {
    let output = Command::new("git").arg("-C").arg(project).args(["rev-parse", "HEAD"]).output();
    let output = output.ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| "unknown".to_owned())
}
