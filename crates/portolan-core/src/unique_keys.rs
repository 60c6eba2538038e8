//! Maps in JSON whose keys are different (RFC 8259, section 4: the names within an object should be unique).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::quoted;

struct UniqueKeys;

/// Deserializes a map of texts; an error if a key is in it twice. Programs disagree on which of two values is meant, so that one that
/// checks the first and one that uses the last would be deceived.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    from.deserialize_map(UniqueKeys)
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("key {} is twice in it", quoted(&key))));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}
