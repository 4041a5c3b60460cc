//! The shard names of a safetensors index, without keeping its tensor names.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

/// More shards than any published model has.
const SHARDS_MAX: usize = 4096;

#[derive(Deserialize)]
struct Index {
    weight_map: Shards,
}

struct Shards(BTreeSet<String>);

impl<'de> Deserialize<'de> for Shards {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Shards;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map from tensor names to file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shards, A::Error> {
                let mut shards = BTreeSet::new();
                while map.next_key::<IgnoredAny>()?.is_some() {
                    let shard: String = map.next_value()?;
                    if shards.contains(&shard) {
                        continue;
                    }
                    if !is_plain_name(&shard) {
                        return Err(A::Error::custom(format_args!("`{shard}` is not a plain file name")));
                    }
                    shards.insert(shard);
                    if shards.len() > SHARDS_MAX {
                        return Err(A::Error::custom(format_args!("more than {SHARDS_MAX} shards")));
                    }
                }
                Ok(Shards(shards))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Whether a name stays inside its directory.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\\', '\0', ':'])
}

/// The names of the files that an index refers to.
pub(crate) fn shards(content: &[u8]) -> Result<BTreeSet<String>, serde_json::Error> {
    serde_json::from_slice::<Index>(content).map(|index| index.weight_map.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_named_once() {
        let index = br#"{"metadata":{"total_size":9},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors","c":"m-1.safetensors"}}"#;
        assert_eq!(shards(index).unwrap().into_iter().collect::<Vec<_>>(), ["m-1.safetensors", "m-2.safetensors"]);
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for name in ["../../etc/passwd", "/etc/passwd", "a/b", "..", "", "c:x", "a\\\\b", "a\\u0000b"] {
            let index = format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#);
            assert!(shards(index.as_bytes()).is_err(), "{name}");
        }
    }

    #[test]
    fn other_json_is_refused() {
        for content in ["", "{}", "[]", r#"{"weight_map":[]}"#, r#"{"weight_map":{"a":1}}"#, r#"{"weight_map":{"a""#] {
            assert!(shards(content.as_bytes()).is_err(), "{content}");
        }
    }
}
