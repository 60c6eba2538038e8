//! Attacks with the programs that an attacker uses: each is ended, counted and audited while others are served.

mod browser;
#[cfg(feature = "full")]
mod certificates;
mod floods;
mod half_open;
#[cfg(feature = "full")]
mod rotation;
mod slow_clients;
mod target;
