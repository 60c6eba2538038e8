//! portolan-broadcast.
