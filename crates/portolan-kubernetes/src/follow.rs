//! Lists and watches the objects of a cluster, and goes on after each failure.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use kube::core::ApiResource;
use kube::runtime::utils::{Backoff as WatchBackoff, ResetTimerBackoff, StreamBackoff};
use kube::runtime::watcher::{self, Config, Error, Event, watcher};
use kube::{Api, Client, Resource};
use portolan_core::Backoff;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::changes::{ObjectChange, PodChange, SourceChange};
use crate::cluster::{Cluster, describe, remedy};
use crate::objects::{EndpointSlice, Pod, Service};

/// The waits before a watch begins again: an API server restarts in two seconds.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const JITTER: f64 = 0.3;
/// How long a watch lasts before it is renewed, so that a connection which was lost silently is noticed.
const WATCH_SECONDS: u32 = 60;
/// A failure after so long is another one, and is reported again.
const SAME_FAILURE: Duration = Duration::from_secs(30);

/// What is followed.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// The namespaces; empty for all.
    pub(crate) namespaces: Vec<String>,
    /// The labels of Services.
    pub(crate) selector: String,
    /// The labels of slices.
    pub(crate) slice_selector: String,
}

/// The waits of one watch.
struct Waits(Backoff);

/// Reports the failures of one watch, each once.
struct Reporter {
    resource: &'static str,
    namespace: Option<String>,
    /// The last failure, unless the watch has gone on since.
    failed: Option<(Instant, String)>,
}

/// Follows the Services and the endpoint slices of each source. The stream does not end.
pub(crate) fn follow(
    cluster: &Cluster,
    sources: &Sources,
) -> impl Stream<Item = SourceChange> + Send + use<> {
    let watches = each_of(&sources.namespaces).flat_map(|namespace| {
        let slices = slices(cluster.clone(), namespace.clone(), sources.slice_selector.clone());
        [services(cluster.client.clone(), namespace, &sources.selector), slices]
    });
    stream::select_all(watches.collect::<Vec<_>>())
}

/// Follows the pods of each namespace, or of all if there are none. The stream does not end.
pub(crate) fn follow_pods(
    client: &Client,
    namespaces: &[String],
    selector: &str,
    node: Option<&str>,
) -> impl Stream<Item = PodChange> + Send + use<> {
    let mut config = Config::default().labels(selector);
    if let Some(node) = node {
        config = config.fields(&format!("spec.nodeName={node}"));
    }
    let watches = each_of(namespaces).map(|namespace| {
        let api: Api<Pod> = match &namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        watch(api, "pods", namespace, config.clone(), |namespace, event| PodChange {
            namespace,
            event,
        })
    });
    stream::select_all(watches.collect::<Vec<_>>())
}

/// The namespaces to follow; `None` stands for all of them.
fn each_of(namespaces: &[String]) -> impl Iterator<Item = Option<String>> {
    let all = namespaces.is_empty().then_some(None);
    all.into_iter().chain(namespaces.iter().cloned().map(Some))
}

/// Waits until the API server says which version it serves.
pub(crate) async fn version_of_slices(cluster: &Cluster) -> ApiResource {
    let mut reporter = Reporter::new("API groups", None);
    let mut waits = Backoff::new(FIRST_WAIT, LONGEST_WAIT).jitter(JITTER);
    loop {
        match cluster.endpoint_slices().await {
            Ok(Some(resource)) => {
                info!(version = resource.api_version, "Endpoint slices found");
                return resource;
            }
            Ok(None) => reporter.failed("the API server has no endpoint slices", None),
            Err(error) => reporter.failed(&describe(&error), remedy(&error)),
        }
        sleep(waits.next_wait()).await;
    }
}

fn services(
    client: Client,
    namespace: Option<String>,
    selector: &str,
) -> BoxStream<'static, SourceChange> {
    let api: Api<Service> = match &namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    watch(api, "services", namespace, Config::default().labels(selector), |namespace, event| {
        SourceChange { namespace, change: ObjectChange::Service(event) }
    })
}

/// The version is asked again once it is not served any more, as after an upgrade of the cluster.
fn slices(
    cluster: Cluster,
    namespace: Option<String>,
    selector: String,
) -> BoxStream<'static, SourceChange> {
    let versions = stream::unfold(cluster, |cluster| async move {
        let resource = version_of_slices(&cluster).await;
        Some(((cluster.client.clone(), resource), cluster))
    });
    let watches = versions.flat_map(move |(client, resource)| {
        let namespace = namespace.clone();
        let api: Api<EndpointSlice> = match &namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let config = Config::default().labels(&selector);
        watch(api, "endpointslices", namespace, config, |namespace, event| SourceChange {
            namespace,
            change: ObjectChange::Slice(event),
        })
    });
    watches.boxed()
}

fn watch<K, C>(
    api: Api<K>,
    resource: &'static str,
    namespace: Option<String>,
    config: Config,
    change: fn(Option<String>, Event<K>) -> C,
) -> BoxStream<'static, C>
where
    C: Send + 'static,
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Send + Sync,
{
    let mut reporter = Reporter::new(resource, namespace.clone());
    let waits = Waits(Backoff::new(FIRST_WAIT, LONGEST_WAIT).jitter(JITTER));
    // A watcher begins each list with an event, which is no success: only time resets the waits.
    let waits = ResetTimerBackoff::new(waits, SAME_FAILURE);
    let events = StreamBackoff::new(watcher(api, config.timeout(WATCH_SECONDS)), waits);
    let events = events.take_while(|event| std::future::ready(!is_unknown(event)));
    let changes = events.filter_map(move |event| {
        let event = reporter.checked(event);
        std::future::ready(event.map(|event| change(namespace.clone(), event)))
    });
    changes.boxed()
}

// === impl Waits ===

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.next_wait())
    }
}

impl WatchBackoff for Waits {
    fn reset(&mut self) {
        self.0.reset();
    }
}

// === impl Reporter ===

impl Reporter {
    fn new(resource: &'static str, namespace: Option<String>) -> Self {
        Self { resource, namespace, failed: None }
    }

    /// Returns the event, or reports the failure.
    fn checked<K>(&mut self, event: Result<Event<K>, Error>) -> Option<Event<K>> {
        match event {
            Ok(Event::Init) => Some(Event::Init),
            Ok(event) => {
                if self.failed.take().is_some() {
                    let namespace = self.namespace();
                    info!(resource = self.resource, namespace, "Watch of the cluster goes on");
                }
                Some(event)
            }
            Err(error) if status(&error) == Some(410) => {
                let (resource, namespace) = (self.resource, self.namespace());
                info!(
                    resource,
                    namespace, "History of the cluster is compacted, listing everything again"
                );
                None
            }
            Err(error) => {
                let (text, remedy) = described(&error);
                self.failed(&text, remedy);
                None
            }
        }
    }

    fn failed(&mut self, error: &str, remedy: Option<&str>) {
        let last = self.failed.replace((Instant::now(), error.to_owned()));
        let is_same = |(at, text): (Instant, String)| text == error && at.elapsed() < SAME_FAILURE;
        if last.is_some_and(is_same) {
            return;
        }
        let (resource, namespace) = (self.resource, self.namespace());
        let remedy = remedy.unwrap_or("none needed if the API server returns");
        warn!(resource, namespace, error, remedy, "Watch of the cluster interrupted, trying again");
    }

    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("(all)")
    }
}

fn described(error: &Error) -> (String, Option<&'static str>) {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => (describe(error), remedy(error)),
        error => (error.to_string(), None),
    }
}

/// The status with which the API server has answered.
fn status(error: &Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status)
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

/// Whether the API server does not know the kind of object.
fn is_unknown<K>(event: &Result<Event<K>, Error>) -> bool {
    matches!(event, Err(error) if status(error) == Some(404))
}
