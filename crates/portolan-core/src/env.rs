//! Endpoints as environment variables, for programs without service discovery.

use crate::{ServiceEndpoint, ServiceName};

/// Returns the variables of an endpoint: `API_HOST`, `API_PORT` and `API_URL` for `api`.
pub fn variables(name: &ServiceName, endpoint: &ServiceEndpoint) -> [(String, String); 3] {
    let prefix = prefix(name);
    [
        (format!("{prefix}_HOST"), endpoint.host.to_string()),
        (format!("{prefix}_PORT"), endpoint.port.to_string()),
        (format!("{prefix}_URL"), endpoint.url()),
    ]
}

/// Converts a name into the alphabet of environment variables (POSIX, section 8.1): `postgres-1`
/// becomes `POSTGRES_1`, and a leading digit is preceded by an underscore.
pub fn prefix(name: &ServiceName) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let prefix: String = name.as_str().chars().map(upper).collect();
    if prefix.starts_with(|c: char| c.is_ascii_digit()) { format!("_{prefix}") } else { prefix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_becomes_a_valid_shell_variable() {
        for (name, expected) in
            [("api", "API"), ("postgres-1", "POSTGRES_1"), ("2fa.web", "_2FA_WEB")]
        {
            assert_eq!(prefix(&name.parse().unwrap()), expected);
        }
    }
}
