//! portolan-example-quickstart.
