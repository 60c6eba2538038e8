//! The check of the dependencies against a database of security advisories, which is a clone of
//! <https://github.com/rustsec/advisory-db> that the caller supplies: the check itself uses no network.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::build::target_directory;
use crate::steps::Step;
use crate::tools;

/// The variable with the directory of the database.
const VARIABLE: &str = "ADVISORY_DB";
/// The name under which cargo-deny looks for the clone of the default database.
const CLONE: &str = "advisory-db-3157b0e258782691";
/// The age from which the database is called old, in days.
const OLD: u64 = 30;
const SECTION: &str = "[advisories]\n";

/// Returns the step that checks the advisories, or says that they are not checked.
pub(crate) fn step() -> Result<Step> {
    let Some(database) = database()? else {
        let why = format!(
            "advisories were NOT CHECKED: no database; clone https://github.com/rustsec/advisory-db beside this directory, or set {VARIABLE} to a clone"
        );
        return Ok(Step::skipped("advisories", why));
    };
    let config = prepare(&database)?.display().to_string();
    let arguments = ["deny", "--locked", "--offline", "--config", &config, "check", "advisories"];
    let note = described(&database, age_in_days(&database)?);
    Ok(Step::cargo("advisories", &arguments).env("PATH", tools::search_path()?).note(note))
}

/// Returns the directory that the variable names, else a clone beside this project, else the one that `cargo deny fetch` keeps.
fn database() -> Result<Option<PathBuf>> {
    if let Some(named) = env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let path = PathBuf::from(named);
        let is_database = path.join("crates").is_dir() && path.join(".git").exists();
        ensure!(
            is_database,
            "{VARIABLE}: {} is not a clone of https://github.com/rustsec/advisory-db",
            path.display()
        );
        return path.canonicalize().map(Some).with_context(|| path.display().to_string());
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let kept = home.map(|home| home.join("advisory-dbs").join(CLONE));
    let candidates = [Some(project.join("advisory-db")), kept];
    let found = candidates.into_iter().flatten().find(|it| it.join("crates").is_dir());
    Ok(found.and_then(|found| found.canonicalize().ok()))
}

/// Writes the configuration of cargo-deny with the place of the database, and returns its path.
fn prepare(database: &Path) -> Result<PathBuf> {
    let directory = target_directory()?.join("advisory-dbs");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let link = directory.join(CLONE);
    // It is missing the first time.
    _ = fs::remove_file(&link);
    symlink(database, &link).with_context(|| link.display().to_string())?;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deny.toml");
    let rules = fs::read_to_string(&rules).with_context(|| rules.display().to_string())?;
    ensure!(rules.contains(SECTION), "deny.toml has no section {SECTION}");
    let place = format!("{SECTION}db-path = {:?}\n", directory.display().to_string());
    let config = directory.join("deny.toml");
    fs::write(&config, rules.replacen(SECTION, &place, 1))
        .with_context(|| config.display().to_string())?;
    Ok(config)
}

/// Returns the time since the last commit of the database.
fn age_in_days(database: &Path) -> Result<u64> {
    let mut git = Command::new("git");
    git.arg("-C").arg(database).args(["log", "-1", "--format=%ct"]);
    let output = git.output().context("cannot start git")?;
    let time = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>();
    let time = time.with_context(|| {
        let problem = String::from_utf8_lossy(&output.stderr);
        format!("the age of {} is not known: {}", database.display(), problem.trim())
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    Ok(now.saturating_sub(time) / (24 * 60 * 60))
}

fn described(database: &Path, days: u64) -> String {
    let warning = if days > OLD { ": OLD, newer advisories are not known" } else { "" };
    format!("advisory database of {days} days ago, {}{warning}", database.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_of_the_database_is_told() {
        let text = |days| described(Path::new("/db"), days);
        assert_eq!(text(3), "advisory database of 3 days ago, /db");
        assert!(text(31).ends_with("OLD, newer advisories are not known"));
    }
}
