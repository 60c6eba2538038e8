//! Three members of etcd and three registry servers, each on a host of its own.

use anyhow::{Context, Result, ensure};
use portolan_tests::{Host, Process, TestEnv, etcd, http, wait_for};
use serde_json::Value;

/// How many members and how many servers there are.
pub(super) const COUNT: usize = 3;

pub(super) struct Topology<'a> {
    env: &'a TestEnv,
    pub(super) members: Vec<Node<'a>>,
    pub(super) servers: Vec<Node<'a>>,
}

/// A host with its program.
pub(super) struct Node<'a> {
    pub(super) host: Host<'a>,
    pub(super) process: Option<Process>,
}

// === impl Topology ===

impl<'a> Topology<'a> {
    /// Starts everything, and waits until it is ready.
    pub(super) fn start(env: &'a TestEnv) -> Result<Self> {
        let nodes = |first: u8| -> Result<Vec<_>> {
            let hosts = (0..3).map(|number| env.host(first + number));
            hosts.map(|host| Ok(Node { host: host?, process: None })).collect()
        };
        let (members, servers) = (nodes(1)?, nodes(11)?);
        env.join_hosts(254)?;
        let mut topology = Self { env, members, servers };
        for index in 0..COUNT {
            topology.start_member(index)?;
        }
        topology.wait_for_members()?;
        for index in 0..COUNT {
            topology.start_server(index)?;
        }
        topology.wait_for_servers()?;
        Ok(topology)
    }

    pub(super) fn start_member(&mut self, index: usize) -> Result<()> {
        let hosts: Vec<_> = self.members.iter().map(|member| &member.host).collect();
        let process = etcd::start_member(self.env, hosts[index], &hosts)?;
        self.members[index].process = Some(process);
        Ok(())
    }

    pub(super) fn start_server(&mut self, index: usize) -> Result<()> {
        let endpoints = serde_json::to_string(&self.member_urls())?;
        let settings = [
            "service_registry.storage_backend=etcd".to_owned(),
            format!("service_registry.etcd.endpoints={endpoints}"),
            "broadcast.enabled=false".to_owned(),
            // All services are to end at once.
            "service_registry.mass_expiry.keep=0s".to_owned(),
        ];
        let options: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let server = &mut self.servers[index];
        let serve = server.host.portolan(&["serve", "--listen", "[::]:7000"])?.args(&options);
        server.process = Some(serve.spawn(&format!("server-{index}"))?);
        Ok(())
    }

    pub(super) fn member_urls(&self) -> Vec<String> {
        self.members.iter().map(|member| etcd::url(&member.host)).collect()
    }

    pub(super) fn server_urls(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.host.registry_url()).collect()
    }

    /// Waits until every server is ready.
    pub(super) fn wait_for_servers(&self) -> Result<()> {
        for url in self.server_urls() {
            wait_for(&format!("{url} to be ready"), || http::get(&format!("{url}/readyz")))?;
        }
        Ok(())
    }

    /// Waits until a server says that it is not.
    pub(super) fn wait_until_stale(&self, server: usize) -> Result<()> {
        let url = format!("{}/readyz", self.servers[server].host.registry_url());
        wait_for("the server to be stale", || {
            ensure!(http::get(&url).is_err(), "{url} is ready");
            Ok(())
        })
    }

    /// Waits until every member answers and knows the leader.
    pub(super) fn wait_for_members(&self) -> Result<()> {
        wait_for("the members of etcd", || {
            self.member_urls()
                .iter()
                .try_for_each(|url| etcd::ctl_at(url, &["endpoint", "health"]).map(drop))
        })
    }

    /// The leader of etcd.
    pub(super) fn leader(&self) -> Result<usize> {
        wait_for("a leader", || {
            for (index, url) in self.member_urls().iter().enumerate() {
                if let Ok((own, leader)) = status(url)
                    && own == leader
                {
                    return Ok(index);
                }
            }
            anyhow::bail!("no member leads")
        })
    }

    /// Makes another member the leader.
    pub(super) fn move_leader(&self) -> Result<()> {
        let (leader, urls) = (self.leader()?, self.member_urls());
        let (other, _) = status(&urls[(leader + 1) % COUNT])?;
        etcd::ctl_at(&urls[leader], &["move-leader", &format!("{other:x}")]).map(drop)
    }

    /// Drops the history of etcd up to a revision.
    pub(super) fn compact(&self, revision: i64) -> Result<()> {
        let url = &self.member_urls()[self.leader()?];
        etcd::ctl_at(url, &["compaction", &revision.to_string()]).map(drop)
    }

    /// The revision of etcd that a server shows.
    pub(super) fn shown_by(&self, server: usize) -> Result<i64> {
        let url = self.servers[server].host.registry_url();
        let listing = http::get_json(&format!("{url}/api/v1/services"))?;
        let revision = listing["revision"].as_i64().with_context(|| listing.to_string())?;
        Ok(revision / 128)
    }
}

/// The id of a member, and that of its leader.
fn status(url: &str) -> Result<(u64, u64)> {
    let answer = etcd::ctl_at(url, &["endpoint", "status", "--write-out", "json"])?;
    let answer: Value = serde_json::from_str(&answer)?;
    let status = &answer[0]["Status"];
    let number = |value: &Value| value.as_u64().with_context(|| format!("a number in {answer}"));
    Ok((number(&status["header"]["member_id"])?, number(&status["leader"])?))
}

// === impl Node ===

impl Node<'_> {
    /// Kills the program with SIGKILL.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.as_mut().context("the program runs")?.kill()
    }

    pub(super) fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("the program runs")
    }
}
