//! Tests in many threads of many processes never have the same port at the same time.
//!
//! The child processes run this test binary again, with `child` as their test.

#![allow(clippy::unwrap_used, reason = "only tests are here")]
#![allow(clippy::print_stdout, reason = "a copy reports to the test on standard output")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines, Read};
use std::net::TcpListener;
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use portolan_testing::{Port, TestListener, listener, port, ports};

/// The directory with one file per leased port. It is set in the child processes.
const GRANTS: &str = "PORTOLAN_TEST_GRANTS";
/// The prefix of a child's report within the output of the test harness.
const SAYS: &str = "@@ ";
/// An invalid configuration, which must not be read.
const CONFIG: &str = "portolan.yaml";
const PROCESSES: usize = 8;
const THREADS: usize = 25;
/// How often each thread leases and releases ports before it keeps some.
const ROUNDS: usize = 8;

/// The ports of a test.
enum Held {
    Listener(TestListener),
    Server(Port, #[expect(dead_code, reason = "it holds the port")] TcpListener),
    Ports([Port; 2]),
}

impl Held {
    fn new(turn: usize) -> Self {
        match turn % 3 {
            0 => Self::Listener(listener()),
            // Binds by number, like a server in another process. It fails if the port is in use.
            1 => {
                let port = port();
                let server = TcpListener::bind(("127.0.0.1", *port));
                let server = server.unwrap_or_else(|error| {
                    // A port of another test is a bug, a foreign process on this port is not.
                    panic!("{port} is another's ({error}): {:?}", port.lease().listener())
                });
                Self::Server(port, server)
            }
            _ => Self::Ports(ports()),
        }
    }

    fn ports(&self) -> Vec<u16> {
        match self {
            Self::Listener(listener) => vec![listener.port()],
            Self::Server(port, _) => vec![**port],
            Self::Ports(ports) => ports.iter().map(Deref::deref).copied().collect(),
        }
    }
}

/// The child process; does nothing in the test run itself.
#[test]
fn child() {
    if let Some(folder) = std::env::var_os(GRANTS) {
        hold_many(Path::new(&folder));
    }
}

fn hold_many(folder: &Path) {
    let hold = |thread: usize| {
        (0..ROUNDS).for_each(|round| lease_and_release(folder, thread + round));
        Held::new(thread)
    };
    let kept: Vec<Held> = std::thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| scope.spawn(move || hold(thread)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let ports = kept.iter().flat_map(Held::ports).map(|port| port.to_string());
    println!("{SAYS}{}", ports.collect::<Vec<_>>().join(" "));
    // Every child keeps its ports until the test has read all reports.
    std::io::stdin().lock().read_to_end(&mut Vec::new()).unwrap();
}

/// Creates a file for each port while it is leased. An existing file is a port of another test.
fn lease_and_release(folder: &Path, turn: usize) {
    let held = Held::new(turn);
    let marks: Vec<_> = held.ports().iter().map(|port| folder.join(port.to_string())).collect();
    for mark in &marks {
        assert!(File::create_new(mark).is_ok(), "{} was granted twice", mark.display());
    }
    marks.iter().for_each(|mark| fs::remove_file(mark).unwrap());
}

struct Copy {
    process: Child,
    // Stays open until the end, so that the child can print its report.
    output: Lines<BufReader<ChildStdout>>,
}

impl Copy {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--nocapture"]).env(GRANTS, folder);
        command.current_dir(folder).env("PORTOLAN_CONFIG", folder.join(CONFIG));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, output }
    }

    /// Returns the ports that the child keeps.
    fn kept(&mut self) -> Vec<u16> {
        let mut lines = self.output.by_ref().map(Result::unwrap);
        let said = lines.find_map(|line| Some(line.split_once(SAYS)?.1.to_owned()));
        let said = said.expect("a copy failed; see what it printed");
        said.split(' ').map(|port| port.parse().unwrap()).collect()
    }

    fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

#[test]
fn two_hundred_threads_in_eight_processes_have_distinct_ports() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(CONFIG), "nonsense: [").unwrap();
    let mut copies: Vec<Copy> = (0..PROCESSES).map(|_| Copy::start(folder.path())).collect();
    let kept: Vec<u16> = copies.iter_mut().flat_map(Copy::kept).collect();
    assert!(kept.len() >= PROCESSES * THREADS, "{} ports are too few", kept.len());
    let different: BTreeSet<u16> = kept.iter().copied().collect();
    assert_eq!(different.len(), kept.len(), "one of them twice: {kept:?}");
    copies.into_iter().for_each(Copy::end);
}
