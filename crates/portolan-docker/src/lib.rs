//! Registers the containers of a Docker engine.
//!
//! The [`ContainerRegistrar`] follows the events of an [`Engine`], derives the instances of services from the labels of the
//! running containers, and keeps the registry in step with them: one task reads events and knows no registry, the other one
//! compares what is desired with what is registered and knows no Docker.

mod addresses;
mod check_url;
pub mod compose;
mod container;
mod engine;
mod error;
mod events;
mod follower;
mod instance;
mod labels;
mod registrar;
mod registration_state;

pub use engine::{ContainerEnds, Engine};
pub use error::DockerError;
pub use registrar::ContainerRegistrar;

/// The path of Docker's socket by convention.
pub const SOCKET: &str = "/var/run/docker.sock";
