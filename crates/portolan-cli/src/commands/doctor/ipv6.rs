//! Whether IPv6 is available, and whether a socket on `::` also accepts IPv4.

use std::io;
use std::net::{Ipv6Addr, TcpListener};

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_host_facts::sysctl;

use super::Check;
use super::finding::Finding;

pub(super) const CHECK: Check = Check { name: "ipv6", run: |_| ready(vec![check()]).boxed() };

fn check() -> Finding {
    // Only binding a socket shows whether the address exists; port 0 is any free port.
    let loopback = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).map(drop);
    evaluate(loopback, sysctl::is_ipv6_only() == Some(true))
}

fn evaluate(loopback: io::Result<()>, v6_only: bool) -> Finding {
    match (loopback, v6_only) {
        (Err(error), _) => Finding::ok(
            "IPv6 is not available; ports are guarded in IPv4 only",
            format_args!("cannot bind ::1: {error}"),
        ),
        (Ok(()), true) => Finding::warning(
            "a program that listens on :: does not accept IPv4 connections",
            "net.ipv6.bindv6only is 1, so that two services can have one port, one in each family",
            "let programs listen on 0.0.0.0 as well, or, as root, restore the default",
        )
        .command("sysctl -w net.ipv6.bindv6only=0".to_owned()),
        (Ok(()), false) => Finding::ok(
            "IPv6 is available; ports are guarded in IPv4 and IPv6",
            "::1 can be bound, and net.ipv6.bindv6only is 0",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn only_separate_address_families_are_a_warning() {
        let off = || Err(io::ErrorKind::AddrNotAvailable.into());
        assert_eq!(evaluate(off(), true).severity, Severity::Ok);
        assert_eq!(evaluate(Ok(()), false).severity, Severity::Ok);
        assert_eq!(evaluate(Ok(()), true).severity, Severity::Warning);
    }
}
