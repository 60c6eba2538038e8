//! portolan-example-helixcode.
