//! A real Docker engine of the test's own: its data, its socket and its networks belong to the test alone.

mod compose;
mod images;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use compose::ComposeVersion;

use crate::env::{TestEnv, target_directory};
use crate::process::{Output, Process};
use crate::programs;
use crate::wait::TIMEOUT;

/// The image that containers are created from: busybox.
pub const IMAGE: &str = "box";
/// How long the build of an image may take, which copies unoptimized programs several times.
const BUILD: Duration = Duration::from_secs(120);
/// The programs of the image.
const PROGRAMS: [&str; 10] =
    ["sh", "httpd", "wget", "sleep", "mkdir", "chroot", "test", "touch", "rm", "nc"];

/// An engine with the image [`IMAGE`].
#[derive(Debug)]
pub struct Docker<'a> {
    env: &'a TestEnv,
    daemon: Process,
}

// === impl Docker ===

impl<'a> Docker<'a> {
    /// Starts an engine in the network namespace of the test and waits until it answers.
    ///
    /// # Errors
    /// Docker is not installed, or cannot run on this machine: it needs root.
    pub fn start(env: &'a TestEnv) -> Result<Self> {
        // Outside of a namespace it would change the packet filter of the machine.
        ensure!(
            env.has_own_network() && rustix::process::geteuid().is_root(),
            "a Docker engine needs root, and a network namespace: run the tests as root, and permit unshare(1)"
        );
        let mut docker = Self { env, daemon: daemon(env)? };
        docker.wait_until_ready()?;
        docker.import_image()?;
        Ok(docker)
    }

    /// Returns the path of the socket.
    pub fn socket(&self) -> PathBuf {
        socket(self.env)
    }

    /// Runs the command `docker`.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.output(arguments)?.text()
    }

    /// Runs the command `docker`, which may fail.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time.
    pub fn output(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(programs::find_system("docker", "docker.io")?);
        command.arg("-H").arg(format!("unix://{}", self.socket().display())).args(arguments);
        self.env.spawn("docker", command)?.wait(TIMEOUT)
    }

    /// Makes the image of Portolan with this name, from the programs that are built, without their symbols, and the image `base`.
    ///
    /// # Errors
    /// A program is not built, or the build of the image fails.
    pub fn build_portolan(&self, name: &str) -> Result<()> {
        self.import_base()?;
        let (programs, stripped) = (target_directory()?, self.env.folder("prebuilt")?);
        for program in ["portolan", "portolan-kubernetes"] {
            let mut strip = Command::new(programs::find_system("strip", "binutils")?);
            strip.arg("-o").arg(stripped.join(program)).arg(programs.join(program));
            self.env.spawn("strip", strip)?.wait(TIMEOUT)?.exits(0)?;
        }
        let docker = programs::find_system("docker", "docker.io")?;
        let bin = docker.parent().context("a program without a directory")?;
        let mut command = Command::new(programs.join("xtask"));
        command
            .args(["image", "--base", "base", "--tag", name, "--prebuilt"])
            .arg(&stripped)
            .env("PATH", bin)
            .env("DOCKER_BUILDKIT", "0")
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        self.env.spawn("xtask", command)?.wait(BUILD)?.exits(0).map(drop)
    }

    /// Starts a container that serves its own name over HTTP on port 80.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn web(&self, name: &str, options: &[&str]) -> Result<String> {
        let serve =
            format!("mkdir -p /www; echo {name} > /www/index.html; exec httpd -f -p 80 -h /www");
        let run = ["run", "--detach", "--name", name];
        self.run(&[&run, options, &[IMAGE, "sh", "-c", &serve]].concat())
    }

    /// Kills the engine and starts it again. Its containers go on until it is back.
    ///
    /// # Errors
    /// It does not start.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.daemon.kill()?;
        self.daemon = daemon(self.env)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let (env, socket) = (self.env, socket(self.env));
        let ask = || {
            let mut command = Command::new(programs::find_system("docker", "docker.io")?);
            command.arg("-H").arg(format!("unix://{}", socket.display())).arg("version");
            env.spawn("docker", command)?.wait(TIMEOUT)?.exits(0)
        };
        self.daemon.wait_until("Docker to answer", ask).map(drop)
    }

    fn import_image(&self) -> Result<()> {
        let bin = self.env.folder("image/bin")?;
        // The host's file system, for programs that are not in the image.
        self.env.folder("image/host")?;
        let busybox = programs::find_system("busybox", "busybox-static")?;
        fs::copy(&busybox, bin.join("busybox")).with_context(|| busybox.display().to_string())?;
        for program in PROGRAMS {
            symlink("busybox", bin.join(program))?;
        }
        self.import(&self.env.directory().join("image"), IMAGE, &["--change", "EXPOSE 80"])
    }

    /// Creates an image of this directory.
    fn import(&self, root: &Path, name: &str, options: &[&str]) -> Result<()> {
        let tar = self.env.directory().join("image.tar").display().to_string();
        let mut command = Command::new("tar");
        command.arg("-C").arg(root).args(["-cf", &tar, "."]);
        self.env.spawn("tar", command)?.wait(TIMEOUT)?.exits(0)?;
        self.run(&[&["import"], options, &[&tar, name]].concat()).map(drop)
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        // The control groups of containers that are killed with the namespace would be left behind.
        let Ok(ids) = self.run(&["ps", "--all", "--quiet"]) else { return };
        let remove = ["rm", "--force"].into_iter().chain(ids.split_whitespace());
        let _ = self.run(&remove.collect::<Vec<_>>());
    }
}

fn socket(env: &TestEnv) -> PathBuf {
    env.directory().join("docker.sock")
}

fn daemon(env: &TestEnv) -> Result<Process> {
    let root = env.folder("docker")?;
    // Of an engine that was killed.
    let _ = fs::remove_file(root.join("pid"));
    let _ = fs::remove_file(socket(env));
    let mut command = Command::new(programs::find("dockerd", "docker.io")?);
    let path = |name: &str| root.join(name).display().to_string();
    command
        .args([
            "--data-root",
            &path("data"),
            "--exec-root",
            &path("exec"),
            "--pidfile",
            &path("pid"),
        ])
        .args(["--host", &format!("unix://{}", socket(env).display())])
        .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
        // Networks that no test uses otherwise.
        .args(["--bip", "172.30.0.1/24", "--default-address-pool", "base=172.31.0.0/16,size=24"]);
    env.spawn("dockerd", command)
}
