//! Three members of etcd, three registry servers, 50 services, 20 watchers and constant lookups, while one thing after
//! the other fails. What the clients have recorded is then compared with the history of etcd.

#![expect(clippy::print_stdout, reason = "the test runner shows the output of a failed test")]
#![expect(
    clippy::disallowed_methods,
    reason = "the recordings have one clock, which no test pauses"
)]

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use portolan_etcd::EtcdEvent;
use portolan_tests::{isolated, wait_for};
use rustix::process::Signal;

use history::History;
use load::Load;
use record::{Fault, Recording, Seen};
use topology::{COUNT, Topology};

mod history;
mod load;
mod record;
mod topology;
mod verify;

/// How long a server is stopped: longer than the TTL of all leases, and than its membership. `PORTOLAN_STOPPED` sets
/// another number of seconds.
const STOPPED: u64 = 8;
/// How many acknowledged calls and how many answered lookups there are at least during each fault.
const CALLS: usize = 60;
const LOOKUPS: usize = 20;

/// A cluster under load.
struct Trial<'a> {
    topology: Topology<'a>,
    recording: Arc<Recording>,
}

#[test]
fn nothing_is_lost_whatever_fails() {
    isolated(|env| {
        let topology = Topology::start(env)?;
        let recording = Recording::new(COUNT, load::watches());
        let (servers, members) = (topology.server_urls(), topology.member_urls());
        let load = Load::start(&servers, &members, &recording)?;
        let mut trial = Trial { topology, recording };
        trial.progress().context("before any fault")?;
        trial.faults()?;
        load.calm();
        trial.wait_until_all_is_seen()?;
        load.crash();
        trial.wait_until_all_is_gone()?;
        trial.wait_until_all_is_seen()?;
        load.stop();
        trial.verify()
    });
}

// === impl Trial ===

impl Trial<'_> {
    fn faults(&mut self) -> Result<()> {
        let leader = self.topology.leader()?;
        self.kill("the leader of etcd is killed", Some(leader), None)?;
        self.kill("a server is killed", None, Some(0))?;
        let follower = (self.topology.leader()? + 1) % COUNT;
        self.kill("a follower and a server are killed", Some(follower), Some(1))?;
        self.fault("the leader of etcd is cut off", None, |trial| {
            let leader = trial.topology.leader()?;
            trial.topology.members[leader].host.unplug()?;
            trial.progress()?;
            trial.topology.members[leader].host.reach_all()
        })?;
        self.fault("a server is cut off from etcd", None, |trial| {
            trial.cut_off(2, |trial| trial.progress())
        })?;
        self.fault("history is compacted that a server has missed", None, |trial| {
            let mut compacted = 0;
            trial.cut_off(0, |trial| {
                trial.progress()?;
                compacted = trial.compact_beyond(0)?;
                Ok(())
            })?;
            trial.wait_for_snapshot(0, compacted)
        })?;
        self.fault("a server is cut off from everything", Some(1), |trial| {
            trial.topology.servers[1].host.unplug()?;
            trial.progress()?;
            trial.topology.servers[1].host.reach_all()
        })?;
        self.fault("another member becomes the leader", None, |trial| {
            trial.topology.move_leader()?;
            trial.progress()
        })?;
        self.fault("a server is stopped", Some(2), |trial| {
            let seconds = std::env::var("PORTOLAN_STOPPED").ok().map(|text| text.parse());
            let seconds = seconds.transpose()?.unwrap_or(STOPPED);
            trial.topology.servers[2].process()?.signal(Signal::STOP)?;
            // The length of the stop is what is tried here.
            sleep(Duration::from_secs(seconds));
            trial.progress()?;
            trial.topology.servers[2].process()?.signal(Signal::CONT)
        })
    }

    /// Kills a member, a server, or one of each, and starts them again.
    fn kill(&mut self, what: &str, member: Option<usize>, server: Option<usize>) -> Result<()> {
        self.fault(what, server, |trial| {
            if let Some(member) = member {
                trial.topology.members[member].kill()?;
            }
            if let Some(server) = server {
                trial.topology.servers[server].kill()?;
            }
            trial.progress()?;
            member.map_or(Ok(()), |member| trial.topology.start_member(member))?;
            server.map_or(Ok(()), |server| trial.topology.start_server(server))
        })
    }

    /// Does something while a server, which its clients still reach, is cut off from etcd and knows it.
    fn cut_off(&mut self, server: usize, then: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let Topology { members, servers, .. } = &self.topology;
        servers[server].host.cut_off_from(members.iter().map(|member| &member.host))?;
        self.topology.wait_until_stale(server)?;
        then(self)?;
        self.topology.servers[server].host.reach_all()
    }

    /// Makes a fault, repairs it, and waits until all members and servers are ready.
    fn fault(
        &mut self,
        what: &str,
        server: Option<usize>,
        make_and_repair: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let (from, changes) = (self.recording.now(), self.recording.acknowledged());
        // Recorded at once, so that it is known although it cannot be repaired.
        make_and_repair(self).with_context(|| what.to_owned())?;
        self.topology.wait_for_members().with_context(|| format!("after: {what}"))?;
        self.topology.wait_for_servers().with_context(|| format!("after: {what}"))?;
        let until = self.recording.now();
        let changes = self.recording.acknowledged() - changes;
        println!("{from:.1?} to {until:.1?}, {changes} calls acknowledged: {what}");
        self.recording.faults.lock().push(Fault { what: what.to_owned(), server, from, until });
        Ok(())
    }

    /// Waits until calls were acknowledged, and lookups answered, since it was called.
    fn progress(&self) -> Result<()> {
        let recording = &self.recording;
        let (calls, lookups) = (recording.acknowledged(), recording.answered());
        wait_for("calls to be acknowledged and lookups to be answered", || {
            let (calls, lookups) =
                (recording.acknowledged() - calls, recording.answered() - lookups);
            ensure!(calls >= CALLS && lookups >= LOOKUPS, "{calls} calls and {lookups} lookups");
            Ok(())
        })
    }

    /// Drops the history of etcd as far as it is recorded, which is further than a server has come. Returns the last
    /// revision of etcd that is gone.
    fn compact_beyond(&self, server: usize) -> Result<i64> {
        let last = |events: &Mutex<Vec<(Duration, EtcdEvent)>>| {
            events.lock().last().map_or(0, |(_, event)| event.key_value().mod_revision)
        };
        let recorded = self.recording.members.iter().map(last).min().context("members")?;
        let shown = self.topology.shown_by(server)?;
        ensure!(shown < recorded, "the server shows {shown}, and {recorded} is recorded");
        self.topology.compact(recorded)?;
        Ok(recorded)
    }

    /// Waits until the watcher of a server has received a marked snapshot after a revision of etcd.
    fn wait_for_snapshot(&self, server: usize, after: i64) -> Result<()> {
        let after = u64::try_from(after)? * 128;
        wait_for("a snapshot in place of the history that is gone", || {
            let watch = self.recording.watches[server].lock();
            let is_snapshot =
                |seen: &Seen| matches!(seen, Seen::Snapshot { revision, .. } if *revision > after);
            ensure!(watch.seen.iter().any(is_snapshot), "{:?}", watch.seen.last());
            Ok(())
        })
    }

    /// Waits until the recorders agree, all servers show the final state, and each watcher has seen the last change.
    fn wait_until_all_is_seen(&self) -> Result<()> {
        wait_for("all to be seen", || {
            let history = self.history()?;
            for (index, watch) in self.recording.watches.iter().enumerate() {
                verify::watch(&history, &watch.lock())
                    .with_context(|| format!("watcher {index}"))?;
            }
            verify::agree(&history.state_at(u64::MAX, None), &self.recording.lookups.lock(), COUNT)
        })
    }

    /// Waits until the leases of all instances have ended.
    fn wait_until_all_is_gone(&self) -> Result<()> {
        wait_for("all leases to end", || {
            let left = self.history()?.state_at(u64::MAX, None);
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
    }

    fn history(&self) -> Result<History> {
        let members: Vec<_> =
            self.recording.members.iter().map(|events| events.lock().clone()).collect();
        History::read(&members)
    }

    fn verify(&self) -> Result<()> {
        let (history, recording) = (self.history()?, &self.recording);
        let (calls, faults) = (recording.calls.lock(), recording.faults.lock());
        let lookups = recording.lookups.lock();
        verify::calls(&history, &calls, load::TTL)?;
        verify::answered(&lookups, &faults)?;
        verify::fresh(&history, &lookups, &faults)?;
        for kind in ["registered", "updated", "health", "deregistered", "expired"] {
            let count = history.count(kind);
            println!("{count} {kind}");
            ensure!(count > 0, "nothing was {kind}, so that nothing is shown");
        }
        println!("{} calls, {} lookups", calls.len(), lookups.len());
        Ok(())
    }
}
