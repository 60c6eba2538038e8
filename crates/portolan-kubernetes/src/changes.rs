//! What the watches report.

use kube::runtime::watcher::Event;

use crate::objects::{EndpointSlice, Pod, Service};

/// A change, and the source that reports it.
#[derive(Debug)]
pub(crate) struct SourceChange {
    /// The namespace of the source; `None` if it follows all of them.
    pub(crate) namespace: Option<String>,
    pub(crate) change: ObjectChange,
}

/// A change of an object.
#[derive(Debug)]
pub(crate) enum ObjectChange {
    Service(Event<Service>),
    Slice(Event<EndpointSlice>),
}

/// A change of a pod.
#[derive(Debug)]
pub(crate) struct PodChange {
    /// The namespace of the source; `None` if it follows all of them.
    pub(crate) namespace: Option<String>,
    pub(crate) event: Event<Pod>,
}
