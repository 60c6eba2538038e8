//! portolan.
