//! Bounds the work of a schema: its references, followed without cycles.

use std::collections::HashMap;

use serde_json::Value;

/// How many values a schema may have with its references replaced by what they refer to.
const EXPANDED: u64 = 10_000;

/// How many references may lead from one to the next.
const CHAIN: usize = 32;

/// References that are resolved while a value is validated, so that their work cannot be bounded before.
const DYNAMIC: [&str; 2] = ["$dynamicRef", "$recursiveRef"];

/// Dialects in which `id`, a common name, is a keyword that changes what references mean.
const OLD: [&str; 2] = ["draft-03", "draft-04"];

/// Checks the references of a schema. Returns what is wrong.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let dialect = schema.get("$schema").and_then(Value::as_str).unwrap_or_default();
    if OLD.iter().any(|old| dialect.contains(old)) {
        return Err(format!("$schema is {dialect}, expected draft 6 or newer"));
    }
    let mut walk = Walk { schema, sizes: HashMap::new(), chain: 0 };
    match walk.size(schema)? {
        size if size > EXPANDED => Err(format!(
            "it has {size} parts with its references replaced by what they refer to, the limit is {EXPANDED}"
        )),
        _ => Ok(()),
    }
}

struct Walk<'a> {
    schema: &'a Value,
    /// The size of what each reference refers to; `None` while it is computed.
    sizes: HashMap<&'a str, Option<u64>>,
    /// How many references led here.
    chain: usize,
}

impl<'a> Walk<'a> {
    fn size(&mut self, value: &'a Value) -> Result<u64, String> {
        let mut size: u64 = 1;
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    if DYNAMIC.contains(&key.as_str()) {
                        return Err(format!("{key} is not supported; use $ref"));
                    }
                    if key == "$id" && member.is_string() && !std::ptr::eq(value, self.schema) {
                        return Err("$id is supported at the top only".to_owned());
                    }
                    let part = match (key.as_str(), member) {
                        ("$ref", Value::String(reference)) => self.reference(reference)?,
                        _ => self.size(member)?,
                    };
                    size = size.saturating_add(part);
                }
            }
            Value::Array(items) => {
                for item in items {
                    size = size.saturating_add(self.size(item)?);
                }
            }
            _ => {}
        }
        Ok(size)
    }

    fn reference(&mut self, reference: &'a str) -> Result<u64, String> {
        match self.sizes.get(reference) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return Err(format!("the reference {reference:?} leads back to itself")),
            None => {}
        }
        let pointer = reference.strip_prefix('#').filter(|it| it.is_empty() || it.starts_with('/'));
        let target = pointer.and_then(|pointer| self.schema.pointer(pointer));
        let target = target.ok_or_else(|| {
            format!(
                "the reference {reference:?} is not to a part of the schema, such as #/$defs/port"
            )
        })?;
        if self.chain >= CHAIN {
            return Err(format!("more than {CHAIN} references lead from one to the next"));
        }
        self.sizes.insert(reference, None);
        self.chain += 1;
        // What refers to the whole schema, or to a part around it, leads back to itself as well.
        let size = self.size(target)?;
        self.chain -= 1;
        self.sizes.insert(reference, Some(size));
        Ok(size)
    }
}
