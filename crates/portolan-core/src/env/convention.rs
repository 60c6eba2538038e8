//! The names of variables by which programs of other systems find a service.

use std::collections::BTreeSet;

use super::{InvalidVariables, check, prefix, variables};
use crate::{Protocol, ServiceEndpoint, ServiceName, schemes, text_enum};

/// How the variables of a service are named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Convention {
    /// Portolan's: `API_HOST`, `API_PORT` (a number) and `API_URL`.
    #[default]
    Portolan,
    /// Links of Docker and of Compose files before version 2: `API_PORT` (`tcp://10.0.0.7:80`), `API_PORT_80_TCP_ADDR` and more.
    Links,
    /// The pods of Kubernetes: `API_SERVICE_HOST` and `API_SERVICE_PORT`, and those of links.
    Kubernetes,
    /// .NET Aspire: `services__api__http__0`, with the scheme of the URL, and `ConnectionStrings__api` for what is not HTTP.
    Aspire,
}

/// A word that names no convention.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no convention; expected portolan, links, kubernetes or aspire")]
pub struct UnknownConvention(String);

text_enum! { Convention, UnknownConvention,
    Portolan => "portolan",
    Links => "links",
    Kubernetes => "kubernetes",
    Aspire => "aspire",
}

// === impl Convention ===

impl Convention {
    /// Returns the variables of an endpoint, with `before` before each name.
    ///
    /// # Errors
    ///
    /// Programs give the variables a meaning of their own, or the URL has a scheme that is not given to programs.
    pub fn variables(
        self,
        name: &ServiceName,
        endpoint: &ServiceEndpoint,
        before: &str,
        more_schemes: &BTreeSet<Protocol>,
    ) -> Result<Vec<(String, String)>, InvalidVariables> {
        check([name], before)?;
        let prefix = format!("{before}{}", prefix(name));
        match self {
            Self::Portolan => Ok(variables(name, endpoint, before, more_schemes)?.into()),
            Self::Links => Ok(links(&prefix, endpoint)),
            Self::Kubernetes => {
                Ok([kubernetes(&prefix, endpoint), links(&prefix, endpoint)].concat())
            }
            Self::Aspire => {
                let url = schemes::checked_url(endpoint, more_schemes)?;
                Ok(vec![aspire(name, endpoint.protocol.as_str(), before, url)])
            }
        }
    }
}

/// Docker's legacy container links, without the names of containers.
fn links(prefix: &str, endpoint: &ServiceEndpoint) -> Vec<(String, String)> {
    let (host, port) = (endpoint.host.to_string(), endpoint.port);
    let transport =
        if endpoint.protocol.as_str().eq_ignore_ascii_case("udp") { "udp" } else { "tcp" };
    let url = format!("{transport}://{}", endpoint.address());
    let of_port = format!("{prefix}_PORT_{port}_{}", transport.to_ascii_uppercase());
    vec![
        (format!("{prefix}_PORT"), url.clone()),
        (of_port.clone(), url),
        (format!("{of_port}_ADDR"), host),
        (format!("{of_port}_PORT"), port.to_string()),
        (format!("{of_port}_PROTO"), transport.to_owned()),
    ]
}

/// The variables of a pod, "Discovering services" in the documentation of Kubernetes.
fn kubernetes(prefix: &str, endpoint: &ServiceEndpoint) -> Vec<(String, String)> {
    vec![
        (format!("{prefix}_SERVICE_HOST"), endpoint.host.to_string()),
        (format!("{prefix}_SERVICE_PORT"), endpoint.port.to_string()),
    ]
}

/// The configuration keys of Microsoft.Extensions.ServiceDiscovery, in which `__` stands for a level.
fn aspire(name: &ServiceName, scheme: &str, before: &str, url: String) -> (String, String) {
    match scheme {
        "http" | "https" | "grpc" | "grpcs" => {
            (format!("{before}services__{name}__{scheme}__0"), url)
        }
        _ => (format!("{before}ConnectionStrings__{name}"), url),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{Registration, Ttl};

    fn shown(convention: Convention, protocol: &str, host: &str) -> String {
        let name: ServiceName = "shop-api".parse().unwrap();
        let mut registration = Registration::new(name.clone(), host.parse().unwrap(), 8080);
        registration.protocol = protocol.parse().unwrap();
        let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
        let all = convention.variables(&name, &endpoint, "", &BTreeSet::new()).unwrap();
        all.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    #[test]
    fn each_convention_has_its_names() {
        let pages: Vec<String> = Convention::ALL
            .iter()
            .map(|it| format!("{it}\n{}", shown(*it, "http", "10.0.0.7")))
            .collect();
        insta::assert_snapshot!(pages.join("\n"));
    }

    #[test]
    fn ipv6_address_is_in_brackets_in_urls_only() {
        let links = shown(Convention::Links, "tcp", "2001:db8::1");
        assert!(links.contains("SHOP_API_PORT=tcp://[2001:db8::1]:8080\n"), "{links}");
        assert!(links.contains("SHOP_API_PORT_8080_TCP_ADDR=2001:db8::1\n"), "{links}");
    }

    #[test]
    fn variables_with_a_meaning_of_their_own_are_refused_in_every_convention() {
        let name: ServiceName = "kubernetes".parse().unwrap();
        let registration = Registration::new(name.clone(), "10.0.0.7".parse().unwrap(), 80);
        let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
        for convention in Convention::ALL {
            let refused = convention.variables(&name, &endpoint, "", &BTreeSet::new());
            assert!(matches!(refused, Err(InvalidVariables::Reserved { .. })), "{convention}");
        }
    }
}
