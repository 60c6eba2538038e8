//! A part of a stack: some services, with what they need.

use std::borrow::Cow;
use std::collections::BTreeSet;

use portolan_core::{Remedy, ServiceName, suggest};

use super::file::StackFile;

/// The stack has no such service. Permanent: the name must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no service {name} in this stack")]
pub struct UnknownService {
    /// The name.
    pub name: ServiceName,
    /// The services of the stack.
    known: Vec<String>,
}

impl StackFile {
    /// Removes the services that are neither named nor needed by those that are. No names select all.
    pub fn select(&mut self, names: &[ServiceName]) -> Result<(), UnknownService> {
        if names.is_empty() {
            return Ok(());
        }
        if let Some(name) = names.iter().find(|name| !self.services.contains_key(*name)) {
            let known = self.services.keys().map(ToString::to_string).collect();
            return Err(UnknownService { name: name.clone(), known });
        }
        let mut selected = BTreeSet::new();
        let mut open: Vec<ServiceName> = names.to_vec();
        while let Some(name) = open.pop() {
            if let Some(entry) = self.services.get(&name)
                && selected.insert(name)
            {
                open.extend(entry.needs.names().cloned());
            }
        }
        self.services.retain(|name, _| selected.contains(name));
        Ok(())
    }
}

impl Remedy for UnknownService {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let known = self.known.iter().map(String::as_str);
        Some(match suggest(self.name.as_str(), known) {
            Some(meant) => format!("did you mean `{meant}`?").into(),
            None => format!("name one of {}", self.known.join(", ")).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(names: &[&str]) -> Result<Vec<String>, UnknownService> {
        let yaml = "services: {a: {command: x}, b: {command: x, needs: [a, outside]}, c: {command: x, needs: {b: started}}, d: {command: x}}";
        let mut stack: StackFile = serde_saphyr::from_str(yaml).unwrap();
        let names: Vec<ServiceName> = names.iter().map(|name| name.parse().unwrap()).collect();
        stack.select(&names)?;
        Ok(stack.services.keys().map(ToString::to_string).collect())
    }

    #[test]
    fn services_are_selected_with_what_they_need() {
        assert_eq!(selected(&["c"]).unwrap(), ["a", "b", "c"]);
        assert_eq!(selected(&["d", "a"]).unwrap(), ["a", "d"]);
        assert_eq!(selected(&[]).unwrap().len(), 4);
    }

    #[test]
    fn unknown_service_is_an_error() {
        insta::assert_snapshot!(crate::test_env::texts_and_remedies(&[
            selected(&["nothing"]).unwrap_err(),
        ]));
    }
}
