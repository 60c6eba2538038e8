//! One address that sends as many requests or tokens as it can.

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, TIMEOUT, isolated};
use serde_json::Value;

use super::target::Target;

/// How often each status was the answer to the attacker.
fn answers(attack: &mut Process) -> Result<Value> {
    let output = attack.wait(TIMEOUT)?.exits(0)?.stdout;
    let line = output.lines().find_map(|line| line.strip_prefix("answers: "));
    Ok(serde_json::from_str(line.context(output.clone())?)?)
}

fn count(answers: &Value, status: &str) -> u64 {
    answers[status].as_u64().unwrap_or(0)
}

#[test]
fn flood_of_one_address_is_limited_and_others_are_served() {
    isolated(|env| {
        let target =
            Target::start(env, &["--set", "service_registry.clients.requests_per_second=100"])?;
        let mut attack = target.attack(&["flood", "5000"])?;
        attack.wait_for_line("flooding")?;
        target.serves_others()?;
        let answers = answers(&mut attack)?;
        ensure!(count(&answers, "429") > count(&answers, "200"), "{answers}");
        target.is_counted_and_audited("rate")?;
        target.serves_others()
    });
}

#[test]
fn guesser_of_a_thousand_tokens_tries_a_few_only() {
    isolated(|env| {
        let target = Target::start(env, &[])?;
        let mut attack = target.attack(&["guess", "1000"])?;
        let answers = answers(&mut attack)?;
        // Ten at once, and one more each ten seconds.
        ensure!((10..=20).contains(&count(&answers, "403")), "{answers}");
        ensure!(count(&answers, "429") == 1000 - count(&answers, "403"), "{answers}");
        target.is_counted_and_audited("wrong_token")?;
        target.is_counted_and_audited("guesses")?;
        ensure!(target.rejected("guesses")? >= 900.0, "{}", target.rejected("guesses")?);
        target.serves_others()
    });
}
