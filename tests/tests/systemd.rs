//! The unit file of the registry. Without a system manager its settings are judged by systemd-analyze(1), and its
//! command is run by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_tests::isolated;

/// The exposure above which systemd calls a service more than "OK", times ten: from 0 to 100.
const THRESHOLD: &str = "20";

fn unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd/portolan-registry.service")
}

fn analyze(arguments: &[&str]) -> Result<std::process::Output> {
    let run = Command::new("systemd-analyze").args(arguments).arg(unit()).output();
    run.context("systemd-analyze is missing; run `apt-get install systemd`")
}

#[test]
fn unit_is_valid_and_hardly_exposed() -> Result<()> {
    let verify = analyze(&["verify", "--man=no"])?;
    let said = String::from_utf8_lossy(&verify.stderr);
    // The program is not installed where the tests run.
    let problems: Vec<_> =
        said.lines().filter(|line| !line.contains("is not executable")).collect();
    ensure!(problems.is_empty(), "{problems:?}");
    let security = analyze(&["security", "--offline=true", "--threshold", THRESHOLD])?;
    ensure!(security.status.success(), "{}", String::from_utf8_lossy(&security.stdout));
    Ok(())
}

#[test]
fn command_of_the_unit_serves() {
    isolated(|env| {
        let unit = fs::read_to_string(unit())?;
        let command =
            unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/portolan "));
        let config = env.write("portolan.yaml", "broadcast: {enabled: false}\n")?;
        let state = env.folder("state")?;
        let words = command.context("ExecStart")?.split(' ').map(|word| match word {
            "/etc/portolan/portolan.yaml" => config.display().to_string(),
            word => word.replace("%S", &state.display().to_string()),
        });
        let words: Vec<_> = words.collect();
        let credentials = env.folder("credentials")?;
        let token = env.write("credentials/portolan.token", "a token of the service manager\n")?;
        fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o400))?;
        let serve = env.portolan(&words)?;
        let directory = credentials.display().to_string();
        let mut server = serve.env("CREDENTIALS_DIRECTORY", &directory).spawn("registry")?;
        server.wait_for_line("Registry server started")?;
        ensure!(state.join("portolan/LOCK").exists(), "the state is kept");
        let list = env.portolan(&["list", "--registry", "http://127.0.0.1:7000"])?;
        list.run()?.exits(6)?;
        Ok(())
    });
}
