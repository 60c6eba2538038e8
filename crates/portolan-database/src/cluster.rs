//! Which data a server must have: an address that belonged to a server of the service may belong to another one by now.

use parking_lot::Mutex;

/// The data that a server must have, by its identity: in PostgreSQL the system identifier, which a standby shares with its
/// primary.
#[derive(Debug, Default)]
pub enum ClusterPin {
    /// Any data.
    Any,
    /// That of the first server that was used, as long as the program runs.
    #[default]
    First,
    /// That with this identity.
    Known(String),
}

/// A pin, and what it has learned.
#[derive(Debug)]
pub(crate) struct Cluster {
    pin: ClusterPin,
    first: Mutex<Option<String>>,
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn new(pin: ClusterPin) -> Self {
        Self { pin, first: Mutex::default() }
    }

    /// Whether the identity matters.
    pub(crate) fn is_needed(&self) -> bool {
        !matches!(self.pin, ClusterPin::Any)
    }

    /// Checks the identity of a server that is to be used, and remembers it if it is the first one.
    pub(crate) fn check(&self, found: Option<&str>) -> Result<(), String> {
        let expected = match &self.pin {
            ClusterPin::Any => return Ok(()),
            ClusterPin::Known(known) => known.clone(),
            ClusterPin::First => match found {
                Some(found) => self.first.lock().get_or_insert_with(|| found.to_owned()).clone(),
                None => match self.first.lock().clone() {
                    Some(first) => first,
                    // This kind of database has no identity.
                    None => return Ok(()),
                },
            },
        };
        match found {
            Some(found) if *found == *expected => Ok(()),
            Some(found) => Err(format!("another server: its data is {found}, expected {expected}")),
            None => Err(format!("its data has no identity, expected {expected}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_server_decides_unless_the_identity_is_known() {
        let first = Cluster::new(ClusterPin::First);
        first.check(None).unwrap();
        first.check(Some("7")).unwrap();
        first.check(Some("7")).unwrap();
        first.check(None).unwrap_err();
        assert!(first.check(Some("8")).unwrap_err().contains("expected 7"));
        let known = Cluster::new(ClusterPin::Known("8".to_owned()));
        known.check(Some("7")).unwrap_err();
        known.check(None).unwrap_err();
        known.check(Some("8")).unwrap();
        let any = Cluster::new(ClusterPin::Any);
        assert!(!any.is_needed() && any.check(Some("7")).is_ok() && any.check(Some("8")).is_ok());
    }
}
