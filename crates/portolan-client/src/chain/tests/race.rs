//! Strategies that race. The clock is paused, so that durations are exact.

use super::*;

const ALL: [&str; 5] = ["default", "registry", "broadcast", "dns", "config"];

fn racing(mut rig: Rig) -> Rig {
    rig.chain.race = true;
    rig
}

fn rig(strategies: &[&str], script: &[(&str, &[Say])]) -> Rig {
    racing(Rig::new(strategies, script))
}

/// Returns the port and the strategy that were found, and how many milliseconds the lookup took.
async fn found(rig: &Rig, all: bool) -> (Option<(u16, &'static str)>, u64, Vec<String>) {
    let began = tokio::time::Instant::now();
    let (found, outcomes) = rig.run(&key(all)).await;
    let found = found.map(|found| {
        let suspects = crate::select::Suspects::new();
        let best = crate::select::one(&found.candidates, &suspects, &Default::default()).unwrap();
        (best.endpoint.port, found.strategy_of(best).as_str())
    });
    (found, u64::try_from(began.elapsed().as_millis()).unwrap(), outcomes)
}

#[tokio::test(start_paused = true)]
async fn lookup_that_an_early_strategy_decides_asks_nobody_else() {
    let rig = rig(&ALL, &[("registry", &[Say::Late(49, &Say::Found(1))])]);
    let (found, took, outcomes) = found(&rig, false).await;
    assert_eq!((found, took), (Some((1, "registry")), 49));
    assert_eq!(rig.times_asked("broadcast"), 0);
    assert_eq!(outcomes[2..], ["broadcast not asked", "dns not asked", "config not asked"]);
}

#[tokio::test(start_paused = true)]
async fn slow_strategy_does_not_delay_the_start_of_the_next_one() {
    let order = ["registry", "broadcast", "dns"];
    let script: [(&str, &[Say]); 3] = [
        ("registry", &[Say::Late(900, &Say::NotPermitted)]),
        ("broadcast", &[Say::Late(2_000, &Say::No)]),
        ("dns", &[Say::Late(1_000, &Say::Found(3))]),
    ];
    // dns starts after 100 ms and answers after 1,000 ms. Broadcast has 250 ms more then.
    let (won, took, outcomes) = found(&rig(&order, &script), false).await;
    assert_eq!((won, took), (Some((3, "dns")), 1_350));
    assert_eq!(outcomes[..2], ["registry could not ask", "broadcast could not ask"]);
    // One after the other: 900 ms, 2,000 ms and 1,000 ms.
    let (won, took, _) = found(&Rig::new(&order, &script), false).await;
    assert_eq!((won, took), (Some((3, "dns")), 3_900));
}

#[tokio::test(start_paused = true)]
async fn earliest_in_the_order_that_finds_an_instance_wins() {
    let script: [(&str, &[Say]); 3] = [
        ("registry", &[Say::Late(200, &Say::Found(1))]),
        ("broadcast", &[Say::Late(10, &Say::Found(2))]),
        ("dns", &[Say::Nothing]),
    ];
    // Broadcast answers 60 ms after the start, the registry 140 ms later.
    let (won, took, outcomes) =
        found(&rig(&["registry", "broadcast", "dns"], &script), false).await;
    assert_eq!((won, took), (Some((1, "registry")), 200));
    assert_eq!(outcomes[1..], ["broadcast found 127.0.0.1", "dns not asked"]);
}

#[tokio::test(start_paused = true)]
async fn earlier_strategies_have_a_limited_time_once_a_later_one_has_found_an_instance() {
    let script: [(&str, &[Say]); 2] =
        [("registry", &[Say::Nothing]), ("broadcast", &[Say::Late(10, &Say::Found(2))])];
    let (won, took, outcomes) = found(&rig(&["registry", "broadcast"], &script), false).await;
    assert_eq!((won, took), (Some((2, "broadcast")), 310));
    assert_eq!(outcomes[0], "registry could not ask");
}

#[tokio::test(start_paused = true)]
async fn strategy_that_still_runs_when_the_lookup_is_decided_is_not_waited_for() {
    let script: [(&str, &[Say]); 2] =
        [("registry", &[Say::Late(80, &Say::Found(1))]), ("broadcast", &[Say::Nothing])];
    let (won, took, outcomes) = found(&rig(&["registry", "broadcast"], &script), false).await;
    assert_eq!((won, took), (Some((1, "registry")), 80));
    assert_eq!(outcomes[1], "broadcast not waited for");
}

#[tokio::test(start_paused = true)]
async fn stronger_proof_wins_over_the_order() {
    let leased = [Say::Proven(8, Proof::Leased, HealthStatus::Unknown)];
    let script: [(&str, &[Say]); 2] =
        [("registry", &[Say::Late(100, &Say::Found(1))]), ("default", &leased)];
    let (won, ..) = found(&rig(&["registry", "default"], &script), false).await;
    let (without, ..) = found(&Rig::new(&["registry", "default"], &script), false).await;
    assert_eq!((won, without), (Some((1, "registry")), Some((1, "registry"))), "as without a race");

    let (won, took, _) = found(
        &rig(&["registry", "default"], &[("registry", &[Say::Nothing]), ("default", &leased)]),
        false,
    )
    .await;
    assert_eq!((won, took), (Some((8, "default")), 300));
}

#[tokio::test(start_paused = true)]
async fn well_known_port_waits_for_every_strategy() {
    let unproven = [Say::Proven(8080, Proof::WellKnownPort, HealthStatus::Unknown)];
    let script: [(&str, &[Say]); 3] = [
        ("default", &unproven),
        ("registry", &[Say::Late(300, &Say::No)]),
        ("broadcast", &[Say::Late(600, &Say::Found(2))]),
    ];
    let (won, took, _) = found(&rig(&["default", "registry", "broadcast"], &script), false).await;
    assert_eq!((won, took), (Some((2, "broadcast")), 650));

    let script: [(&str, &[Say]); 2] = [("default", &unproven), ("registry", &[Say::NotPermitted])];
    let (won, ..) = found(&rig(&["default", "registry"], &script), false).await;
    assert_eq!(won, None, "the registry may know a better one");
}

#[tokio::test(start_paused = true)]
async fn authenticated_registry_is_waited_for_as_long_as_it_may_take() {
    let strategies = Some(["registry", "broadcast"].map(|name| name.parse().unwrap()).to_vec());
    let key = LookupKey { strategies, ..key(false) };
    let forged = [Say::Found(2)];

    let late = [Say::Late(900, &Say::Found(1))];
    let rig = racing(with_token(&[("registry", &late), ("broadcast", &forged)]));
    let (found, _) = rig.run(&key).await;
    assert_eq!(found.unwrap().candidates[0].endpoint.port, 1);

    let late = [Say::Late(900, &Say::No)];
    let rig = racing(with_token(&[("registry", &late), ("broadcast", &forged)]));
    let (found, outcomes) = rig.run(&key).await;
    assert!(found.is_none(), "not found is final: {outcomes:?}");
    assert_eq!(outcomes[1], "broadcast skipped");

    let rig = racing(with_token(&[("registry", &[Say::Nothing]), ("broadcast", &forged)]));
    let began = tokio::time::Instant::now();
    let (found, _) = rig.run(&key).await;
    assert_eq!(found.unwrap().candidates[0].trust, Trust::Unsigned, "as without a race");
    assert_eq!(began.elapsed(), Duration::from_secs(1), "the timeout of the registry");
}

#[tokio::test(start_paused = true)]
async fn strategies_that_are_off_are_not_asked_in_a_race() {
    let script: [(&str, &[Say]); 2] =
        [("registry", &[Say::Nothing]), ("broadcast", &[Say::Found(2)])];
    let rig = racing(with_token(&script));
    let (found, took, outcomes) = found(&rig, false).await;
    assert_eq!((found, took), (None, 1_000));
    assert_eq!(outcomes[2..], ["broadcast skipped", "dns skipped"]);
}

#[tokio::test(start_paused = true)]
async fn race_finds_what_the_order_finds_if_all_answer_within_the_limit() {
    let passing = |port, proof| Say::Proven(port, proof, HealthStatus::Passing);
    let answers = [
        Say::No,
        Say::Skip,
        Say::Empty,
        Say::NotPermitted,
        passing(1, Proof::Registered),
        Say::Proven(2, Proof::Registered, HealthStatus::Critical),
        Say::Proven(3, Proof::Leased, HealthStatus::Unknown),
        Say::Proven(4, Proof::WellKnownPort, HealthStatus::Unknown),
    ];
    let order = ["default", "registry", "dns"];
    for first in answers {
        for second in answers {
            for third in answers {
                let script = [[first], [second], [third]];
                let script: Vec<(&str, &[Say])> =
                    order.into_iter().zip(script.iter().map(|say| &say[..])).collect();
                for all in [false, true] {
                    let (raced, ..) = found(&rig(&order, &script), all).await;
                    let (expected, ..) = found(&Rig::new(&order, &script), all).await;
                    assert_eq!(raced, expected, "{script:?} all {all}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn overall_timeout_bounds_a_race() {
    let all = ["broadcast", "dns"];
    let rig = rig(&all, &all.map(|name| (name, &[Say::Nothing][..])));
    let key = LookupKey { overall: Duration::from_millis(40), ..key(false) };
    let began = tokio::time::Instant::now();
    let (found, outcomes) = rig.run(&key).await;
    assert!(found.is_none());
    assert_eq!(began.elapsed(), Duration::from_millis(38));
    assert_eq!(outcomes, ["broadcast could not ask", "dns not asked"]);
}
