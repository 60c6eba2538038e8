//! Each service of a stack has time to save its data, however many others need it.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::ensure;
use portolan_tests::isolated;

/// The length of the chain, in which each service needs the one before it.
const LENGTH: usize = 10;
/// Several times what the ten need one after the other.
const LIMIT: Duration = Duration::from_secs(100);
/// Needs one second to save.
const PROGRAM: &str =
    "trap 'sleep 1; echo saved > saved-$1; exit 0' TERM; echo ready; while :; do sleep 0.02; done";

#[test]
fn every_service_of_a_chain_saves_its_data() {
    isolated(|env| {
        env.write("saves", PROGRAM)?;
        let mut file = "services:\n".to_owned();
        for number in 1..=LENGTH {
            let before = match number - 1 {
                0 => String::new(),
                before => format!(", needs: {{s{before}: started}}"),
            };
            writeln!(file, "  s{number}: {{command: sh saves {number}, port: none{before}}}")?;
        }
        env.write("portolan.yaml", &file)?;
        let mut up = env.portolan(&["up"])?.spawn("up")?;
        for number in 1..=LENGTH {
            up.wait_for_line(&format!("{:<12} | ready", format!("s{number}")))?;
        }
        up.signal(rustix::process::Signal::TERM)?;
        up.wait(LIMIT)?.exits(0)?;
        for number in 1..=LENGTH {
            ensure!(env.directory().join(format!("saved-{number}")).exists(), "s{number}");
        }
        Ok(())
    });
}
