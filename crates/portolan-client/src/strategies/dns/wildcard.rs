//! Detection of wildcard records (RFC 4592) and of resolvers that answer for names that do not exist.

use std::net::IpAddr;

use hickory_resolver::proto::rr::Name;

use crate::dns_resolver::{DnsError, DomainResolver};

/// Removes the addresses that made-up names of the domain have too. Only the rest belongs to the name
/// that was looked up.
pub(super) async fn without_wildcard(
    resolver: &DomainResolver,
    domain: &Name,
    addresses: Vec<IpAddr>,
) -> Result<Vec<IpAddr>, DnsError> {
    let siblings = [made_up_name(domain), made_up_name(domain)];
    let [Some(one), Some(other)] = siblings else { return Ok(Vec::new()) };
    let (one, other) = tokio::join!(resolver.addresses(one), resolver.addresses(other));
    Ok(own_addresses(addresses, or_none(one)?, or_none(other)?))
}

/// Takes an error response, such as REFUSED, for a name without addresses: only silence proves nothing.
fn or_none(found: Result<Vec<IpAddr>, DnsError>) -> Result<Vec<IpAddr>, DnsError> {
    match found {
        Err(DnsError::Rejected { .. }) => Ok(Vec::new()),
        found => found,
    }
}

fn own_addresses(found: Vec<IpAddr>, mut one: Vec<IpAddr>, mut other: Vec<IpAddr>) -> Vec<IpAddr> {
    one.sort();
    other.sort();
    if one != other {
        // A resolver that chooses among addresses may have chosen another one for the name.
        return Vec::new();
    }
    found.into_iter().filter(|address| !one.contains(address)).collect()
}

/// A name that does not exist: 16 random hexadecimal digits.
fn made_up_name(domain: &Name) -> Option<Name> {
    super::name_in_domain(&format!("portolan-{:016x}", rand::random::<u64>()), domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_made_up_names_are_not_those_of_the_service() {
        let list = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<_>>();
        let own =
            |one, other| own_addresses(list(&["10.0.0.1", "10.0.0.2"]), list(one), list(other));
        assert_eq!(own(&[], &[]), list(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(own(&["10.0.0.2"], &["10.0.0.2"]), list(&["10.0.0.1"]));
        assert_eq!(own(&["10.0.0.8", "10.0.0.9"], &["10.0.0.9", "10.0.0.8"]).len(), 2);
        assert_eq!(own(&["10.0.0.8"], &["10.0.0.9"]), list(&[]), "the answers rotate");
    }
}
