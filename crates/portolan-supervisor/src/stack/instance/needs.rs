//! Waiting for the needs of an instance.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use portolan_core::{ServiceEndpoint, ServiceName};

use super::Instance;
use crate::stack::file::Condition;
use crate::stack::status::InstanceState;

/// Poll interval while a need is missing, and refresh interval afterwards. The client's cache
/// answers both while nothing has changed.
const MISSING_NEED_INTERVAL: Duration = Duration::from_millis(250);
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

impl Instance {
    /// Returns the endpoint of each need, or why a need will never be ready.
    pub(super) async fn wait_for_needs(&self) -> Result<Vec<ServiceEndpoint>, String> {
        loop {
            if let Some(reason) = self.hopeless_need() {
                return Err(reason);
            }
            let found = self.resolve_needs().await;
            let ready: Vec<_> =
                found.iter().flatten().filter(|found| found.is_ready()).cloned().collect();
            if ready.len() == self.needs.len() && self.others.iter().all(|it| self.is_met(it)) {
                return Ok(ready);
            }
            tokio::time::sleep(MISSING_NEED_INTERVAL).await;
        }
    }

    /// Returns why a need of this stack will never be ready.
    fn hopeless_need(&self) -> Option<String> {
        let all = |need: &ServiceName, is: fn(&InstanceState) -> bool| {
            let rows = self.rows.borrow();
            let mut own = rows.iter().filter(|row| row.service == *need).peekable();
            own.peek().is_some() && own.all(|row| is(&row.state))
        };
        let others = self.others.iter().map(|(need, _)| need);
        if let Some(failed) =
            self.needs.iter().chain(others).find(|need| all(need, InstanceState::is_failure))
        {
            return Some(format!("needs {failed}, which failed"));
        }
        let ended = self.needs.iter().find(|need| all(need, InstanceState::is_final))?;
        Some(format!(
            "needs {ended}, which has ended; if it is a job, write `needs: {{{ended}: completed}}`"
        ))
    }

    /// Returns whether every instance of a service of this stack is in the state.
    fn is_met(&self, (need, condition): &(ServiceName, Condition)) -> bool {
        let rows = self.rows.borrow();
        let is_met = |state: &InstanceState| match condition {
            Condition::Started => matches!(
                state,
                InstanceState::Starting | InstanceState::NotListening | InstanceState::Running
            ),
            _ => false,
        };
        rows.iter()
            .filter(|row| row.service == *need)
            .all(|row| row.state == InstanceState::Exited { code: 0 } || is_met(&row.state))
    }

    async fn resolve_needs(&self) -> Vec<Option<ServiceEndpoint>> {
        let look = |need: &ServiceName| {
            let request =
                self.clients.discovery.discover(need).timeout(REFRESH_INTERVAL).retries(0);
            // `explain` logs no error for a need that is not found yet; the status shows it.
            async move { request.explain().await.result.ok().map(ServiceEndpoint::from) }
        };
        let found = join_all(self.needs.iter().map(look)).await;
        let address = |found: &Option<ServiceEndpoint>| {
            found.as_ref().map(ServiceEndpoint::address).unwrap_or_default()
        };
        let addresses: BTreeMap<_, _> =
            self.needs.iter().cloned().zip(found.iter().map(address)).collect();
        self.publish(|row| row.found = addresses);
        found
    }

    pub(super) async fn refresh_needs(&self) {
        tokio::time::sleep(REFRESH_INTERVAL).await;
        if !self.needs.is_empty() {
            self.resolve_needs().await;
        }
    }
}
