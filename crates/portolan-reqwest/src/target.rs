//! Whether a URL names a service, and the URL of an instance.

use std::collections::HashMap;

use portolan_core::{ServiceEndpoint, ServiceName};
use reqwest::Url;

use crate::error::ServiceRequestError;

/// Hosts with dots that are services.
pub(crate) type Mapped = HashMap<String, ServiceName>;

/// Returns the service that the URL names; `None` if it names a host.
pub(crate) fn service_of(
    url: &Url,
    mapped: &Mapped,
) -> Result<Option<ServiceName>, ServiceRequestError> {
    let Some(host) = url.host_str() else { return Ok(None) };
    let is_plain_name = || {
        let is_address = host.starts_with('[') || host.contains('.');
        !is_address && host != "localhost" && url.port().is_none()
    };
    let name = match mapped.get(host) {
        Some(name) => name.clone(),
        None if is_plain_name() => match host.parse() {
            Ok(name) => name,
            Err(_) => return Ok(None),
        },
        None => return Ok(None),
    };
    match url.scheme() {
        "http" => Ok(Some(name)),
        "https" => Err(ServiceRequestError::Tls(name)),
        _ => Ok(None),
    }
}

/// Returns the URL with the address of the instance as its host and port.
pub(crate) fn at(url: &Url, endpoint: &ServiceEndpoint) -> Result<Url, ServiceRequestError> {
    let invalid = || ServiceRequestError::Address(endpoint.address());
    let mut url = url.clone();
    // A host and a port set apart would need the brackets of IPv6 addresses.
    let authority =
        Url::parse(&format!("http://{}/", endpoint.address())).map_err(|_| invalid())?;
    url.set_host(authority.host_str()).map_err(|_| invalid())?;
    url.set_port(Some(endpoint.port)).map_err(|()| invalid())?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(url: &str) -> Option<String> {
        let mapped = Mapped::from([("orders.example.com".to_owned(), "orders".parse().unwrap())]);
        let url = url.parse().unwrap();
        service_of(&url, &mapped).unwrap().map(|name| name.to_string())
    }

    #[test]
    fn names_without_dot_and_port_and_mapped_hosts_are_services() {
        assert_eq!(service("http://api/path").as_deref(), Some("api"));
        assert_eq!(service("http://API:80/").as_deref(), Some("api"));
        assert_eq!(service("http://orders.example.com:8080/").as_deref(), Some("orders"));
        let hosts =
            ["http://api:8080/", "http://example.com/", "http://localhost/", "http://[::1]/"];
        for url in hosts.into_iter().chain(["http://127.0.0.1/", "https://example.com/"]) {
            assert_eq!(service(url), None, "{url}");
        }
    }

    #[test]
    fn tls_to_a_service_is_an_error_that_says_why() {
        let url = "https://api/".parse().unwrap();
        let error = service_of(&url, &Mapped::new()).unwrap_err().to_string();
        assert!(error.contains("use http://api"), "{error}");
    }
}
