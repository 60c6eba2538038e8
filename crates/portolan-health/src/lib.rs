//! portolan-health.
