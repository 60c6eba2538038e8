//! The allocator: grants leases and answers questions about ports.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use portolan_core::{PortRange, Scope, ServiceName};
use portolan_host_facts::listening_socket_owner;
use portolan_metrics::Metrics;
use portolan_reservations::ServiceKey;
use tracing::warn;

use crate::audit;
use crate::config::PortAllocatorConfig;
use crate::error::AllocatorError;
use crate::grant::bind_retry::RetryBudget;
use crate::grant::limiter::QuotaGuard;
use crate::grant::policy::Plan;
use crate::grant::probe_cache::KernelProbe;
use crate::grant::rejection::explain;
use crate::grant::search::{Granted, Outcome, PassedOver, Search};
use crate::inspect::ephemeral_overlap;
use crate::inspect::lease_snapshot::LeaseSnapshot;
use crate::inspect::report::{PortReport, PortState};
use crate::lease::holder::Holder;
use crate::lease::session::Tools;
use crate::lease::{Held, PortLease};
use crate::request::{LeaseKey, PortRequest};
use crate::shared::{self, Shared};

/// Grants leases on ports. All calls block; a grant usually takes microseconds.
///
/// Its leases belong to one *session*, which clones share. The session ends with the last clone, the
/// last lease and the last child process that inherited a share of it. Leases that must end
/// independently, for example because different children inherit them, need separate allocators.
#[derive(Debug, Clone)]
pub struct PortAllocator {
    shared: Arc<Shared>,
    metrics: Option<Metrics>,
}

// === impl PortAllocator ===

impl PortAllocator {
    /// Opens the reservation table of this host. The session starts with the first request.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "so that `new(Default::default())` reads well"
    )]
    pub fn new(config: PortAllocatorConfig) -> Result<Self, AllocatorError> {
        ephemeral_overlap::warn_once(&config);
        Ok(Self { shared: Arc::new(Shared::open(&config)?), metrics: None })
    }

    /// Counts grants, releases and conflicts in these metrics.
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.shared.policy.pools().iter().for_each(|pool| metrics.preset_pool(&pool.name));
        self.metrics = Some(metrics);
        self
    }

    /// Leases a bound port: the preferred one, or else one of the service's pool.
    pub fn allocate(&self, service: &str, preferred: u16) -> Result<PortLease, AllocatorError> {
        self.request(PortRequest::new(service.parse()?).preferred(preferred))
    }

    /// Leases a bound port from `start` to `end`, both included.
    pub fn allocate_in_range(
        &self,
        service: &str,
        start: u16,
        end: u16,
    ) -> Result<PortLease, AllocatorError> {
        self.request(PortRequest::new(service.parse()?).range(PortRange::new(start, end)?))
    }

    /// Leases a port as requested.
    ///
    /// If the service already holds the port in this session, returns another handle on the same
    /// lease, with its original hold level. A request of another session for the same service is
    /// another instance and gets another port.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "a request is made for one grant, and reads well where it is"
    )]
    pub fn request(&self, request: PortRequest) -> Result<PortLease, AllocatorError> {
        self.grant(&request).inspect_err(|error| audit::refused(&request, error))
    }

    fn grant(&self, request: &PortRequest) -> Result<PortLease, AllocatorError> {
        let shared = &*self.shared;
        let plan = shared.policy.plan(request)?;
        let key = request.lease_key();
        // One search at a time in a session, so that two requests for one service get one port.
        let mut session = shared.session.lock();
        if let Some(lease) = session.lease_of(request, &key)? {
            return Ok(lease);
        }
        let since = Timestamp::now();
        let now = shared::nanoseconds(since);
        let own = session.open(&shared.table, now)?;
        let service_key = ServiceKey::new(&request.scope, &request.service);
        shared.limiter.acquire_rate(request, service_key, &shared.table, now)?;
        let sticky_key = shared.sticky_key(request);
        let last = shared.last_port(sticky_key.as_ref(), request);
        let Tools { binder, probe_cache, lease_bound } = session.tools();
        let search = Search {
            policy: &shared.policy,
            plan: &plan,
            request,
            probe: KernelProbe { table: &shared.table, probe_cache, own, now, uses_cache: true },
            binder,
            record: shared.record(request, since),
            retry_budget: RetryBudget::new(),
            quota: QuotaGuard {
                limits: shared.limiter.quota,
                request,
                key: service_key,
                table: &shared.table,
                own,
                bound: lease_bound,
                lock: None,
            },
        };
        let Outcome { granted, passed_over } = search.run(last)?;
        self.count_conflict(&plan, &passed_over);
        let Some(granted) = granted else {
            // An explanation takes longer, and other requests need not wait for it.
            drop(session);
            let snapshot = LeaseSnapshot::new(&shared.table, Some(own));
            return Err(no_ports(request, &plan, &passed_over, &snapshot));
        };
        let port = granted.candidate.port;
        let lease = self.lease(request, &plan, granted);
        if last != Some(port) {
            shared.remember(sticky_key, request, port);
        }
        self.report_grant(request, &plan, port, &passed_over);
        session.insert(key, lease.held());
        Ok(lease)
    }

    /// Leases several ports, all of them or none, in the order of the requests.
    ///
    /// Requests for the same service must have different port names ([`PortRequest::port_name`]).
    pub fn request_all(
        &self,
        requests: impl IntoIterator<Item = PortRequest>,
    ) -> Result<Vec<PortLease>, AllocatorError> {
        let requests: Vec<PortRequest> = requests.into_iter().collect();
        let mut met = HashSet::new();
        if let Some(twice) = requests.iter().find(|request| !met.insert(request.lease_key())) {
            let LeaseKey { service, port_name, .. } = twice.lease_key();
            return Err(AllocatorError::SamePortTwice { service, port_name });
        }
        // At the first error the leases granted before are dropped, which releases them.
        requests.into_iter().map(|request| self.request(request)).collect()
    }

    /// Returns every lease in force of all processes of this user, in the order of the ports.
    pub fn holders(&self) -> Vec<Holder> {
        if self.shared.has_table() { self.shared.snapshot().holders() } else { Vec::new() }
    }

    /// Inspects one port. Binds it for an instant if no lease on it is in force.
    pub fn check(&self, port: u16) -> PortReport {
        self.shared.report(port, false)
    }

    /// Inspects one port for a service that uses it with TCP and with UDP.
    pub fn check_with_udp(&self, port: u16) -> PortReport {
        self.shared.report(port, true)
    }

    /// Whether the port could be granted now.
    pub fn is_available(&self, port: u16) -> bool {
        self.check(port).state == PortState::Free
    }

    /// Returns the port that a service holds in this session, or else the lowest port that it holds
    /// in any session of this user.
    pub fn port_for_service(&self, service: &ServiceName, scope: &Scope) -> Option<u16> {
        let (scope, service) = (scope.clone(), service.clone());
        let key = LeaseKey { scope, service, port_name: None };
        let own = self.shared.session.lock().held(&key).map(|held| held.port());
        own.or_else(|| {
            let fits = |holder: &Holder| {
                holder.service == key.service
                    && holder.scope == key.scope
                    && holder.port_name.is_none()
            };
            self.holders().into_iter().find(fits).map(|holder| holder.port)
        })
    }

    fn lease(&self, request: &PortRequest, plan: &Plan<'_>, granted: Granted) -> PortLease {
        let metrics = self.metrics.clone().map(|metrics| (metrics, plan.label().to_owned()));
        let sockets = Arc::new(granted.sockets);
        let held = Held {
            shared: self.shared.clone(),
            port: granted.candidate.port,
            slot: granted.slot,
            record: granted.record,
            address: request.address,
            sockets: Arc::downgrade(&sockets),
            left: false.into(),
            sockets_let_go: false.into(),
            metrics,
        };
        PortLease::new(sockets, held)
    }

    fn report_grant(
        &self,
        request: &PortRequest,
        plan: &Plan<'_>,
        port: u16,
        passed_over: &PassedOver,
    ) {
        if let Some(metrics) = &self.metrics {
            metrics.port_allocated(plan.label());
        }
        if let Some(preferred) = plan.preferred.first().filter(|_| passed_over.preferred) {
            warn!(
                service_name = %request.service,
                scope = %request.scope,
                preferred_port = preferred,
                allocated_port = port,
                in_use_by = listening_socket_owner(*preferred).map(|owner| owner.to_string()),
                "Port conflict detected, using fallback",
            );
        }
    }

    fn count_conflict(&self, plan: &Plan<'_>, passed_over: &PassedOver) {
        if let Some(metrics) = self.metrics.as_ref().filter(|_| passed_over.preferred) {
            metrics.port_conflict(plan.label());
        }
    }
}

fn no_ports(
    request: &PortRequest,
    plan: &Plan<'_>,
    passed_over: &PassedOver,
    snapshot: &LeaseSnapshot<'_>,
) -> AllocatorError {
    AllocatorError::NoPortsAvailable {
        service: request.service.clone(),
        range: plan.range,
        strict: request.strict,
        candidates: explain(snapshot, &passed_over.listed),
        unlisted: passed_over.unlisted,
    }
}
