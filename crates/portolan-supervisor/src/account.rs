//! The user and the group of a program.

use std::borrow::Cow;
use std::collections::BTreeMap;

use nix::unistd::{Gid, Group, Uid, User};
use portolan_core::{Remedy, quoted};

/// A user and a group under which a program runs, without supplementary groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
    name_and_home: Option<(String, String)>,
}

/// Why a program cannot run under a user or a group. Permanent: the setting must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAccount {
    /// There is no such user or group.
    #[error("there is no {kind} {name}")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// The name, quoted.
        name: String,
    },
    /// Only the superuser may start programs of others.
    #[error("only root can start a program as another {kind}")]
    NotPermitted {
        /// `user` or `group`.
        kind: &'static str,
    },
}

// === impl Account ===

impl Account {
    /// Returns the account with these names or numbers; `None` if neither is given. The group of a user is the default.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, InvalidAccount> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let user = user.map(find_user).transpose()?;
        let group = group.map(find_group).transpose()?;
        let group = group.or_else(|| user.as_ref().map(|user| user.gid));
        let is_root = Uid::effective().is_root();
        if !is_root && user.as_ref().is_some_and(|user| user.uid != Uid::effective()) {
            return Err(InvalidAccount::NotPermitted { kind: "user" });
        }
        if !is_root && group.is_some_and(|group| group != Gid::effective()) {
            return Err(InvalidAccount::NotPermitted { kind: "group" });
        }
        // Without root these are the own ones, which cannot be set.
        let set = |id: u32| is_root.then_some(id);
        let name_and_home =
            user.as_ref().map(|user| (user.name.clone(), user.dir.display().to_string()));
        Ok(Some(Self {
            user: user.and_then(|user| set(user.uid.as_raw())),
            group: group.and_then(|group| set(group.as_raw())),
            name_and_home,
        }))
    }

    /// Returns the variables of a login.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let variables = |(name, home): &(String, String)| {
            [("USER", name), ("LOGNAME", name), ("HOME", home)]
                .map(|(variable, value)| (variable.to_owned(), value.clone()))
        };
        self.name_and_home.iter().flat_map(variables).collect()
    }
}

fn find_user(name: &str) -> Result<User, InvalidAccount> {
    let found = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    found.ok().flatten().ok_or_else(|| InvalidAccount::Unknown { kind: "user", name: quoted(name) })
}

fn find_group(name: &str) -> Result<Gid, InvalidAccount> {
    let found = match name.parse() {
        Ok(number) => Group::from_gid(Gid::from_raw(number)),
        Err(_) => Group::from_name(name),
    };
    let found = found.ok().flatten().map(|group| group.gid);
    found.ok_or_else(|| InvalidAccount::Unknown { kind: "group", name: quoted(name) })
}

// === impl InvalidAccount ===

impl InvalidAccount {
    /// Returns the key that must change.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Unknown { kind, .. } | Self::NotPermitted { kind } => kind,
        }
    }

    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "create it, or correct the name",
            Self::NotPermitted { .. } => "remove the setting, or start the stack as root",
        }
    }
}

impl Remedy for InvalidAccount {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(self.hint().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_is_found_by_name_and_number() {
        assert_eq!(Account::find(None, None), Ok(None));
        let own = Uid::effective().to_string();
        let by_number = Account::find(Some(&own), None).unwrap().unwrap();
        let name = by_number.environment()["USER"].clone();
        assert_eq!(Account::find(Some(&name), None).unwrap().unwrap(), by_number);
    }

    #[test]
    fn unknown_accounts_are_errors() {
        let errors = [
            Account::find(Some("no such user"), None).unwrap_err(),
            Account::find(None, Some("no such group")).unwrap_err(),
            InvalidAccount::NotPermitted { kind: "user" },
        ];
        insta::assert_snapshot!(crate::test_env::texts_and_remedies(&errors));
    }
}
