//! Programs on terminals: interactive ones under `run`, and those of a stack with `tty: true`.

mod blocked;
mod interactive;
mod stack;
