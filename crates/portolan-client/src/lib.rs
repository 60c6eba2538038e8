//! portolan-client.
