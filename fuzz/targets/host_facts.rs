//! What the kernel says in `/proc`: a line of a process, which chooses its own name, and the ranges of ports.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan_host_facts::{ProcessStat, SystemPorts};

fuzz_target!(|text: &str| {
    if let Some(stat) = ProcessStat::parse(text) {
        stat.is_running();
    }
    let mut lines = text.lines();
    let mut line = || lines.next().unwrap_or_default();
    let ports = SystemPorts::parse(line(), line(), line());
    for port in [1, 1024, 32_768, u16::MAX] {
        ports.is_reserved(port);
        ports.is_ephemeral(port);
    }
    assert!(ports.ephemeral_range().start() <= ports.ephemeral_range().end());
});
