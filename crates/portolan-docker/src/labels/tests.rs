use super::*;

/// A container with these labels that exposes the second list of ports and publishes the third.
fn container(labels: &[(&str, &str)], exposed: &[&str], published: &[&str]) -> Container {
    let text = serde_json::json!({
        "Id": "0123456789abcdef", "Name": "/web", "State": {"Running": true},
        "Config": {
            "Labels": labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect::<serde_json::Map<_, _>>(),
            "ExposedPorts": exposed.iter().map(|port| ((*port).to_owned(), serde_json::json!({}))).collect::<serde_json::Map<_, _>>(),
        },
        "NetworkSettings": {
            "Ports": published.iter().map(|port| ((*port).to_owned(), serde_json::json!([{"HostIp": "0.0.0.0", "HostPort": "8080"}]))).collect::<serde_json::Map<_, _>>(),
        },
    });
    serde_json::from_value(text).unwrap()
}

fn declared(labels: &[(&str, &str)], exposed: &[&str], published: &[&str]) -> Option<String> {
    let found = Declared::of(&container(labels, exposed, published)).unwrap()?;
    let Declared { name, scope, port, protocol, .. } = found;
    Some(format!("{scope}/{name} {} {protocol}", port.key()))
}

fn refused(labels: &[(&str, &str)], exposed: &[&str]) -> String {
    Declared::of(&container(labels, exposed, &[])).unwrap_err().to_string()
}

const COMPOSE: [(&str, &str); 2] = [(COMPOSE_SERVICE, "db"), (COMPOSE_PROJECT, "shop")];

#[test]
fn service_is_that_of_the_labels() {
    let labels = [("portolan.name", "web"), ("portolan.port", "53/udp"), ("portolan.scope", "a")];
    assert_eq!(declared(&labels, &[], &[]).unwrap(), "a/web 53/udp udp");
    let labels = [("portolan.name", "web"), ("portolan.protocol", "http")];
    assert_eq!(declared(&labels, &["80/tcp", "81/udp"], &[]).unwrap(), "default/web 80/tcp http");
    assert_eq!(declared(&[("maintainer", "x")], &["80/tcp"], &["80/tcp"]), None);
}

#[test]
fn service_of_compose_is_registered_in_the_scope_of_its_project_if_it_has_a_port() {
    assert_eq!(declared(&COMPOSE, &["5432/tcp"], &[]).unwrap(), "shop/db 5432/tcp tcp");
    assert_eq!(
        declared(&COMPOSE, &["5432/tcp", "1/tcp"], &["5432/tcp"]).unwrap(),
        "shop/db 5432/tcp tcp"
    );
    assert_eq!(declared(&COMPOSE, &[], &[]), None);
    let named = [COMPOSE.as_slice(), &[("portolan.name", "postgres")]].concat();
    assert_eq!(declared(&named, &["5432/tcp"], &[]).unwrap(), "shop/postgres 5432/tcp tcp");
    for (label, value) in [("portolan.enable", "false"), (COMPOSE_ONE_OFF, "True")] {
        let none = [COMPOSE.as_slice(), &[(label, value)]].concat();
        assert_eq!(declared(&none, &["5432/tcp"], &[]), None, "{label}");
    }
}

#[test]
fn label_that_cannot_be_used_is_named() {
    let name = ("portolan.name", "web");
    let with = |label: &str, value: &str| refused(&[name, (label, value)], &["80/tcp"]);
    insta::assert_snapshot!(
        [
            refused(&[("portolan.name", "a b")], &["80/tcp"]),
            refused(&[("portolan.port", "80")], &[]),
            refused(&[name], &[]),
            refused(&[name], &["80/tcp", "443/tcp"]),
            with("portolan.port", "0"),
            with("portolan.port", "80/x\n\u{1b}[31m"),
            with("portolan.prot", "80"),
            with("portolan.something", "80"),
            with("portolan.enable", "maybe"),
            with("portolan.health", "htp:/x"),
            with("portolan.meta.scope", "x"),
            with("portolan.meta.docker.id", "x"),
        ]
        .join("\n")
    );
}
