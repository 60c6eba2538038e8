//! A user of this host that guesses the token of another user's registry.

use super::*;

use portolan_tests::{REGISTRY, isolated};

const TOKEN: &str = "e1c5e3b06fa24f8a9d0c";

/// Sends a request with each token in turn, each on a connection of its own, and prints the statuses. A header that pretends to be a
/// proxy changes nothing.
const CLIENT: &str = "
import sys, urllib.error, urllib.request
for token in sys.argv[2:]:
    headers = {'Authorization': 'Bearer ' + token, 'Via': '1.1 proxy'}
    request = urllib.request.Request(sys.argv[1] + '/api/v1/services', headers=headers)
    try:
        print(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        print(error.code)
";

/// The statuses of the requests of this user with these tokens.
fn statuses(user: &User<'_>, name: &str, tokens: &[String]) -> Result<Vec<String>> {
    let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let words = servers::python(&[&["-c", CLIENT, REGISTRY], &words[..]].concat())?;
    let mut client = user.env.spawn(name, user.command(&[], &words))?;
    let output = client.wait(portolan_tests::TIMEOUT)?.exits(0)?.stdout;
    Ok(output.lines().map(str::to_owned).collect())
}

#[test]
fn guesser_on_this_host_is_locked_out_and_other_users_are_not() {
    isolated(|env| {
        let (alice, bob) = (User::new(env, ALICE)?, User::new(env, BOB)?);
        let serve = ["serve", "--set", "broadcast.enabled=false"];
        let serve = env.portolan(&serve)?.env("PORTOLAN_TOKEN", TOKEN);
        let mut registry = serve.spawn("serve")?;
        registry.wait_for_line("Registry server started")?;
        let guesses: Vec<String> = (0..50).map(|guess| format!("guess-{guess}")).collect();
        let own = [TOKEN.to_owned()];
        let answers = statuses(&bob, "guesser", &[&guesses[..], &own].concat())?;
        let tried = answers.iter().filter(|status| *status == "403").count();
        // Ten at once, and one more each ten seconds.
        ensure!((10..=20).contains(&tried), "{answers:?}");
        ensure!(answers.last().is_some_and(|status| status == "429"), "{answers:?}");
        ensure!(statuses(&alice, "client", &own)? == ["200"], "others are served");
        Ok(())
    });
}
