//! What people run by hand.
fn main() {}
