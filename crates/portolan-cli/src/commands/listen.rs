//! `portolan listen`: what is heard on the broadcast channel.

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use portolan_broadcast::ReceivedAnnouncement;
use portolan_core::parse_duration;
use serde_json::json;

use super::announce::switched_off;
use crate::context::Context;
use crate::exit::{Ending, Exit, Failure};
use crate::{output, shutdown};

/// Options of `portolan listen`.
#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// Ends after this many announcements
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// Ends after this long; with --count, running out of time is a failure
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl Listen {
    pub(crate) async fn run(self, context: &Context) -> Ending {
        let broadcaster = context.broadcaster().await?.ok_or_else(switched_off)?;
        if !broadcaster.is_listening() {
            let channel = &context.settings().broadcast.multicast_address;
            broadcaster.stop().await;
            return Err(Failure::failed(format_args!(
                "cannot listen on {channel}: the port is held by a program that does not share it"
            )));
        }
        let ending = self.listen(context, broadcaster.listen()).await;
        broadcaster.stop().await;
        ending
    }

    async fn listen(
        &self,
        context: &Context,
        mut heard: portolan_broadcast::AnnouncementListener,
    ) -> Ending {
        let mut stop = shutdown::requested()?;
        let out_of_time = tokio::time::sleep(self.timeout.unwrap_or(Duration::MAX));
        tokio::pin!(out_of_time);
        let mut count = 0;
        while self.count.is_none_or(|wanted| count < wanted) {
            tokio::select! {
                Some(heard) = heard.next() => print(context, &heard)?,
                () = stop.wait() => break,
                () = &mut out_of_time => match self.count {
                    Some(_) => return Err(timed_out(count)),
                    None => break,
                },
            }
            count += 1;
        }
        Ok(Exit::Done)
    }
}

fn timed_out(count: u64) -> Failure {
    Failure::new(
        Exit::TimedOut,
        format_args!("heard {count} announcements before the time was out"),
    )
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
