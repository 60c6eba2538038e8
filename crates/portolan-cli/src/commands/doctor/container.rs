//! What a container or a pod changes: name resolution, multicast, service links and the root file system.

use std::fs;
use std::path::Path;

use futures_util::FutureExt as _;
use futures_util::future::ready;
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::Check;
use super::finding::Finding;

/// Above so many, the environment of a program takes noticeable time and space.
const MANY_LINKS: usize = 100;

pub(super) const CHECK: Check = Check {
    name: "container",
    run: |context| {
        let has_registry = context.names_registry();
        ready(Facts::read().evaluate(has_registry)).boxed()
    },
};

/// What is known of the surroundings of this process.
#[derive(Default)]
struct Facts {
    /// Why this is a container, if it is one.
    sign: Option<&'static str>,
    is_pod: bool,
    /// How many Services have variables such as `WEB_SERVICE_HOST`.
    links: usize,
    resolver: String,
    root_is_read_only: bool,
}

// === impl Facts ===

impl Facts {
    fn read() -> Self {
        let is_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        let sign = match () {
            () if is_pod => Some("KUBERNETES_SERVICE_HOST is set"),
            () if Path::new("/.dockerenv").exists() => Some("/.dockerenv exists"),
            () if Path::new("/run/.containerenv").exists() => Some("/run/.containerenv exists"),
            () => None,
        };
        let is_link = |name: &std::ffi::OsString| {
            name.to_str().is_some_and(|name| name.ends_with("_SERVICE_HOST"))
        };
        let links = std::env::vars_os().filter(|(name, _)| is_link(name)).count();
        let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let flags = statvfs("/").map(|status| status.f_flag);
        let root_is_read_only = flags.is_ok_and(|it| it.contains(StatVfsMountFlags::RDONLY));
        Self { sign, is_pod, links, resolver, root_is_read_only }
    }

    fn evaluate(&self, has_registry: bool) -> Vec<Finding> {
        let Some(sign) = self.sign else {
            return vec![Finding::ok("not in a container", "no sign of one was found")];
        };
        let kind = if self.is_pod { "in a pod of Kubernetes" } else { "in a container" };
        let root = match self.root_is_read_only {
            true => "the root file system is read-only",
            false => "the root file system is writable",
        };
        let search = self.search_domains();
        let evidence = format!("{sign}; {root}; {search} search domains of DNS");
        let mut findings = vec![Finding::ok(kind, evidence)];
        if !has_registry {
            findings.push(Finding::warning(
                "only this network namespace and its bridge hear announcements",
                "no registry is set, and multicast does not leave most networks of containers",
                "set PORTOLAN_REGISTRY_URL to the registry",
            ));
        }
        if self.links > MANY_LINKS {
            findings.push(Finding::warning(
                "the environment has the addresses of many Services",
                format_args!("{} variables such as WEB_SERVICE_HOST", self.links),
                "set enableServiceLinks: false in the pod",
            ));
        }
        findings
    }

    /// How many names are tried for one without a dot.
    fn search_domains(&self) -> usize {
        let mut lines = self.resolver.lines().filter_map(|line| line.strip_prefix("search "));
        // The last line counts (resolv.conf(5)).
        lines.next_back().map_or(0, |domains| domains.split_whitespace().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severities(facts: &Facts, has_registry: bool) -> Vec<String> {
        let findings = facts.evaluate(has_registry);
        findings.iter().map(|finding| finding.severity.to_string()).collect()
    }

    #[test]
    fn outside_a_container_nothing_is_reported() {
        let facts = Facts { links: 1_000, ..Facts::default() };
        assert_eq!(severities(&facts, false), ["ok"]);
    }

    #[test]
    fn pod_needs_a_registry_and_not_many_links() {
        let resolver = "search a\nsearch shop.svc.cluster.local svc.cluster.local\n".to_owned();
        let sign = Some("KUBERNETES_SERVICE_HOST is set");
        let pod = Facts { sign, is_pod: true, links: 101, resolver, root_is_read_only: true };
        assert_eq!(severities(&pod, false), ["ok", "warning", "warning"]);
        let text = pod.evaluate(true)[0].to_text("container");
        assert!(text.contains("read-only; 2 search domains"), "{text}");
        let few = Facts { links: 100, ..pod };
        assert_eq!(severities(&few, true), ["ok"]);
    }
}
