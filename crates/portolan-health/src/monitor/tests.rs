mod spread;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Redirect;
use axum::{Router, routing::get};
use portolan_core::{HealthReport, HealthStatus, Registration, Ttl};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use rustix::process::Signal;

use super::*;
use crate::LocalProgram;
use crate::program::tests::Running;

type Reports = mpsc::Receiver<HealthEvent>;

/// Long enough that only a hang exceeds it.
const SOON: Duration = Duration::from_secs(20);

fn config() -> HealthConfig {
    HealthConfig { interval: Duration::from_millis(30), ..HealthConfig::default() }
}

fn monitor(config: HealthConfig) -> (HealthMonitor, Reports, Metrics) {
    let (sender, reports) = mpsc::channel(16);
    let metrics = Metrics::new();
    (HealthMonitor::new(config, metrics.clone(), sender), reports, metrics)
}

fn endpoint(port: u16) -> ServiceEndpoint {
    let registration =
        Registration::new("api".parse().unwrap(), "127.0.0.1".parse().unwrap(), port);
    registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH)
}

fn spec(text: &str) -> CheckSpec {
    text.parse().unwrap()
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn next(reports: &mut Reports) -> HealthReport {
    match timeout(SOON, reports.recv()).await.expect("a report in time").expect("a report") {
        HealthEvent::Changed { report, .. } => report,
        other => panic!("{other:?}"),
    }
}

async fn serve(status: fn() -> StatusCode) -> (SocketAddr, JoinHandle<()>) {
    let (listener, _) = listener().await;
    let address = listener.local_addr().unwrap();
    let app = Router::new()
        .route("/health", get(move || async move { (status(), "disk full\nmore\n") }))
        .route("/moved", get(|| async { Redirect::temporary("/health") }))
        .route("/long", get(|| async { (StatusCode::BAD_GATEWAY, "x".repeat(5_000_000)) }));
    let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, server)
}

#[tokio::test]
async fn listening_server_is_passing_and_stopped_server_is_critical() {
    let (listener, port) = listener().await;
    let (monitor, mut reports, metrics) = monitor(config());
    monitor.watch(&endpoint(port), &spec("tcp"));
    assert_eq!(next(&mut reports).await.status, HealthStatus::Passing);
    drop(listener);
    let critical = next(&mut reports).await;
    assert_eq!(critical.status, HealthStatus::Critical);
    assert!(critical.reason.starts_with(&format!("127.0.0.1:{port}: ")), "{}", critical.reason);
    monitor.stop().await;
    let text = metrics.encode();
    for result in ["success", "failure"] {
        let sample =
            format!(r#"discovery_health_checks_total{{service_name="api",result="{result}"}}"#);
        assert!(text.contains(&sample), "{text}");
    }
    assert!(text.contains("discovery_health_check_duration_seconds_count "), "{text}");
    assert!(!text.contains("discovery_health_check_duration_seconds_count 0"), "{text}");
}

#[tokio::test]
async fn late_start_turns_unknown_into_passing() {
    let (first, port) = listener().await;
    drop(first);
    let (monitor, mut reports, _) = monitor(HealthConfig::default());
    monitor.watch(&endpoint(port), &spec("tcp"));
    sleep(Duration::from_millis(120)).await;
    let _late = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    assert_eq!(next(&mut reports).await.status, HealthStatus::Passing);
    monitor.stop().await;
}

#[tokio::test]
async fn service_that_never_starts_becomes_critical() {
    let (first, port) = listener().await;
    drop(first);
    let (monitor, mut reports, _) = monitor(config());
    monitor.watch(&endpoint(port), &spec("tcp"));
    assert_eq!(next(&mut reports).await.status, HealthStatus::Critical);
    monitor.stop().await;
}

#[tokio::test]
async fn unchanged_health_is_not_reported() {
    let (_listener, port) = listener().await;
    let (monitor, mut reports, _) = monitor(config());
    let known = ServiceEndpoint { health: HealthStatus::Passing, ..endpoint(port) };
    monitor.watch(&known, &spec("tcp"));
    monitor.watch(&ServiceEndpoint { health: HealthStatus::Warning, ..known }, &spec("tcp"));
    let report = next(&mut reports).await;
    assert_eq!(report.status, HealthStatus::Passing);
    monitor.stop().await;
    assert!(reports.try_recv().is_err());
}

#[tokio::test]
async fn http_status_code_decides_health() {
    for (code, status, reason) in [
        (StatusCode::OK, HealthStatus::Passing, "GET /health: 200 OK"),
        (StatusCode::NO_CONTENT, HealthStatus::Passing, "GET /health: 204 No Content"),
        (StatusCode::FOUND, HealthStatus::Passing, "GET /health: 302 Found"),
        (
            StatusCode::TOO_MANY_REQUESTS,
            HealthStatus::Warning,
            "GET /health: 429 Too Many Requests: disk full",
        ),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            HealthStatus::Critical,
            "GET /health: 503 Service Unavailable: disk full",
        ),
    ] {
        let (listener, _) = listener().await;
        let port = listener.local_addr().unwrap().port();
        let app =
            Router::new().route("/health", get(move || async move { (code, "disk full\nx") }));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let (monitor, mut reports, _) = monitor(config());
        monitor.watch(&endpoint(port), &spec("http:/health"));
        assert_eq!(next(&mut reports).await, HealthReport::new(status, reason));
        monitor.stop().await;
        server.abort();
    }
}

#[tokio::test]
async fn http_check_follows_no_redirect_and_bounds_the_body() {
    let (address, server) = serve(|| StatusCode::OK).await;
    let (monitor, mut reports, _) = monitor(config());
    for (path, status) in [
        ("/moved", HealthStatus::Passing),
        ("/long", HealthStatus::Critical),
        ("/nothing", HealthStatus::Critical),
    ] {
        monitor.watch(&endpoint(1), &spec(&format!("http://{address}{path}")));
        let report = next(&mut reports).await;
        assert_eq!(report.status, status, "{path}");
        assert!(report.reason.starts_with(&format!("GET {path}: ")), "{}", report.reason);
        assert!(report.reason.len() < 300, "{path}");
    }
    monitor.stop().await;
    server.abort();
}

#[tokio::test]
async fn non_http_server_is_critical() {
    use tokio::io::AsyncWriteExt;
    let (listener, port) = listener().await;
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(stream.write_all(b"220 smtp ready\r\n").await);
        }
    });
    let (monitor, mut reports, _) = monitor(config());
    monitor.watch(&endpoint(port), &spec("http:/"));
    let report = next(&mut reports).await;
    assert_eq!(report.status, HealthStatus::Critical);
    assert!(report.reason.starts_with("GET / at 127.0.0.1:"), "{}", report.reason);
    monitor.stop().await;
    server.abort();
}

#[tokio::test]
async fn check_that_times_out_is_critical() {
    let (_silent, port) = listener().await;
    let config = HealthConfig { timeout: Duration::from_millis(20), ..config() };
    let (monitor, mut reports, _) = monitor(config);
    monitor.watch(&endpoint(port), &spec("http:/"));
    let report = HealthReport::new(HealthStatus::Critical, "no answer within 20ms");
    assert_eq!(next(&mut reports).await, report);
    monitor.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ttl_check_is_critical_when_reports_stop() {
    let (monitor, mut reports, _) = monitor(HealthConfig::default());
    let endpoint = endpoint(80);
    let begun = Instant::now();
    monitor.watch(&endpoint, &spec("ttl:15s"));
    sleep(Duration::from_secs(10)).await;
    assert!(reports.try_recv().is_err(), "health is unknown before the first report");
    assert!(monitor.report(&endpoint.id));
    assert_eq!(next(&mut reports).await.status, HealthStatus::Passing);
    let critical = HealthReport::new(HealthStatus::Critical, "no report within 15s");
    assert_eq!(next(&mut reports).await, critical);
    assert_eq!(begun.elapsed().as_secs(), 25);
    monitor.report(&endpoint.id);
    assert_eq!(next(&mut reports).await.status, HealthStatus::Passing);
    monitor.stop().await;
    assert!(!monitor.report(&endpoint.id));
}

#[tokio::test(start_paused = true)]
async fn ttl_check_is_critical_without_a_first_report() {
    let (monitor, mut reports, _) = monitor(HealthConfig::default());
    let begun = Instant::now();
    monitor.watch(&endpoint(80), &spec("ttl:5s"));
    assert_eq!(next(&mut reports).await.status, HealthStatus::Critical);
    assert_eq!(begun.elapsed().as_secs(), 5);
    monitor.stop().await;
}

#[tokio::test]
async fn stopped_program_does_not_pass_although_the_kernel_accepts_connections() {
    let (_listener, port) = listener().await;
    let program = Running::start("sleep", &["1000"]);
    let (monitor, mut reports, _) = monitor(config());
    let check = spec("tcp").of_program(LocalProgram::new(program.pid()));
    monitor.watch(&endpoint(port), &check);
    assert_eq!(next(&mut reports).await.status, HealthStatus::Passing);
    program.signal(program.pid(), Signal::STOP);
    let stopped = HealthReport::new(HealthStatus::Critical, "a signal has stopped the program");
    assert_eq!(next(&mut reports).await, stopped);
    program.signal(program.pid(), Signal::CONT);
    assert_eq!(next(&mut reports).await.status, HealthStatus::Passing);
    monitor.stop().await;
}

#[tokio::test]
async fn function_of_the_program_is_a_check() {
    let (monitor, mut reports, _) = monitor(config());
    let check = CheckSpec::from_fn("queue", || async {
        HealthReport::new(HealthStatus::Warning, "the queue is long")
    });
    monitor.watch(&endpoint(1), &check);
    assert_eq!(next(&mut reports).await.status, HealthStatus::Warning);
    monitor.stop().await;
}

#[tokio::test]
async fn function_of_the_program_that_fails_makes_the_instance_critical() {
    let (monitor, mut reports, _) = monitor(config());
    let check = CheckSpec::from_fn("queue", || async {
        HealthReport::new(HealthStatus::Critical, "the queue is closed")
    });
    let passing = ServiceEndpoint { health: HealthStatus::Passing, ..endpoint(1) };
    monitor.watch(&passing, &check);
    let report = next(&mut reports).await;
    assert_eq!((report.status, &*report.reason), (HealthStatus::Critical, "the queue is closed"));
    monitor.stop().await;
}

/// A suspended host: the check began before, and its timeout ends long after the time.
#[tokio::test]
async fn timeout_that_ends_late_makes_nothing_critical() {
    let config = HealthConfig { timeout: Duration::from_millis(20), ..config() };
    let (monitor, mut reports, _) = monitor(config);
    let run = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let check = CheckSpec::from_fn("suspended", move || {
        let run = run.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            match run {
                0 => HealthReport::new(HealthStatus::Passing, "at first"),
                1..=4 => {
                    // Nothing else runs in this thread meanwhile.
                    std::thread::sleep(Duration::from_millis(200));
                    std::future::pending().await
                }
                _ => HealthReport::new(HealthStatus::Critical, "at last"),
            }
        }
    });
    monitor.watch(&endpoint(1), &check);
    assert_eq!(next(&mut reports).await.reason, "at first");
    assert_eq!(next(&mut reports).await.reason, "at last");
    monitor.stop().await;
}

#[tokio::test]
async fn check_has_its_own_interval_and_timeout() {
    let (listener, port) = listener().await;
    let slow = HealthConfig { interval: Duration::from_secs(3600), ..HealthConfig::default() };
    let (monitor, mut reports, _) = monitor(slow);
    monitor.watch(&endpoint(port), &spec("http:/#interval=20ms&timeout=20ms"));
    let report = next(&mut reports).await;
    assert_eq!(report.status, HealthStatus::Critical);
    assert!(report.reason.contains("no answer within 20ms"), "{}", report.reason);
    monitor.stop().await;
    drop(listener);
}

#[tokio::test(start_paused = true)]
async fn instance_that_stays_critical_is_to_be_removed_and_is_checked_further() {
    let health = std::sync::Arc::new(Mutex::new(HealthStatus::Critical));
    let shown = std::sync::Arc::clone(&health);
    let check = CheckSpec::from_fn("queue", move || {
        std::future::ready(HealthReport::new(*shown.lock(), "as told"))
    });
    let config = HealthConfig {
        deregister_critical_after: Some(Duration::from_secs(60)),
        ..HealthConfig::default()
    };
    let (monitor, mut reports, _) = monitor(config);
    let endpoint = endpoint(80);
    let begun = Instant::now();
    monitor.watch(&endpoint, &check);
    assert_eq!(next(&mut reports).await.status, HealthStatus::Critical);
    let overdue = HealthEvent::Overdue { id: endpoint.id.clone() };
    assert_eq!(reports.recv().await.unwrap(), overdue);
    assert!(begun.elapsed() >= Duration::from_secs(60));
    *health.lock() = HealthStatus::Passing;
    assert_eq!(next(&mut reports).await.status, HealthStatus::Passing);
    monitor.stop().await;
}

#[tokio::test]
async fn unwatched_instance_is_not_checked() {
    let (monitor, mut reports, _) = monitor(config());
    let endpoint = endpoint(80);
    monitor.watch(&endpoint, &spec("ttl:15s"));
    monitor.unwatch(&endpoint.id);
    assert!(!monitor.report(&endpoint.id));
    monitor.watch(&endpoint, &spec("ttl:15s"));
    monitor.watch(&endpoint, &CheckSpec::none());
    assert!(!monitor.report(&endpoint.id));
    monitor.watch(&endpoint, &spec("ttl:15s"));
    monitor.unwatch_all();
    assert!(!monitor.report(&endpoint.id));
    assert!(format!("{monitor:?}").contains("watched: 0"));
    monitor.stop().await;
    assert!(reports.try_recv().is_err());
}

#[tokio::test]
async fn dropping_the_monitor_ends_its_tasks() {
    let (monitor, mut reports, _) = monitor(config());
    monitor.watch(&endpoint(80), &spec("ttl:15s"));
    drop(monitor);
    assert_eq!(timeout(SOON, reports.recv()).await.expect("the tasks end"), None);
}

#[tokio::test]
async fn concurrent_checks_are_limited() {
    let (listener, port) = listener().await;
    let max_concurrent_checks = NonZeroU16::new(2).unwrap();
    let config = HealthConfig { max_concurrent_checks, ..config() };
    let (monitor, reports, _) = monitor(config);
    for number in 0..10 {
        let id = format!("api-{number}").parse().unwrap();
        monitor.watch(&ServiceEndpoint { id, ..endpoint(port) }, &spec("http:/"));
    }
    // The server accepts and never responds, so that running checks keep their permits.
    let mut inside = Vec::new();
    for _ in 0..2 {
        inside.push(timeout(SOON, listener.accept()).await.unwrap().unwrap());
    }
    let third = timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(third.is_err(), "a third check ran");
    monitor.stop().await;
    drop(reports);
}
