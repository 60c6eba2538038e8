//! The URL that the registry checks because of the label `portolan.health`. An image brings labels too, so whoever made it
//! could let the registry send requests to any port of the host: only ports of the container itself count.

use portolan_core::{AddressPort, Host, quoted};
use url::Url;

use crate::addresses::{HostView, addresses};
use crate::container::Container;
use crate::instance::NotRegistered;
use crate::labels::{ContainerPort, Declared};

/// Returns the URL of the declared check, if there is one.
pub(crate) fn check_url(
    declared: &Declared,
    best: &AddressPort,
    container: &Container,
    host: &HostView,
) -> Result<Option<String>, NotRegistered> {
    let Some(check) = &declared.health else { return Ok(None) };
    let Some(url) = check.health_url(&best.host, best.port) else {
        return Err(NotRegistered::AgentCheck(quoted(&check.to_string())));
    };
    let is_own = address_of(&url).is_some_and(|(checked, port)| {
        let is_best = (&checked, port) == (&best.host, best.port);
        is_best || has_port(container, &checked, port, host)
    });
    match is_own {
        true => Ok(Some(url)),
        false => Err(NotRegistered::ForeignCheck(quoted(&check.to_string()))),
    }
}

/// Whether what listens there is the container: it publishes the port, or has the address, or all the addresses of the host.
fn has_port(container: &Container, checked: &Host, port: u16, host: &HostView) -> bool {
    let port_of = |number| ContainerPort { number, transport: "tcp".to_owned() };
    let published = container.network_settings.ports.keys();
    let published = published.filter_map(|key| ContainerPort::parse(key));
    published.chain([port_of(port)]).any(|own| {
        let mut all = addresses(container, &own, host).into_iter();
        all.any(|address| (&address.host, address.port) == (checked, port))
    })
}

fn address_of(url: &str) -> Option<(Host, u16)> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    Some((host.parse().ok()?, url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use portolan_core::Ttl;

    use super::*;
    use crate::instance::Instance;

    fn health_url(mode: &str, check: &str) -> Result<Option<String>, String> {
        let container = serde_json::json!({
            "Id": "0123456789abcdef", "Name": "/web", "State": {"Running": true},
            "HostConfig": {"NetworkMode": mode},
            "Config": {"Labels": {
                "portolan.name": "web", "portolan.port": "80", "portolan.health": check,
            }},
            "NetworkSettings": {
                "Ports": {
                    "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
                    "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}],
                },
                "Networks": {"bridge": {"IPAddress": "172.17.0.2", "IPPrefixLen": 16}},
            },
        });
        let container: Container = serde_json::from_value(container).unwrap();
        let own: Host = "127.0.0.1".parse().unwrap();
        let host = HostView { addresses: vec![own.clone()], own, is_with_registry: true };
        let found = Instance::of(&container, "engine", &host, Ttl::default());
        found
            .map(|instance| instance.unwrap().registration.health_url)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn ports_of_the_container_are_checked() {
        for (check, url) in [
            ("http:/health", "http://127.0.0.1:8080/health"),
            ("tcp", "tcp://127.0.0.1:8080"),
            ("http://127.0.0.1:8081/health", "http://127.0.0.1:8081/health"),
            ("tcp:172.17.0.2:9000", "tcp://172.17.0.2:9000"),
        ] {
            assert_eq!(health_url("bridge", check).unwrap().unwrap(), url, "{check}");
        }
        // It could connect to all ports of the host itself.
        assert!(health_url("host", "http://127.0.0.1:9000/health").unwrap().is_some());
    }

    #[test]
    fn ports_of_the_host_that_are_not_of_the_container_are_refused() {
        for check in [
            "http://127.0.0.1:2375/containers/json",
            "http://127.0.0.1/",
            "tcp:127.0.0.1:81",
            "redis:127.0.0.1:6379",
            "http://localhost:8080/",
            "http://169.254.169.254/latest",
            "tcp:[::1]:8080",
        ] {
            let error = health_url("bridge", check).unwrap_err();
            assert!(error.starts_with("label portolan.health: "), "{check}: {error}");
            assert!(error.contains("not a port of the container"), "{check}: {error}");
        }
        assert!(health_url("host", "http://169.254.169.254/latest").is_err());
    }
}
