//! Clients that send or read as slowly as they can.

use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::{Host, isolated, wait_within};
use serde_json::json;

use super::target::{MIB, TOKEN, Target};

const EACH: usize = 40;
const BOUND: usize = 192 * MIB;
/// Longer than the longest of their limits, 30 s for the head of a request.
const LONGEST: Duration = Duration::from_secs(90);

/// Registers 2,000 endpoints of 3 KB, more than the kernel keeps for a reader.
fn fill(target: &Target<'_>, client: &Host<'_>) -> Result<()> {
    let filler = "x".repeat(250);
    let metadata: serde_json::Map<_, _> =
        (0..10).map(|key| (format!("key-{key}"), json!(filler))).collect();
    for batch in 0..10_u8 {
        let operation = |number: u8| {
            let host = format!("10.0.{batch}.{}", number + 1);
            let service = json!({"name": "bulk", "host": host, "port": 8080, "ttl": "1h", "metadata": metadata});
            json!({"op": "register", "service": service})
        };
        let operations: Vec<_> = (0..200).map(operation).collect();
        let file =
            target.env.write("batch.json", &json!({"operations": operations}).to_string())?;
        let post = format!(
            "curl -s -m 60 -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {TOKEN}' -H 'Content-Type: application/json' \
             -d @{} {}/api/v1/batch",
            file.display(),
            target.registry_host.registry_url()
        );
        let status = client.shell(&post)?.stdout;
        ensure!(status == "200", "{status}");
    }
    Ok(())
}

#[test]
fn slow_clients_are_cut_within_their_limits_while_others_are_served() {
    isolated(|env| {
        let target = Target::start(env, &[])?;
        fill(&target, &target.client)?;
        target.serves_others()?;
        let (before, open) = (target.memory()?, target.descriptors()?);
        let mut attack = target.attack(&["slow", &EACH.to_string()])?;
        let mut peak = before;
        wait_within(LONGEST, "the end of all slow clients", || {
            target.serves_others()?;
            peak = peak.max(target.memory()?);
            ensure!(attack.ended()?.is_some(), "{}", attack.output());
            Ok(())
        })?;
        let output = attack.output();
        for expected in [
            "slow head ended: closed",
            "slow body ended: 408",
            "endless chunks ended: 408",
            "unread lists ended",
            "unread watches ended",
            "unread pipeline ended",
        ] {
            ensure!(output.contains(expected), "no {expected:?} in {output}");
        }
        for reason in ["slow_head", "slow_body", "slow_reader"] {
            target.is_counted_and_audited(reason)?;
        }
        println!("{} MiB before, {} MiB at most", before / MIB, peak / MIB);
        ensure!(peak < before + BOUND, "{before} {peak}");
        wait_within(LONGEST, "the memory to be given back", || {
            let (left, after) = (target.descriptors()?, target.memory()?);
            ensure!(left < open + 10 && after < before + BOUND / 3, "{left} {before} {after}");
            Ok(())
        })
    });
}
