//! What programs write.

use super::*;

#[tokio::test]
async fn output_is_forwarded_in_bounded_lines() {
    let env = TestEnv::new().await;
    let script = r"head -c 40000 /dev/zero | tr '\0' x; echo; printf '\377\r\nend'; echo err >&2";
    std::fs::write(env.path("script"), script).unwrap();
    let stack = start(&env, "  a: {command: sh script, port: none}");
    let mut lines = stack.lines;
    let mut printed = Vec::new();
    while let Some(line) = tokio::time::timeout(TIMEOUT, lines.recv()).await.expect("lines in time")
    {
        printed.push(line.text);
    }
    let long: Vec<usize> = printed.iter().map(String::len).filter(|len| *len > 10).collect();
    assert_eq!((long.iter().sum::<usize>(), long.len()), (40_000, 3));
    for line in ["\u{fffd}", "end", "err"] {
        assert!(printed.iter().any(|one| one == line), "{line:?} is missing");
    }
}

#[tokio::test]
async fn program_runs_on_if_its_output_is_not_received() {
    let env = TestEnv::new().await;
    let script = "head -c 500000 /dev/zero | tr '\\0' '\\n'; echo done > told";
    std::fs::write(env.path("script"), script).unwrap();
    let stack = start(&env, "  a: {command: sh script, port: none}");
    drop(stack.lines);
    env.line_in("told").await;
    let rows =
        tokio::time::timeout(TIMEOUT, stack.task).await.expect("an end in time").unwrap().rows;
    assert_eq!(rows[0].state, InstanceState::Exited { code: 0 });
}
