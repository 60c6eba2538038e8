//! `portolan listen`: announcements on the broadcast channel.

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use portolan_broadcast::{Broadcaster, Reach, ReceivedAnnouncement};
use portolan_core::parse_duration;
use serde_json::json;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::{output, shutdown};

const IN_USE_REMEDY: &str =
    "end the program that uses the port without SO_REUSEADDR; `portolan ports check PORT` names it";

/// Said when the channel has no interface but loopback.
pub(super) const CUT_OFF: &str = "the broadcast channel has joined no network interface, only this host is reached; `portolan doctor` shows each interface";

/// Options of `portolan listen`.
#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// Exit after this many announcements
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// Exit after this long; with --count, a timeout is a failure
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl Listen {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let broadcaster = context.enabled_broadcaster().await?;
        if !broadcaster.is_listening() {
            let channel = &context.settings().broadcast.multicast_address;
            broadcaster.stop().await;
            let message = format!("cannot listen on {channel}: the port is in use");
            return Err(Failure::failed(message).remedy(IN_USE_REMEDY));
        }
        let result = self.listen(context, &broadcaster).await;
        broadcaster.stop().await;
        result
    }

    async fn listen(&self, context: &Context, broadcaster: &Broadcaster) -> CommandResult {
        let (mut heard, mut reach) = (broadcaster.listen(), broadcaster.reach());
        let mut told = Told::default();
        told.tell(context, *reach.borrow_and_update());
        let mut stop = shutdown::signals()?;
        let timeout = tokio::time::sleep(self.timeout.unwrap_or(Duration::MAX));
        tokio::pin!(timeout);
        let mut count = 0;
        while self.count.is_none_or(|wanted| count < wanted) {
            tokio::select! {
                Some(heard) = heard.next() => print(context, &heard)?,
                Ok(()) = reach.changed() => {
                    told.tell(context, *reach.borrow_and_update());
                    continue;
                }
                () = stop.wait() => break,
                () = &mut timeout => match self.count {
                    Some(_) => return Err(timed_out(count)),
                    None => break,
                },
            }
            count += 1;
        }
        Ok(Exit::Done)
    }
}

/// What the user was told about the reach of the channel.
#[derive(Debug, Default)]
struct Told {
    is_cut_off: bool,
}

// === impl Told ===

impl Told {
    /// Says on standard error that other hosts are no longer heard, or heard again.
    fn tell(&mut self, context: &Context, reach: Reach) {
        let is_cut_off = reach == Reach::CutOff;
        if std::mem::replace(&mut self.is_cut_off, is_cut_off) == is_cut_off {
            return;
        }
        match is_cut_off {
            true => output::warning(CUT_OFF),
            false if !context.quiet => output::note("the broadcast channel hears other hosts"),
            false => {}
        }
    }
}

fn timed_out(count: u64) -> Failure {
    Failure::new(Exit::TimedOut, format_args!("timed out after {count} announcements"))
}

fn print(context: &Context, heard: &ReceivedAnnouncement) -> Result<(), Failure> {
    let announcement = &heard.announcement;
    let (action, service) = (announcement.action, &announcement.service);
    if context.json {
        let source = heard.source.to_string();
        return output::json(
            &json!({ "action": action, "service": service, "ttl": heard.ttl, "source": source }),
        );
    }
    output::line(format_args!(
        "{action} {} {} from {}",
        service.name,
        service.address(),
        heard.source
    ))
}
