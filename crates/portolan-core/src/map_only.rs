//! JSON objects that cannot be written as arrays.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};

/// Deserializes a `T` from a map only. Derived implementations also accept a sequence of the fields
/// in order, which no client sends on purpose.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct MapOnly<T: DeserializeOwned>(#[serde(deserialize_with = "from_map")] pub T);

fn from_map<'de, D: Deserializer<'de>, T: DeserializeOwned>(input: D) -> Result<T, D::Error> {
    struct MapVisitor<T>(PhantomData<T>);

    impl<'de, T: DeserializeOwned> Visitor<'de> for MapVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    input.deserialize_map(MapVisitor(PhantomData))
}
