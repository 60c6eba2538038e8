use tokio::time::advance;

use super::*;

fn clients(limits: ClientLimits) -> Arc<Clients> {
    Arc::new(Clients::new(limits, 8_000))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_client_are_limited_and_those_of_others_are_not() {
    let clients = clients(ClientLimits { requests_per_second: 10, ..ClientLimits::default() });
    let admitted = (0..100).filter(|_| clients.request(ip("10.0.0.1")).is_ok()).count();
    assert_eq!(admitted, 40);
    clients.request(ip("10.0.0.2")).unwrap();
    advance(Duration::from_secs(1)).await;
    let admitted = (0..100).filter(|_| clients.request(ip("10.0.0.1")).is_ok()).count();
    assert_eq!(admitted, 10);
    assert!((0..1000).all(|_| clients.request(ip("127.0.0.1")).is_ok()));
}

#[tokio::test]
async fn network_of_an_ipv6_host_is_one_client() {
    let clients = clients(ClientLimits { connections: 2, ..ClientLimits::default() });
    let connections = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"]
        .map(|address| clients.connect(ip(address)));
    assert_eq!(connections.each_ref().map(Option::is_some), [true, true, false, true]);
    drop(connections);
    assert!(clients.connect(ip("2001:db8::9")).is_some(), "the permits are given back");
}

#[tokio::test]
async fn streams_are_limited_for_each_client_and_in_all() {
    let clients = Arc::new(Clients::new(ClientLimits { streams: 2, ..ClientLimits::default() }, 4));
    let stream = |client: &str| clients.stream(ip(client), false);
    let _own = [stream("10.0.0.1").unwrap(), stream("10.0.0.1").unwrap()];
    assert!(matches!(stream("10.0.0.1"), Err(RequestError::TooMany { .. })));
    let other = stream("10.0.0.2").unwrap();
    let _another = stream("10.0.0.3").unwrap();
    assert_eq!(stream("127.0.0.1").unwrap_err(), RequestError::TooManyStreams { limit: 4 });
    drop(other);
    stream("10.0.0.2").unwrap();
}

#[tokio::test]
async fn programs_of_this_host_leave_streams_for_others_and_for_the_user_of_the_socket() {
    let clients = Arc::new(Clients::new(ClientLimits::default(), 4));
    let stream = |by_socket| clients.stream(ip("127.0.0.1"), by_socket);
    let _by_tcp = [stream(false).unwrap(), stream(false).unwrap()];
    let refused =
        RequestError::TooMany { what: LimitedResource::Streams, limit: 2, retry_after: 5 };
    assert_eq!(stream(false).unwrap_err(), refused);
    let by_socket = [stream(true).unwrap(), stream(true).unwrap()];
    assert_eq!(stream(true).unwrap_err(), RequestError::TooManyStreams { limit: 4 });
    drop(by_socket);
    clients.stream(ip("10.0.0.1"), false).unwrap();
}

/// The system does not name the user.
fn nobody() -> Option<u32> {
    None
}

#[tokio::test(start_paused = true)]
async fn wrong_tokens_lock_a_client_out_for_a_while_and_a_repeated_one_does_not() {
    let clients = clients(ClientLimits { wrong_tokens: 3, ..ClientLimits::default() });
    let client = ip("10.0.0.1");
    (0..100).for_each(|_| clients.guessed(client, nobody, 7));
    clients.check_guesses(client, nobody).unwrap();
    (0..100).for_each(|guess| clients.guessed(client, nobody, guess));
    let error = clients.check_guesses(client, nobody).unwrap_err();
    assert!(matches!(error, RequestError::TooMany { retry_after: 1..=11, .. }), "{error:?}");
    clients.check_guesses(ip("10.0.0.2"), nobody).unwrap();
    advance(WRONG_TOKEN).await;
    clients.check_guesses(client, nobody).unwrap();
}

#[tokio::test(start_paused = true)]
async fn wrong_tokens_of_one_user_of_this_host_lock_out_no_other() {
    let clients = clients(ClientLimits { wrong_tokens: 3, ..ClientLimits::default() });
    let host = ip("127.0.0.1");
    (0..100).for_each(|guess| clients.guessed(host, || Some(1000), guess));
    clients.check_guesses(host, || Some(1000)).unwrap_err();
    clients.check_guesses(host, || Some(1001)).unwrap();
    clients.check_guesses(host, nobody).unwrap();
    advance(3 * WRONG_TOKEN).await;
    clients.check_guesses(host, || panic!("nobody has guessed for a while")).unwrap();
    // Of a user whom the system does not name, nothing is counted.
    (0..100).for_each(|guess| clients.guessed(host, nobody, guess));
    clients.check_guesses(host, nobody).unwrap();
}

#[tokio::test]
async fn memory_of_responses_is_limited_in_all_and_for_each_client() {
    let (response_bytes, total_response_bytes) = (100, 250);
    let limits = ClientLimits { response_bytes, total_response_bytes, ..ClientLimits::default() };
    let clients = clients(limits);
    let reserve = |client: &str, bytes| clients.reserve(ip(client), bytes);
    let first = reserve("10.0.0.1", 100).unwrap();
    assert_eq!(reserve("10.0.0.1", 1).unwrap_err(), RequestError::NoMemory);
    let second = reserve("10.0.0.2", 100).unwrap();
    assert_eq!(reserve("127.0.0.1", 51).unwrap_err(), RequestError::NoMemory);
    let third = reserve("127.0.0.1", 50).unwrap();
    drop((first, second, third));
    // More than the budget, but alone.
    let large = reserve("10.0.0.1", 1000).unwrap();
    assert_eq!(reserve("10.0.0.2", 1).unwrap_err(), RequestError::NoMemory);
    drop(large);
    reserve("10.0.0.2", 1).unwrap();
}

#[tokio::test(start_paused = true)]
async fn table_of_clients_is_bounded_and_forgets_those_that_use_nothing() {
    let clients = clients(ClientLimits { requests_per_second: 1, ..ClientLimits::default() });
    let address = |number: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number));
    let held = clients.connect(address(0)).unwrap();
    (0..50_000).for_each(|number| _ = clients.request(address(number)));
    assert!(clients.table.lock().clients.len() <= MAX_CLIENTS + 1);
    advance(Duration::from_secs(10)).await;
    clients.request(address(60_000)).unwrap();
    let known: Vec<_> = clients.table.lock().clients.keys().copied().collect();
    assert_eq!(known.len(), 2, "the one with a connection, and the new one");
    assert!(known.contains(&Key::of(address(0))));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn flood_of_rejections_is_summarised_in_the_audit_log() {
    let clients = clients(ClientLimits::default());
    let written = (0..1000).filter(|_| clients.audit(ip("10.0.0.1")).is_some()).count();
    assert_eq!(written, 20);
    advance(Duration::from_secs(1)).await;
    assert_eq!(clients.audit(ip("10.0.0.1")), Some(980));
}
