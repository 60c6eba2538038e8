//! portolan-server.
