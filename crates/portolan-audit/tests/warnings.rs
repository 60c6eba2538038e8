//! What is wrong with the end of an audit file when a program starts is in its log. In a process of its own, because the log
//! is that of the process.
#![allow(clippy::unwrap_used, reason = "only tests are here")]

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use portolan_audit::{AuditConfig, AuditSink};
use portolan_metrics::Metrics;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[test]
fn record_that_was_cut_short_is_a_warning_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    file.write_all(b"{\"sequence\":1,\"acti").unwrap();
    let config =
        AuditConfig { sink: AuditSink::File, file: Some(path.clone()), ..AuditConfig::default() };
    let (layer, guard) = portolan_audit::start(&config, Metrics::new()).unwrap().unwrap();
    let log = folder.path().join("log");
    let written = Arc::new(File::create(&log).unwrap());
    let text = tracing_subscriber::fmt::layer().with_writer(written);
    tracing_subscriber::registry().with(layer).with(text).init();
    guard.open().unwrap();
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("WARN") && text.contains("Audit file ended within a record"), "{text}");
    drop(guard);
    assert!(fs::read_to_string(&path).unwrap().contains("audit-loss"));
    // A mistake is found at the start.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let (_layer, guard) = portolan_audit::start(&config, Metrics::new()).unwrap().unwrap();
    guard.open().unwrap_err();
}
