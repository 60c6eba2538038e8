//! The end-to-end tests: the built command, real servers, one module for each subject.

mod support;
