//! More connections than the registry admits, none of which ever sends a whole request.

use anyhow::{Context, Result, ensure};
use portolan_tests::{isolated, wait_for};

use super::target::{MIB, Target};

/// As many as one address may have, and the limit of all together is passed.
const CONNECTIONS: usize = 10_400;
/// What all of them may cost.
const BOUND: usize = 256 * MIB;

#[test]
fn ten_thousand_half_open_connections_keep_nobody_out() {
    isolated(|env| {
        let target = Target::start(env, &[])?;
        target.serves_others()?;
        let (before, open) = (target.memory()?, target.descriptors()?);
        let mut arguments = vec!["half_open".to_owned(), CONNECTIONS.to_string()];
        for number in 100..112 {
            target.attacker.add_address(&format!("10.77.0.{number}/24"))?;
            arguments.push(format!("10.77.0.{number}"));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut attack = target.attack(&arguments)?;
        wait_for("the registry to be full", || {
            target.serves_others()?;
            ensure!(target.rejected("half_open")? > 0.0, "{} open", target.descriptors()?);
            Ok(())
        })?;
        attack.wait_for_line(&format!("opened {CONNECTIONS}"))?;
        (0..5).try_for_each(|_| target.serves_others())?;
        let (during, held) = (target.memory()?, target.descriptors()?);
        println!("{held} descriptors, {} MiB, {} MiB before", during / MIB, before / MIB);
        ensure!(during < before + BOUND, "{before} {during}");
        target.is_counted_and_audited("half_open")?;

        attack.kill()?;
        wait_for("the end of the connections", || {
            let left = target.descriptors()?;
            ensure!(left < open + 100, "{left}");
            Ok(())
        })?;
        let after = target.memory()?;
        println!("{} MiB afterwards", after / MIB);
        ensure!(after < before + BOUND, "{before} {after}");
        target.serves_others()
    });
}

#[test]
fn one_address_cannot_use_up_the_connections() {
    isolated(|env| {
        let target = Target::start(env, &[])?;
        let address = target.attacker.address();
        let mut attack = target.attack(&["half_open", "1500", &address])?;
        attack.wait_for_line("opened 1500")?;
        target.serves_others()?;
        target.is_counted_and_audited("connections_of_client")?;
        let held = target.descriptors()?;
        ensure!(held < 1_200, "{held}");
        Ok(())
    });
}

#[cfg(feature = "full")]
#[test]
fn unfinished_handshakes_of_one_address_are_limited() {
    isolated(|env| {
        let ca = env.portolan(&["ca", "--dir", "ca", "init"])?.run()?.exits(0);
        ca?;
        let subject = ["--subject", "10.77.0.1"];
        env.portolan(&["ca", "--dir", "ca", "issue", "registry"])?
            .args(&subject)
            .run()?
            .exits(0)?;
        let directory = env.directory().to_str().context("path")?;
        let setting =
            |key: &str, file: &str| format!("service_registry.tls.{key}={directory}/ca/{file}");
        let (certificate, key) =
            (setting("certificate", "registry.pem"), setting("key", "registry.key"));
        let target = Target::start(env, &["--set", &certificate, "--set", &key])?;
        let address = target.attacker.address();
        let mut attack = target.attack(&["half_open", "1500", &address])?;
        attack.wait_for_line("opened 1500")?;
        wait_for("most to be rejected", || -> Result<()> {
            let held = target.descriptors()?;
            ensure!(held < 1_200, "{held}");
            Ok(())
        })?;
        let curl = format!(
            "curl -s -m 10 --cacert {directory}/ca/ca.pem https://10.77.0.1:7000/readyz -o /dev/null -w '%{{http_code}}'"
        );
        let ready = target.client.shell(&curl)?.stdout;
        ensure!(ready == "200", "{ready}");
        Ok(())
    });
}
