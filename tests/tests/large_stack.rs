//! A stack of many services.

use anyhow::{Context as _, Result, ensure};
use portolan_tests::{TestEnv, isolated};

/// The server starts fast, and only listens.
const SERVER: &str = "\
use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ENV{PORT}, Listen => 16, ReuseAddr => 1) or die $@;
while (my $c = $s->accept) { close $c }
";
/// How many services listen, and how many do not.
const EACH: usize = 100;

/// Returns how many entries of this part of the list have a name with this beginning.
fn listed(env: &TestEnv, part: &str, beginning: &str) -> Result<usize> {
    let list = env.portolan(&["list", "--json"])?.run()?.json()?;
    let rows = list[part].as_array().context("no list")?;
    let names = rows.iter().filter_map(|row| row["name"].as_str());
    Ok(names.filter(|name| name.starts_with(beginning)).count())
}

#[test]
fn two_hundred_services_start_are_listed_and_end() {
    isolated(|env| {
        env.write("serve.pl", SERVER)?;
        let mut file = "services:\n".to_owned();
        for number in 0..EACH {
            let port = 21_000 + number;
            file +=
                &format!("  s{number}: {{command: perl serve.pl, port: {port}, strict: true}}\n");
            file += &format!("  job{number}: {{command: sleep 1000, port: none}}\n");
        }
        env.write("portolan.yaml", &file)?;
        let mut up = env.portolan(&["up"])?.spawn("up")?;
        for number in 0..EACH {
            up.wait_for_line(&format!("on port {}, passing", 21_000 + number))?;
            up.wait_for_line(&format!("{:<12} * pid ", format!("job{number}")))?;
        }
        ensure!(listed(env, "services", "s")? == EACH);
        ensure!(listed(env, "declared", "job")? == EACH);
        up.terminate()?.exits(0)?;
        let left: Vec<_> = env
            .processes()?
            .into_iter()
            .filter(|(_, it)| it.contains("serve.pl") || it.contains("sleep 1000"))
            .collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    });
}
