//! The instances of a service for tower: [`Discover`](tower::discover::Discover), load balancing, and retries on another instance.
//!
//! ```no_run
//! # async fn example() -> Result<(), tower::BoxError> {
//! # type Client = tower::util::BoxService<http::Request<String>, http::Response<String>, std::io::Error>;
//! # fn client(_: &portolan_core::ServiceEndpoint) -> Client { unimplemented!() }
//! use portolan_tower::{RetryOnOther, balance};
//! use tower::{Service, ServiceBuilder, ServiceExt, buffer::Buffer};
//!
//! let discovery = portolan::DiscoveryClient::builder().from_env()?.build()?;
//! let instances = discovery.instances("api").await?;
//! // A service for each instance, the less loaded of two random ones for each request.
//! let balanced = Buffer::new(balance(instances, client), 100);
//! let mut service = ServiceBuilder::new().retry(RetryOnOther::new(3)).service(balanced);
//! let answer = service.ready().await?.call(http::Request::get("/").body(String::new())?).await?;
//! # Ok(()) }
//! ```
//!
//! [`InstanceDiscover`] is a stream of changes for any balancer of tower; [`balance`] combines it with tower's choice of the less
//! loaded of two random instances (p2c), measured by the peak of a moving average of the latency (peak EWMA).
//!
//! - An error of an instance's service counts as a failure of the instance: it is reported, and the balancer loses the instance for
//!   a while. A service whose errors say nothing about the instance must map them to responses.
//! - A request to an instance that hangs waits for as long as the service of that instance does: give it a
//!   [`Timeout`](tower::timeout::Timeout), whose end counts as a failure.
//! - [`Hedge`] sends an idempotent request that is not answered after a while to a second instance, so that it need not wait for that timeout.
//! - Two random instances can both be slow. [`InstanceBalancer`] compares all of them, by the policy of the set, and needs no
//!   buffer.

mod balancer;
mod discover;
mod hedge;
mod instance_service;
mod retry;
mod uri;

use std::sync::Arc;
use std::time::Duration;

use portolan_client::ServiceInstances;
use portolan_core::ServiceEndpoint;
use tower::Service;
use tower::balance::p2c::Balance;
use tower::load::{CompleteOnResponse, PeakEwmaDiscover};

pub use balancer::InstanceBalancer;
pub use discover::InstanceDiscover;
pub use hedge::Hedge;
pub use instance_service::{InstanceFuture, InstanceService};
pub use retry::RetryOnOther;
pub use uri::instance_uri;

/// The latency of an instance before its first response: that of a service on a local network.
const FIRST_LATENCY: Duration = Duration::from_millis(5);
/// How long the moving average remembers: long enough to leave a slow instance out, short enough to notice that it has
/// recovered.
const DECAY: Duration = Duration::from_secs(10);

/// A balancer over the instances of a service, with a service that `make` creates for each.
pub type InstanceBalance<M, S, Request> =
    Balance<PeakEwmaDiscover<InstanceDiscover<M, S>, CompleteOnResponse>, Request>;

/// Balances requests over the instances of a service: for each request, the less loaded of two random ones.
///
/// It is ready once there is an instance. Put it into a [`Buffer`](tower::buffer::Buffer) to share it.
pub fn balance<M, S, Request>(
    instances: ServiceInstances,
    make: M,
) -> InstanceBalance<M, S, Request>
where
    M: Fn(&ServiceEndpoint) -> S,
    S: Service<Request>,
    S::Error: Into<tower::BoxError>,
{
    let discover = InstanceDiscover::new(instances, make);
    let measured = PeakEwmaDiscover::new::<Request>(
        discover,
        FIRST_LATENCY,
        DECAY,
        CompleteOnResponse::default(),
    );
    Balance::new(measured)
}

/// An instance, and how to report that it failed.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) instances: ServiceInstances,
    pub(crate) endpoint: Arc<ServiceEndpoint>,
}

// === impl Reporter ===

impl Reporter {
    pub(crate) fn failed(&self) {
        self.instances.report_failure(&self.endpoint);
    }
}
