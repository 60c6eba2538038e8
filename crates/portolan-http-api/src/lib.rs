//! portolan-http-api.
