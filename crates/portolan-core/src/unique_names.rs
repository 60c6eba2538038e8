//! Maps by the name of a service, in which upper and lower case do not differ.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::ServiceName;

/// Deserializes a map, and refuses one with the same name twice (for `deserialize_with`).
///
/// # Errors
///
/// A name or a value is not valid, or a name is there twice, such as `db` and `Db`.
pub fn unique_names<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    input: D,
) -> Result<BTreeMap<ServiceName, V>, D::Error> {
    input.deserialize_map(UniqueNames(PhantomData))
}

struct UniqueNames<V>(PhantomData<V>);

// === impl UniqueNames ===

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueNames<V> {
    type Value = BTreeMap<ServiceName, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry::<ServiceName, V>()? {
            if map.contains_key(&name) {
                let text =
                    format_args!("{name} is in the map twice; upper and lower case do not differ");
                return Err(A::Error::custom(text));
            }
            map.insert(name, value);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_in_upper_and_lower_case_is_there_twice() {
        let read = |text: &str| {
            let input = &mut serde_json::Deserializer::from_str(text);
            unique_names::<_, u16>(input).map_err(|error| error.to_string())
        };
        assert_eq!(read(r#"{"db": 1, "api": 2}"#).unwrap().len(), 2);
        let error = read(r#"{"Db": 1, "db": 2}"#).unwrap_err();
        assert!(error.contains("is in the map twice"), "{error}");
    }
}
