//! Whether there is IPv6, and what a program gets that listens on every address of it.

use std::fs;
use std::io;
use std::net::{Ipv6Addr, TcpListener};

use futures_util::FutureExt as _;
use futures_util::future::ready;

use super::Check;
use super::finding::Finding;

pub(super) const CHECK: Check = Check { name: "ipv6", run: |_| ready(vec![look()]).boxed() };

fn look() -> Finding {
    // A port of the system's choice, for an instant: only a bind tells whether the address is there.
    let loopback = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).map(drop);
    let v6_only = fs::read_to_string("/proc/sys/net/ipv6/bindv6only");
    judge(loopback, v6_only.is_ok_and(|text| text.trim() == "1"))
}

fn judge(loopback: io::Result<()>, v6_only: bool) -> Finding {
    match (loopback, v6_only) {
        (Err(error), _) => Finding::ok(
            "IPv6 is off, and ports are guarded in IPv4 alone",
            format_args!("cannot bind ::1: {error}"),
        ),
        (Ok(()), true) => Finding::warning(
            "a program that listens on :: is not reached by IPv4",
            "net.ipv6.bindv6only is 1, so that two services can have one port, one in each family",
            "let programs listen on 0.0.0.0 as well; or, as root, restore the default",
        )
        .command("sysctl -w net.ipv6.bindv6only=0".to_owned()),
        (Ok(()), false) => Finding::ok(
            "IPv6 is on, and ports are guarded in both families",
            "::1 can be bound, and net.ipv6.bindv6only is 0",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn a_host_without_ipv6_is_well_and_one_that_parts_the_families_is_not() {
        let off = || Err(io::ErrorKind::AddrNotAvailable.into());
        assert_eq!(judge(off(), true).severity, Severity::Ok);
        assert_eq!(judge(Ok(()), false).severity, Severity::Ok);
        assert_eq!(judge(Ok(()), true).severity, Severity::Warning);
    }
}
