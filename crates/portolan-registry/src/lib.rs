//! portolan-registry.
