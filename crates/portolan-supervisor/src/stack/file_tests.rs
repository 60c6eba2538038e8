use super::*;

fn read(yaml: &str) -> Result<StackFile, String> {
    let stack: StackFile = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    stack.validate().map_err(|error| error.to_string())?;
    Ok(stack)
}

#[test]
fn a_service_needs_a_command_only() {
    let stack = read("services: {api: {command: run-api}}").unwrap();
    let api = stack.services.values().next().unwrap();
    assert_eq!((api.port, api.instances, api.handoff), (PortWish::OfPool, 1, Handoff::Auto));
}

#[test]
fn a_port_is_a_number_or_none() {
    let port = |wish: &str| {
        let stack = read(&format!("services: {{api: {{command: x, port: {wish}}}}}"))?;
        Ok::<_, String>(stack.services.into_values().next().unwrap().port)
    };
    assert_eq!(port("8080").unwrap(), PortWish::Preferred(8080));
    assert_eq!(port("none").unwrap(), PortWish::None);
    for wish in ["0", "70000", "-1", "auto"] {
        assert!(port(wish).unwrap_err().contains("a port from 1 to 65535"), "{wish}");
    }
}

#[test]
fn further_ports_are_numbers_pools_or_nothing() {
    let ports = "ports: {a: 9100, b: {port: 81, pool: api}, c: , d: {pool: api}}";
    let stack = read(&format!("services: {{x: {{command: '{{port:a}} {{fd:d}}', {ports}}}}}"));
    let entry = stack.unwrap().services.into_values().next().unwrap();
    let named: Vec<_> = ["a=9100", "b=81@api", "c", "d@api"].map(|it| it.parse().unwrap()).into();
    assert_eq!(entry.named_ports(), named);
}

#[test]
fn what_cannot_be_started_is_refused_with_its_place() {
    for (yaml, expected) in [
        ("services: {}", "services: there are none"),
        ("services: {a: {command: x, instances: 0}}", "services.a.instances: 0"),
        ("services: {a: {command: x, instances: 9999}}", "services.a.instances: 9999"),
        ("services: {a: {command: x, comand: z}}", "comand"),
        ("services: {a: {command: ''}}", "the command is empty"),
        ("services: {a b: {command: x}}", "position 2"),
        ("services: {a: {command: x, needs: [a]}}", "a -> a"),
        (
            "services: {a: {command: x, port: none}, b: {command: run, needs: [a]}}",
            "services.b.needs: a has no port",
        ),
        ("services: {a: {command: x, health: 'htpp:/x'}}", "is not a health check"),
        ("services: {a: {command: x, port: none, health: tcp}}", "services.a.health: the service"),
        ("services: {a: {command: 'x {port}', port: none}}", "services.a.command: the service"),
        ("services: {a: {command: x, port: none, pool: api}}", "services.a.pool: the service"),
        ("services: {a: {command: 'x {fd}', port: none}}", "services.a.command: the service"),
        ("services: {a: {command: x, port: none, ports: {m: 1}}}", "services.a.ports: the service"),
        ("services: {a: {command: x, ports: {m: 0}}}", "0 is not a port"),
        ("services: {a: {command: x, ports: {m: true}}}", "a port from 1 to 65535, nothing, or"),
        ("services: {a: {command: x, ports: {a b: 1}}}", "the port name \"a b\""),
        ("services: {a: {command: 'x {port:m}'}}", "services.a: {port:m} and {fd:m} stand for"),
        ("services: {a: {command: 'x {fd}', handoff: guard}}", "services.a: {fd} stands for"),
        ("services: {a: {command: x, ports: {a.b: 1, a-b: 2}}}", "both be PORT_A_B"),
        ("services: {a: {command: x, bind: here}}", "expected all, loopback or an IP address"),
        ("services: {a: {command: x, handoff: hold}}", "handoff"),
    ] {
        let error = read(yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}

#[test]
fn a_wrong_stack_says_which_key_must_change() {
    let stack: StackFile =
        serde_saphyr::from_str("services: {a: {command: x, port: none, handoff: guard}}").unwrap();
    let error = stack.validate().unwrap_err();
    assert_eq!(error.path(), "services.a.handoff");
    assert!(error.to_string().starts_with("services.a.handoff: "), "{error}");
}

#[test]
fn two_folders_of_one_name_are_two_scopes() {
    let one = scope_of_folder(Path::new("/home/a/shop"));
    let two = scope_of_folder(Path::new("/home/b/shop"));
    assert_ne!(one, two);
    assert!(one.as_str().starts_with("shop-"), "{one}");
    assert_eq!(one, scope_of_folder(Path::new("/home/a/shop")));
}

#[test]
fn any_folder_makes_a_scope() {
    for folder in ["/", "/tmp/…", "/tmp/a b", "/tmp/.hidden", "/tmp/-x"] {
        assert!(!scope_of_folder(Path::new(folder)).is_default(), "{folder}");
    }
}
