//! Checks in YAML and JSON: a text, or a map with the options as keys.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::CheckSpec;
use crate::options::append_option;

/// The key of the text of a check.
const CHECK: &str = "check";

impl<'de> Deserialize<'de> for CheckSpec {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(SpecVisitor)
    }
}

struct SpecVisitor;

impl<'de> Visitor<'de> for SpecVisitor {
    type Value = CheckSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a health check: a text such as http:/health, or a map with the key check, all or any",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<CheckSpec, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<CheckSpec, M::Error> {
        let mut check = None;
        let mut options = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                CHECK => check = Some(map.next_value_seed(OptionSeed(","))?),
                "all" | "any" => {
                    check = Some(format!("{key}:{}", map.next_value_seed(OptionSeed(";"))?));
                }
                _ => options.push((key, map.next_value_seed(OptionSeed(","))?)),
            }
        }
        let Some(mut text) = check else { return Err(M::Error::missing_field(CHECK)) };
        for (name, value) in options {
            append_option(&mut text, &name, &value);
        }
        text.parse().map_err(M::Error::custom)
    }
}

/// The value of an option as text: a scalar, or a list whose members are joined by this text.
struct OptionSeed(&'static str);

impl<'de> DeserializeSeed<'de> for OptionSeed {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<String, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OptionSeed {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true, false, or a list of those")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut values: S) -> Result<String, S::Error> {
        let mut texts = Vec::new();
        while let Some(text) = values.next_element_seed(OptionSeed(self.0))? {
            texts.push(text);
        }
        Ok(texts.join(self.0))
    }
}
