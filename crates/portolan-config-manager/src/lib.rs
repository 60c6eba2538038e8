//! portolan-config-manager.
