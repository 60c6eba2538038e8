//! `cargo xtask kubernetes build`: the API server of Kubernetes that the tests start, from Debian's source package.
//!
//! No release of Debian has the program. The source package of Debian 12 has the whole source of version 1.20 with its
//! dependencies; it needs Go 1.15, which Debian 11 has. With Go 1.18 or later the program crashes at its first sorted map.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::apt::Apt;
use crate::tools;

const VERSION: &str = "v1.20.2";
/// The program that the tests start.
const PROGRAM: &str = "kube-apiserver";
/// Where the source is in a `GOPATH`.
const PACKAGE: &str = "k8s.io/kubernetes";
/// The generated code that is not in the source package.
const OPENAPI: &str = "pkg/generated/openapi";
/// The mark of the packages from which it is generated.
const MARK: &str = "+k8s:openapi-gen=true";

/// Names a directory with the program.
const VARIABLE: &str = "PORTOLAN_KUBERNETES";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments == ["build"], "unknown arguments {arguments:?}; expected build");
    build()
}

/// Builds the program, unless the environment names a directory with it.
pub(crate) fn install_missing() -> Result<()> {
    match std::env::var_os(VARIABLE) {
        Some(directory) => {
            println!("=== {PROGRAM}: from {}", directory.display());
            Ok(())
        }
        None => build(),
    }
}

/// Builds the program, unless it exists.
fn build() -> Result<()> {
    let directory = tools::directory()?.join("kubernetes");
    let program = directory.join(PROGRAM);
    if program.is_file() {
        println!("=== {PROGRAM}: {} exists", program.display());
        return Ok(());
    }
    let build = Build { directory: directory.join("build") };
    if build.directory.exists() {
        fs::remove_dir_all(&build.directory).context("cannot remove an earlier attempt")?;
    }
    println!("=== {PROGRAM}: its source and Go 1.15, about 100 MB");
    let source = build.source()?;
    let go = build.go()?;
    println!("=== {PROGRAM}: the build takes about 10 minutes");
    build.generate(&go, &source)?;
    build.go_build(&go, &source, &format!("./cmd/{PROGRAM}"), &build.directory.join(PROGRAM))?;
    fs::rename(build.directory.join(PROGRAM), &program)?;
    fs::remove_dir_all(&build.directory).context("cannot remove the source")?;
    println!("=== {PROGRAM}: {}", program.display());
    Ok(())
}

/// A build in a directory of its own.
struct Build {
    directory: PathBuf,
}

// === impl Build ===

impl Build {
    /// Returns the directory of the source, with Debian's patches.
    fn source(&self) -> Result<PathBuf> {
        let apt = Apt::new(self.directory.join("apt-source"), "bookworm");
        let packages = apt.download(&["source", "--download-only", "kubernetes"])?;
        let unpacked = self.directory.join("unpacked");
        fs::create_dir_all(&unpacked)?;
        unpack(&find(&packages, ".orig.tar.gz")?, &unpacked)?;
        let source = self.directory.join("go/src").join(PACKAGE);
        fs::create_dir_all(source.parent().context("it has a parent")?)?;
        let top = fs::read_dir(&unpacked)?.flatten().next().context("an empty archive")?;
        fs::rename(top.path(), &source)?;
        unpack(&find(&packages, ".debian.tar.xz")?, &source)?;
        let series = fs::read_to_string(source.join("debian/patches/series"))?;
        for patch in
            series.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#'))
        {
            let patch = source.join("debian/patches").join(patch);
            run_in(&source, Command::new("patch").args(["-p1", "-s", "-i"]).arg(patch))?;
        }
        Ok(source)
    }

    /// Returns the root of Go.
    fn go(&self) -> Result<PathBuf> {
        let apt = Apt::new(self.directory.join("apt-go"), "bullseye");
        let packages = apt.download(&["download", "golang-1.15-go", "golang-1.15-src"])?;
        let root = self.directory.join("go-1.15");
        for package in fs::read_dir(packages)?.flatten() {
            run_in(
                &self.directory,
                Command::new("dpkg-deb").arg("-x").arg(package.path()).arg(&root),
            )?;
        }
        Ok(root.join("usr/lib/go-1.15"))
    }

    /// Generates the definitions of the API's objects.
    fn generate(&self, go: &Path, source: &Path) -> Result<()> {
        let generator = self.directory.join("openapi-gen");
        self.go_build(go, source, "./vendor/k8s.io/kube-openapi/cmd/openapi-gen", &generator)?;
        let mut packages = Vec::new();
        // `vendor/k8s.io` has symbolic links to `staging`, each a package of its own.
        for part in ["vendor/k8s.io", "pkg", "cmd"] {
            let mut grep = Command::new("grep");
            grep.current_dir(source).args(["-R", "-l", "--include=*.go", "-F", MARK, part]);
            let output = grep.output().context("cannot start grep")?;
            let files = String::from_utf8(output.stdout)?;
            let folder =
                |file: &str| file.rsplit_once('/').map(|(folder, _)| format!("{PACKAGE}/{folder}"));
            packages.extend(files.lines().filter_map(folder));
        }
        packages.sort();
        packages.dedup();
        let mut command = Command::new(&generator);
        self.environment(&mut command, go);
        command.args(["-O", "zz_generated.openapi", "-p", &format!("{PACKAGE}/{OPENAPI}")]);
        command.args([
            "-h",
            "hack/boilerplate/boilerplate.generatego.txt",
            "-i",
            &packages.join(","),
        ]);
        command.arg("-r").arg(self.directory.join("violations"));
        run_in(source, &mut command)
    }

    fn go_build(&self, go: &Path, source: &Path, package: &str, program: &Path) -> Result<()> {
        let mut command = Command::new(go.join("bin/go"));
        self.environment(&mut command, go);
        let mut flags = "-s -w".to_owned();
        for version in ["component-base/version", "client-go/pkg/version"] {
            let prefix = format!("{PACKAGE}/vendor/k8s.io/{version}");
            for value in [&format!("gitVersion={VERSION}"), "gitMajor=1", "gitMinor=20"] {
                flags.push_str(&format!(" -X {prefix}.{value}"));
            }
        }
        command.args(["build", "-trimpath", "-ldflags", &flags, "-o"]).arg(program).arg(package);
        run_in(source, &mut command)
    }

    fn environment(&self, command: &mut Command, go: &Path) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(go.join("bin")).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(path).unwrap_or_default());
        command.env("GOPATH", self.directory.join("go")).env("GOROOT", go);
        command.env("GOCACHE", self.directory.join("cache"));
        command.env("GO111MODULE", "off").env("CGO_ENABLED", "0");
    }
}

fn find(directory: &Path, ending: &str) -> Result<PathBuf> {
    let files = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let mut files = files.filter(|path| path.to_string_lossy().ends_with(ending));
    files.next().with_context(|| format!("apt-get left no {ending} in {}", directory.display()))
}

fn unpack(archive: &Path, directory: &Path) -> Result<()> {
    run_in(directory, Command::new("tar").arg("-xf").arg(archive))
}

fn run_in(directory: &Path, command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command.current_dir(directory).status();
    let status = status.with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} failed ({status}) in {}", directory.display());
    }
    Ok(())
}
