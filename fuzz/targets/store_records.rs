//! Values and lists of keys in etcd and Consul, which other writers share.
//!
//! The input is the revision, and a value, or two lists of keys that a line break separates.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan_registry::store::fuzzing::{consul_lists, etcd_value};

fuzz_target!(|data: &[u8]| {
    let Some((revision, value)) = data.split_first_chunk() else { return };
    etcd_value(value, i64::from_ne_bytes(*revision));
    let mut lists = data.splitn(2, |byte| *byte == b'\n');
    consul_lists(lists.next().unwrap_or_default(), lists.next().unwrap_or_default());
});
