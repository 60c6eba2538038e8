//! The end-to-end tests: the built command, real servers, one module for each subject.

mod answers;
mod bad_input;
mod by_hand;
mod contention;
mod crashes;
mod doctor;
mod examples;
mod handoff;
mod helixcode;
mod layers;
mod metrics;
mod ports;
mod quickstart;
mod servers;
mod sticky;
mod support;
mod watch;
