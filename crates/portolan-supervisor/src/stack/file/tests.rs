use super::*;
use crate::Handoff;

fn read(yaml: &str) -> Result<StackFile, String> {
    let stack: StackFile = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    stack.validate().map_err(|error| format!("{}: {error}", error.path()))?;
    Ok(stack)
}

#[test]
fn service_requires_only_a_command() {
    let stack = read("services: {api: {command: run-api}}").unwrap();
    let api = stack.services.values().next().unwrap();
    assert_eq!(
        (api.port.clone(), api.instances, api.handoff),
        (MainPort::PoolDefault, 1, Handoff::Auto)
    );
}

#[test]
fn port_is_a_number_or_none() {
    let port = |port: &str| {
        let stack = read(&format!("services: {{api: {{command: x, port: {port}}}}}"))?;
        Ok::<_, String>(stack.services.into_values().next().unwrap().port)
    };
    assert_eq!(port("8080").unwrap(), MainPort::Preferred(vec![8080]));
    assert_eq!(port("[3000, 3001]").unwrap(), MainPort::Preferred(vec![3000, 3001]));
    assert_eq!(port("none").unwrap(), MainPort::None);
    for text in ["0", "70000", "-1", "auto"] {
        assert!(port(text).unwrap_err().contains("a port from 1 to 65535"), "{text}");
    }
}

#[test]
fn named_ports_are_numbers_pools_or_empty() {
    let ports = "ports: {a: 9100, b: {port: 81, pool: api}, c: , d: {pool: api}, e: [1, 2], f: 5-9, g: {range: 5-9}}";
    let stack = read(&format!("services: {{x: {{command: '{{port:a}} {{fd:d}}', {ports}}}}}"));
    let entry = stack.unwrap().services.into_values().next().unwrap();
    let named = ["a=9100", "b=81@api", "c", "d@api", "e=1,2", "f=5-9", "g=5-9"];
    let named: Vec<_> = named.map(|it| it.parse().unwrap()).into();
    assert_eq!(entry.ports, named);
}

#[test]
fn braces_of_other_programs_are_no_placeholders() {
    let command = "curl -w %{http_code} {} {a,b} {1..3} ${prot} {db.uri.x} {user} {part} {port}";
    read(&format!("services: {{db: {{command: x}}, a: {{command: \"{command}\"}}}}")).unwrap();
}

#[test]
fn invalid_stack_is_rejected_with_its_path() {
    for (yaml, expected) in [
        ("services: {}", "services: no services"),
        ("services: {a: {command: x, instances: 0}}", "services.a.instances: 0"),
        ("services: {a: {command: x, instances: 9999}}", "services.a.instances: 9999"),
        ("services: {a: {command: x, comand: z}}", "comand"),
        ("services: {a: {command: ''}}", "command is empty"),
        ("services: {a b: {command: x}}", "position 2"),
        ("services: {a: {command: x, needs: [a]}}", "a -> a"),
        (
            "services: {a: {command: x, port: none}, b: {command: run, needs: [a]}}",
            "services.b.needs: a has no port",
        ),
        ("services: {a: {command: x, health: 'htpp:/x'}}", "is not a health check"),
        ("services: {a: {command: x, port: none, health: tcp}}", "services.a.health: no effect"),
        ("services: {a: {command: 'x {port}', port: none}}", "services.a.command: no effect"),
        ("services: {a: {command: x, port: none, pool: api}}", "services.a.pool: no effect"),
        ("services: {a: {command: 'x {fd}', port: none}}", "services.a.command: no effect"),
        ("services: {a: {command: x, port: none, ports: {m: 1}}}", "services.a.ports: no effect"),
        ("services: {a: {command: x, ports: {m: 0}}}", "invalid port 0"),
        (
            "services: {a: {command: x, ports: {m: true}}}",
            "a port from 1 to 65535, a list of such, a",
        ),
        ("services: {a: {command: x, ports: {m: []}}}", "m: an empty list"),
        ("services: {a: {command: x, ports: {m: {range: 1-9, pool: api}}}}", "beside a pool"),
        ("services: {a: {command: x, ports: {m: {strict: true}}}}", "strict has no effect"),
        (
            "services: {a: {command: x, tty: true, stdin: closed}}",
            "services.a.stdin: no effect on a program with a terminal",
        ),
        ("services: {a: {command: 'x {prot}'}}", "services.a.command: {prot} is not a placeholder"),
        ("services: {a: {command: x, env: {P: '{PORT}'}}}", "services.a.env: {PORT} is not a"),
        (
            "services: {db: {command: x}, a: {command: 'x {db}', needs: [db]}}",
            "services.a.command: {db} is not a placeholder",
        ),
        (
            "services: {db: {command: x}, a: {command: 'x {db.prot}', needs: [db]}}",
            "services.a.command: {db.prot} is not a placeholder",
        ),
        ("services: {a: {command: x, ports: {a b: 1}}}", "the port name \"a b\""),
        ("services: {a: {command: 'x {port:m}'}}", "services.a: placeholder {port:m}"),
        ("services: {a: {command: 'x {fd}', handoff: guard}}", "services.a: placeholder {fd}"),
        (
            "services: {a: {command: x, ports: {a.b: 1, a-b: 2}}}",
            "the environment variable PORT_A_B",
        ),
        ("services: {a: {command: x, bind: here}}", "expected all, loopback or an IP address"),
        ("services: {a: {command: x, handoff: hold}}", "handoff"),
        ("services: {a: {command: x, port: []}}", "a port from 1 to 65535, a list of such"),
        ("services: {a: {command: x, port: [80, 0]}}", "a port from 1 to 65535, a list of such"),
        ("services: {a: {command: x, range: 9-1}}", "expected 1-9"),
        ("services: {a: {command: x, range: 1-9, pool: api}}", "services.a.range: no effect"),
        ("services: {a: {command: x, range: 1-9, port: none}}", "services.a.range: no effect"),
        ("services: {a: {command: x, strict: true, port: none}}", "services.a.strict: no effect"),
        ("services: {a: {command: x, strict: true}}", "services.a.strict: no effect without"),
        (
            "services: {a: {command: x, strict: true, port: 1, range: 1-9}}",
            "services.a.strict: no effect beside a range",
        ),
        (
            "services: {a: {command: x, strict: true, port: [1, 2], instances: 3}}",
            "services.a.strict: 3 instances cannot have the 2 ports",
        ),
        ("services: {a: {command: x, drain: 5s}}", "services.a.drain: 5s is not shorter than"),
        ("services: {a: {command: x, port: none, drain: 1s}}", "services.a.drain: no effect"),
        ("services: {a: {command: x, drain: soon}}", "drain"),
        (
            "services: {a: {command: x, restart: always}, b: {command: x, needs: {a: completed}}}",
            "services.b.needs: a never completes",
        ),
    ] {
        let error = read(yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}

#[test]
fn texts_and_remedies() {
    let error_of = |services: &str| {
        let stack: StackFile =
            serde_saphyr::from_str(&format!("services: {{{services}}}")).unwrap();
        let error = stack.validate().unwrap_err();
        (error.path(), error)
    };
    let (paths, errors): (Vec<_>, Vec<_>) = [
        "",
        "a: {command: x, instances: 0}",
        "a: {command: x, needs: [b]}, b: {command: x, needs: [a]}",
        "a: {command: x, port: none, handoff: guard}",
        "a: {command: x, port: none}, b: {command: x, needs: [a]}",
        "a: {command: 'x {fd}', handoff: guard}",
    ]
    .map(error_of)
    .into_iter()
    .unzip();
    insta::assert_snapshot!(crate::test_env::texts_and_remedies(&errors));
    let expected = ["services", "services.a.instances", "services", "services.a.handoff"];
    assert_eq!(paths, [&expected[..], &["services.b.needs", "services.a"]].concat());
}

#[test]
fn directories_with_the_same_name_have_different_scopes() {
    let one = scope_of_folder(Path::new("/home/a/shop"));
    let two = scope_of_folder(Path::new("/home/b/shop"));
    assert_ne!(one, two);
    assert!(one.as_str().starts_with("shop-"), "{one}");
    assert_eq!(one, scope_of_folder(Path::new("/home/a/shop")));
}

#[test]
fn scope_is_derived_from_any_directory() {
    for folder in ["/", "/tmp/…", "/tmp/a b", "/tmp/.hidden", "/tmp/-x"] {
        assert!(!scope_of_folder(Path::new(folder)).is_default(), "{folder}");
    }
}
