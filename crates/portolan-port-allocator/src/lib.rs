//! portolan-port-allocator.
