//! The decoders of what others may have written into a store, for the fuzz targets only.

use super::{consul, etcd};

/// Decodes an endpoint's value in etcd, which was written at this revision.
pub fn etcd_value(json: &[u8], written: i64) {
    etcd::decode_and_encode(json, written);
}

/// Decodes two lists of the keys below `portolan` in Consul, the second after the first.
pub fn consul_lists(first: &[u8], second: &[u8]) {
    consul::read_lists(first, second);
}
