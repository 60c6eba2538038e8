//! Endpoints as environment variables, for programs without service discovery.

mod convention;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::schemes::{self, UnknownScheme};
use crate::{Protocol, Remedy, ServiceEndpoint, ServiceName};

pub use convention::{Convention, UnknownConvention};

/// The first words of names that Portolan, the dynamic linker and Kubernetes read.
const RESERVED_WORDS: [&str; 4] = ["DYLD", "KUBERNETES", "LD", "PORTOLAN"];
/// What stands before `_HOST`, `_PORT` or `_URL` in variables with which programs choose a server, or run code.
const RESERVED: [&str; 11] = [
    "AWS_ENDPOINT",
    "BUILDKIT",
    "CONTAINER",
    "DOCKER",
    "PATH",
    "PIP_EXTRA_INDEX",
    "PIP_INDEX",
    "PROXY",
    "RUBYGEMS",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
];

/// Whether the variable has a secret of Portolan as its value, which a program gets only if its caller passes it on.
pub fn is_secret(variable: &str) -> bool {
    const SECRETS: [&str; 4] =
        ["PORTOLAN_TOKEN", "PORTOLAN_TOKENS", "PORTOLAN_BROADCAST_KEY", "PORTOLAN_BROADCAST__KEY"];
    let upper = variable.to_ascii_uppercase();
    SECRETS.contains(&upper.as_str()) || upper.starts_with("PORTOLAN_TOKENS__")
}

/// Services whose variables cannot be set. Retrying does not help: the names or the prefix must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidVariables {
    /// The variables of two services have the same names.
    #[error(
        "{one} and {other} have the same environment variables, {prefix}_HOST, {prefix}_PORT and {prefix}_URL"
    )]
    Collision {
        /// One service.
        one: ServiceName,
        /// The other service.
        other: ServiceName,
        /// What the names begin with.
        prefix: String,
    },
    /// Programs give the variables a meaning of their own.
    #[error("{service} would set {variable}, which programs read for another purpose")]
    Reserved {
        /// The service.
        service: ServiceName,
        /// The first variable.
        variable: String,
    },
    /// The URL has a scheme that is not given to programs.
    #[error(transparent)]
    Scheme(#[from] UnknownScheme),
}

// === impl InvalidVariables ===

impl Remedy for InvalidVariables {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Collision { .. } => {
                Some("run the command with one of them, or rename one".into())
            }
            Self::Reserved { .. } => Some("set --prefix, such as --prefix SERVICE_".into()),
            Self::Scheme(error) => error.remedy(),
        }
    }
}

/// Checks that the variables of these services differ, and that none has a meaning of its own.
pub fn check<'a>(
    names: impl IntoIterator<Item = &'a ServiceName>,
    before: &str,
) -> Result<(), InvalidVariables> {
    let mut seen: BTreeMap<String, &ServiceName> = BTreeMap::new();
    for name in names {
        let prefix = format!("{before}{}", prefix(name));
        if let Some(one) = seen.get(&prefix).filter(|one| **one != name) {
            let (one, other) = ((*one).clone(), name.clone());
            return Err(InvalidVariables::Collision { one, other, prefix });
        }
        if is_reserved(&prefix) {
            let variable = format!("{prefix}_HOST");
            return Err(InvalidVariables::Reserved { service: name.clone(), variable });
        }
        seen.insert(prefix, name);
    }
    Ok(())
}

/// Returns the variables of an endpoint: `API_HOST`, `API_PORT` and `API_URL` for `api`, with `before` before each name.
pub fn variables(
    name: &ServiceName,
    endpoint: &ServiceEndpoint,
    before: &str,
    more_schemes: &BTreeSet<Protocol>,
) -> Result<[(String, String); 3], InvalidVariables> {
    check([name], before)?;
    let prefix = format!("{before}{}", prefix(name));
    Ok([
        (format!("{prefix}_HOST"), endpoint.host.to_string()),
        (format!("{prefix}_PORT"), endpoint.port.to_string()),
        (format!("{prefix}_URL"), schemes::checked_url(endpoint, more_schemes)?),
    ])
}

/// Converts a name into the alphabet of environment variables (POSIX, section 8.1): `postgres-1`
/// becomes `POSTGRES_1`, and a leading digit is preceded by an underscore.
pub fn prefix(name: &ServiceName) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let prefix: String = name.as_str().chars().map(upper).collect();
    if prefix.starts_with(|c: char| c.is_ascii_digit()) { format!("_{prefix}") } else { prefix }
}

/// Parses what stands before the names of variables.
pub fn parse_prefix(text: &str) -> Result<String, String> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_valid = first && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match is_valid {
        true => Ok(text.to_owned()),
        false => Err("expected letters, digits and '_', and no digit at the beginning".to_owned()),
    }
}

fn is_reserved(prefix: &str) -> bool {
    let first = prefix.split('_').next().unwrap_or_default();
    RESERVED_WORDS.contains(&first) || RESERVED.contains(&prefix) || prefix.ends_with("_PROXY")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(names: &[&str], before: &str) -> Result<(), InvalidVariables> {
        let names: Vec<ServiceName> = names.iter().map(|name| name.parse().unwrap()).collect();
        check(&names, before)
    }

    #[test]
    fn name_becomes_a_valid_shell_variable() {
        for (name, expected) in
            [("api", "API"), ("postgres-1", "POSTGRES_1"), ("2fa.web", "_2FA_WEB")]
        {
            assert_eq!(prefix(&name.parse().unwrap()), expected);
        }
    }

    #[test]
    fn colliding_and_reserved_variables_are_refused() {
        let collision = checked(&["a-b", "a.b"], "").unwrap_err();
        let reserved = checked(&["api", "docker"], "").unwrap_err();
        insta::assert_snapshot!([collision, reserved].map(|error| error.with_remedy()).join("\n"));
        for name in [
            "portolan-registry",
            "ld.so",
            "kubernetes-service",
            "http-proxy",
            "pip-index",
            "path",
            "my-proxy",
        ] {
            assert!(
                matches!(checked(&[name], ""), Err(InvalidVariables::Reserved { .. })),
                "{name}"
            );
        }
        for name in ["api", "api2", "ldap", "dockerhub", "git-server", "paths"] {
            assert_eq!(checked(&[name], ""), Ok(()), "{name}");
        }
    }

    #[test]
    fn prefix_makes_any_name_usable_and_cannot_make_a_reserved_one() {
        assert_eq!(checked(&["docker", "portolan-registry"], "SERVICE_"), Ok(()));
        assert!(checked(&["preload"], "LD_").is_err());
        assert_eq!(checked(&["api", "api"], ""), Ok(()));
        assert!(parse_prefix("SERVICE_").is_ok());
        for text in ["", "1A", "A-", "A=B", "É"] {
            assert!(parse_prefix(text).is_err(), "{text}");
        }
    }
}
