//! What the processes of a soak do: own ports, inherit them, or bind them without asking.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use portolan_port_allocator::{
    AllocatorError, BindAddress, Depth, PortAllocator, PortAllocatorConfig, PortLease,
};
use rand::Rng;
use socket2::{Domain, Socket, Type};

use crate::ground::{Figure, Ground};
use crate::support::wish;
use crate::{CONFIG, FOLDER, PORT, ROLE, copy};

/// How many leases a process holds at once, at most.
const AT_ONCE: usize = 2;

/// A port in use.
struct Owned {
    port: u16,
    // In this order: a server ends before its lease.
    _server: Option<TcpListener>,
    lease: Option<PortLease>,
}

/// Plays the part that this process was started for.
pub(crate) fn play(role: &str) {
    let ground = Ground::open(&PathBuf::from(env::var_os(FOLDER).unwrap()));
    match role {
        "owner" => own(&ground, &config()),
        "loner" => {
            // Breaks the allocator: nobody sees this one's reservations.
            let runtime_dir = config().runtime_dir.unwrap();
            let runtime_dir = runtime_dir.with_file_name(format!("run-{}", std::process::id()));
            own(&ground, &PortAllocatorConfig { runtime_dir: Some(runtime_dir), ..config() });
        }
        "heir" => inherit(&ground),
        "stranger" => take_without_asking(&ground),
        role => panic!("no role {role}"),
    }
}

fn config() -> PortAllocatorConfig {
    let config = serde_json::from_str(&env::var(CONFIG).unwrap()).unwrap();
    PortAllocatorConfig { sticky: std::process::id().is_multiple_of(4), ..config }
}

fn own(ground: &Ground, config: &PortAllocatorConfig) {
    let mut random = rand::rng();
    while ground.figure(Figure::Stop) == 0 {
        let allocator = PortAllocator::new(config.clone()).unwrap();
        let mut owned = Vec::new();
        for turn in 0..random.random_range(1..200) {
            if ground.figure(Figure::Stop) > 0 {
                break;
            }
            owned.extend(take(ground, &allocator, turn));
            if owned.len() == AT_ONCE || random.random_bool(0.5) {
                thread::sleep(some_time());
                give_back(ground, (!owned.is_empty()).then(|| owned.remove(0)));
            }
        }
        owned.drain(..).for_each(|owned| give_back(ground, Some(owned)));
    }
}

/// Mostly none, often some milliseconds, and seldom up to two seconds.
fn some_time() -> Duration {
    let mut random = rand::rng();
    let millis = match random.random_range(0..1000) {
        0..900 => 0,
        900..998 => random.random_range(0..20),
        _ => random.random_range(0..2000),
    };
    Duration::from_millis(millis)
}

fn take(ground: &Ground, allocator: &PortAllocator, turn: usize) -> Option<Owned> {
    let mut random = rand::rng();
    let depth = [Depth::Bound, Depth::Guarded, Depth::Claimed][random.random_range(0..3)];
    let address = [BindAddress::Any, BindAddress::LOOPBACK][random.random_range(0..2)];
    // A service that it holds already would get the same lease again.
    let service = format!("service-{turn}");
    let lease = match allocator.request(wish(&service, depth).address(address)) {
        Ok(lease) => lease,
        Err(AllocatorError::NoPortsAvailable { .. }) => {
            ground.count(Figure::Refusals);
            return None;
        }
        Err(error) => {
            blame(ground, Figure::Errors, &error.to_string());
            return None;
        }
    };
    let port = lease.port();
    ground.count(Figure::Grants);
    if let Err(pid) = ground.own(port, depth != Depth::Claimed) {
        let what = format!("port {port} ({depth}) was granted while process {pid} has it");
        blame(ground, Figure::Duplicates, &what);
    }
    // As long as a program takes to start that was given the port.
    thread::sleep(some_time());
    listen(ground, lease)
}

fn listen(ground: &Ground, lease: PortLease) -> Option<Owned> {
    let mut random = rand::rng();
    let (port, depth) = (lease.port(), lease.depth());
    if depth == Depth::Guarded && random.random_bool(0.005) {
        die_before_a_child(&lease);
    }
    let (server, lease) = match depth {
        Depth::Bound => (lease.into_listener().map_err(|error| error.to_string()), None),
        _ => {
            let address: IpAddr =
                ["127.0.0.1", "0.0.0.0"][random.random_range(0..2)].parse().unwrap();
            let server = TcpListener::bind((address, port));
            (server.map_err(|error| error.to_string()), Some(lease))
        }
    };
    match &server {
        Ok(server) => serve(ground, server),
        Err(_) if depth == Depth::Claimed => ground.count(Figure::ReservedLost),
        Err(error) => {
            blame(ground, Figure::FailedListens, &format!("port {port} ({depth}): {error}"));
        }
    }
    Some(Owned { port, _server: server.ok(), lease })
}

/// Serves a client now and then, and closes the connection first, so that it stays on the port.
fn serve(ground: &Ground, server: &TcpListener) {
    ground.count(Figure::Listened);
    if rand::rng().random_bool(0.01) {
        let port = server.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(server.accept().unwrap());
    }
}

fn give_back(ground: &Ground, owned: Option<Owned>) {
    let Some(owned) = owned else { return };
    ground.disown(owned.port);
    drop(owned._server);
    drop(owned.lease);
}

/// Leaves the lease to a child, and is killed.
#[allow(clippy::zombie_processes, reason = "the child is to outlive this process")]
fn die_before_a_child(lease: &PortLease) -> ! {
    for descriptor in lease.inherited_fds() {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty()).unwrap();
    }
    let mut heir =
        copy("heir").env(PORT, lease.port().to_string()).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(heir.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.into_iter().any(|line| line.contains("mine now")), "no heir");
    _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    unreachable!("killed");
}

fn inherit(ground: &Ground) {
    let port = env::var(PORT).unwrap().parse().unwrap();
    ground.inherit(port);
    let server = TcpListener::bind(("127.0.0.1", port));
    if let Err(error) = &server {
        blame(ground, Figure::FailedListens, &format!("port {port} (inherited): {error}"));
    }
    ground.count(Figure::Inherited);
    let mut output = std::io::stdout().lock();
    writeln!(output, "mine now").unwrap();
    output.flush().unwrap();
    let half = rand::rng().random_bool(0.5).then_some(server);
    thread::sleep(Duration::from_millis(rand::rng().random_range(0..300)));
    drop(half);
    // The test harness would complain that nobody hears its end.
    std::process::exit(0);
}

/// Binds ports of the pool that nobody gave it, as a program does that knows nothing of guards.
fn take_without_asking(ground: &Ground) {
    let mut random = rand::rng();
    let pool = *config().port_ranges.values().next().unwrap();
    while ground.figure(Figure::Stop) == 0 {
        let port = random.random_range(pool.range().start()..=pool.range().end());
        let address = ["127.0.0.1", "0.0.0.0"][random.random_range(0..2)];
        ground.count(Figure::StrangersTries);
        if let Ok(socket) = bind(SocketAddr::new(address.parse().unwrap(), port)) {
            ground.count(Figure::StrangersBinds);
            if let Some(pid) = ground.protector(port) {
                blame(ground, Figure::Thefts, &format!("port {port} of process {pid}"));
            }
            if random.random_bool(0.5) {
                socket.listen(1).unwrap();
            }
            thread::sleep(Duration::from_millis(random.random_range(0..10)));
        }
        thread::sleep(Duration::from_micros(random.random_range(0..1000)));
    }
}

fn bind(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn blame(ground: &Ground, figure: Figure, what: &str) {
    ground.count(figure);
    _ = writeln!(std::io::stderr(), "{figure:?}: {what}");
}

/// A command that plays a part in the soak that this process is in.
pub(crate) fn command(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["part", "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}
