//! Tests in many threads of many processes at once never have one port twice.
//!
//! The processes are copies of this very program, which do what `child` does.

#![allow(clippy::unwrap_used, reason = "only tests are here")]
#![allow(clippy::print_stdout, reason = "a copy reports to the test on standard output")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines, Read};
use std::net::TcpListener;
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use portolan_testing::{Listener, Port, listener, port, ports};

/// The folder of the files that stand for ports; set in the copies.
const GRANTS: &str = "PORTOLAN_TEST_GRANTS";
/// What a copy says stands behind this, among what the test harness says.
const SAYS: &str = "@@ ";
/// A configuration that would fail whoever read it.
const CONFIG: &str = "portolan.yaml";
const PROCESSES: usize = 8;
const THREADS: usize = 25;
/// How often each thread gets ports and gives them back before it keeps some.
const ROUNDS: usize = 8;

/// What a test may have.
enum Held {
    Listener(Listener),
    Server(Port, #[expect(dead_code, reason = "it holds the port")] TcpListener),
    Ports([Port; 2]),
}

impl Held {
    fn new(turn: usize) -> Self {
        match turn % 3 {
            0 => Self::Listener(listener()),
            // By its number, as a server in another process would: it fails where one is there.
            1 => {
                let port = port();
                let server = TcpListener::bind(("127.0.0.1", *port));
                let server = server.unwrap_or_else(|error| {
                    // Another test's port is a fault; a stranger who means this very port is none.
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

/// What a copy does; nothing where this is the test run itself.
#[test]
fn child() {
    if let Some(folder) = std::env::var_os(GRANTS) {
        hold_many(Path::new(&folder));
    }
}

fn hold_many(folder: &Path) {
    let hold = |thread: usize| {
        (0..ROUNDS).for_each(|round| take_and_give_back(folder, thread + round));
        Held::new(thread)
    };
    let kept: Vec<Held> = std::thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| scope.spawn(move || hold(thread)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let ports = kept.iter().flat_map(Held::ports).map(|port| port.to_string());
    println!("{SAYS}{}", ports.collect::<Vec<_>>().join(" "));
    // Everybody keeps what it has until the test has seen all.
    std::io::stdin().lock().read_to_end(&mut Vec::new()).unwrap();
}

/// Leaves a file for each port as long as it is held: one that is there already is another's.
fn take_and_give_back(folder: &Path, turn: usize) {
    let held = Held::new(turn);
    let marks: Vec<_> = held.ports().iter().map(|port| folder.join(port.to_string())).collect();
    for mark in &marks {
        assert!(File::create_new(mark).is_ok(), "{} was granted twice", mark.display());
    }
    marks.iter().for_each(|mark| fs::remove_file(mark).unwrap());
}

struct Copy {
    process: Child,
    // Open until the end, or the copy could not say how it went.
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

    /// The ports that it keeps.
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
fn two_hundred_at_once_in_eight_processes_have_as_many_ports() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(CONFIG), "nonsense: [").unwrap();
    let mut copies: Vec<Copy> = (0..PROCESSES).map(|_| Copy::start(folder.path())).collect();
    let kept: Vec<u16> = copies.iter_mut().flat_map(Copy::kept).collect();
    assert!(kept.len() >= PROCESSES * THREADS, "{} ports are too few", kept.len());
    let different: BTreeSet<u16> = kept.iter().copied().collect();
    assert_eq!(different.len(), kept.len(), "one of them twice: {kept:?}");
    copies.into_iter().for_each(Copy::end);
}
