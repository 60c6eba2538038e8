//! A health check that passes while a marker file exists.

use std::path::PathBuf;

use portolan::health::BoxFuture;
use portolan::{Check, HealthReport, HealthStatus, Target};

/// Passing while the file exists, and critical otherwise.
#[derive(Debug)]
pub struct MarkerFile(PathBuf);

impl MarkerFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl Check for MarkerFile {
    fn check<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, HealthReport> {
        let report = if self.0.exists() {
            HealthReport::new(HealthStatus::Passing, "the marker file exists")
        } else {
            HealthReport::new(HealthStatus::Critical, "the marker file is missing")
        };
        Box::pin(std::future::ready(report))
    }

    fn is_conclusive(&self) -> bool {
        true
    }
}
