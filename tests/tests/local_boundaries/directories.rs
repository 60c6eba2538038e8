//! Another user denies or redirects the directories.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use portolan_tests::{Output, TIMEOUT, TestEnv, isolated};

use super::{ALICE, BOB, User};

const ALLOC: [&str; 5] = ["ports", "alloc", "web", "--owner", "1"];

/// A directory in `/tmp` that another user made first.
struct Squatted(PathBuf);

impl Squatted {
    fn new(uid: u32) -> Result<Self> {
        let path = PathBuf::from(format!("/tmp/portolan-{uid}"));
        fs::create_dir(&path)?;
        let squatted = Self(path);
        chown(&squatted.0, Some(BOB), Some(BOB))?;
        Ok(squatted)
    }
}

impl Drop for Squatted {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn run(user: &User<'_>, variables: &[(&str, &str)], arguments: &[&str]) -> Result<Output> {
    user.env.spawn("portolan", user.portolan_with(variables, arguments)?)?.wait(TIMEOUT)
}

fn count(directory: &Path) -> Result<usize> {
    Ok(fs::read_dir(directory)?.count())
}

#[test]
fn directory_in_tmp_of_another_user_denies_nothing() {
    isolated(|env| {
        // An id that no real user has, because /tmp is the host's.
        let squatted = Squatted::new(1_999_888_771)?;
        let user = User::new(env, 1_999_888_771)?;
        run(&user, &[], &ALLOC)?.exits(0)?;
        ensure!(user.home.join(".local/state/portolan/run").is_dir());
        ensure!(count(&squatted.0)? == 0);
        Ok(())
    });
}

#[test]
fn discovery_needs_no_directory() {
    isolated(|env| {
        let _squatted = Squatted::new(1_999_888_772)?;
        let user = User::new(env, 1_999_888_772)?;
        let homeless = [("HOME", "/nonexistent")];
        let failed = run(&user, &homeless, &ALLOC)?.exits(1)?.stderr;
        let named = failed.contains(&format!("belongs to uid {BOB}"));
        ensure!(named && failed.contains("port_allocator.runtime_dir"), "{failed}");
        let _registry = env.registry()?;
        let register = ["register", "db", "--port", "5432"];
        let registered = env.portolan(&register)?.run()?;
        ensure!(registered.code == Some(0), "{registered:?}");
        let found = run(&user, &homeless, &["discover", "db"])?.exits(0)?;
        ensure!(found.stdout.trim() == "127.0.0.1:5432", "{found:?}");
        Ok(())
    });
}

#[test]
fn directory_of_a_systemd_unit_is_used() {
    isolated(|env| {
        let user = User::new(env, ALICE)?;
        let unit = user.home.join("unit");
        fs::create_dir(&unit)?;
        chown(&unit, Some(ALICE), Some(ALICE))?;
        let list = format!("{}:/run/other", unit.display());
        run(&user, &[("RUNTIME_DIRECTORY", &list)], &ALLOC)?.exits(0)?;
        ensure!(unit.join("portolan").is_dir());
        Ok(())
    });
}

/// A directory of root, and a link to it in the home of a user.
fn link_in_home(env: &TestEnv, user: &User<'_>, name: &str) -> Result<PathBuf> {
    let target = env.folder("precious")?;
    let link = user.home.join(name);
    symlink(&target, &link)?;
    rustix::fs::chownat(
        rustix::fs::CWD,
        &link,
        rustix::fs::Uid::from_raw(user.uid).into(),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )?;
    Ok(target)
}

#[test]
fn root_with_the_home_of_a_user_does_not_follow_its_links() {
    isolated(|env| {
        let alice = User::new(env, ALICE)?;
        let home = env.folder("home-of-root")?;
        env.replace_file("/etc/passwd", &format!("root:x:0:0::{}:/bin/sh\n", home.display()))?;
        let target = link_in_home(env, &alice, ".local")?;
        let mut command = std::process::Command::new("env");
        command.args(["-u", "XDG_STATE_HOME", &format!("HOME={}", alice.home.display())]);
        command.arg(super::accessible_program(env)?).args(ALLOC);
        env.spawn("alloc", command)?.wait(TIMEOUT)?.exits(0)?;
        ensure!(count(&target)? == 0, "root wrote where the link of a user leads");
        ensure!(home.join(".local/state/portolan/ports.jsonl").is_file());
        Ok(())
    });
}

#[test]
fn root_does_not_use_a_state_directory_that_a_user_can_redirect() {
    isolated(|env| {
        let alice = User::new(env, ALICE)?;
        let target = link_in_home(env, &alice, "state")?;
        let mut command = std::process::Command::new("env");
        command.arg(format!("XDG_STATE_HOME={}", alice.home.join("state").display()));
        command.arg(super::accessible_program(env)?).args(ALLOC);
        let output = env.spawn("alloc", command)?.wait(TIMEOUT)?.exits(0)?;
        ensure!(count(&target)? == 0, "root wrote where the link of a user leads");
        ensure!(output.stderr.contains("could be redirected by another user"), "{output:?}");
        Ok(())
    });
}

#[test]
fn directory_below_one_that_everybody_can_change_is_refused() {
    isolated(|env| {
        let open = env.folder("open")?;
        fs::set_permissions(&open, PermissionsExt::from_mode(0o777))?;
        let setting = format!("port_allocator.runtime_dir={}", open.join("run").display());
        let output = env.portolan(&ALLOC)?.args(&["--set", &setting]).run()?.exits(1)?;
        let error = output.stderr;
        ensure!(error.contains("with mode 777") && !open.join("run").exists(), "{error}");
        Ok(())
    });
}
