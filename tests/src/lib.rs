//! portolan-tests.
