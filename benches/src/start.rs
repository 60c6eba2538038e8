//! How much later a program starts as a service, by `portolan run`, than by itself.
//!
//! The program is a copy of this one that looks at the clock, which all processes share, and ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::figures::median;
use crate::host::{Host, MEASURED};
use crate::table::{Goal, Row, Unit};

/// The argument that makes this program one that tells when it began.
pub const STARTED: &str = "started";

const ROUNDS: usize = 41;
/// Milliseconds.
const GOAL: Goal = Goal::AtMost(5.0);

/// How the program is started.
#[derive(Debug, Clone, Copy)]
enum Way {
    Plain,
    /// By `portolan run`, with the broadcast channel or without.
    Service {
        broadcast: bool,
    },
}

/// One start, in milliseconds since it was asked for.
#[derive(Debug, Clone, Copy)]
struct Start {
    /// When the program's own code began.
    first: f64,
    /// When all of it had ended.
    end: f64,
}

/// Writes when this process began into a file.
pub fn tell_start(file: &Path) -> Result<()> {
    let now = now();
    std::fs::write(file, now.to_string()).with_context(|| file.display().to_string())
}

/// Rows for `run` as it is by default, and without broadcast.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let host = Host::new()?;
    let portolan = std::env::current_exe()?.with_file_name("portolan");
    ensure!(portolan.is_file(), "{} is missing; build portolan-cli first", portolan.display());
    let ways = [Way::Plain, Way::Service { broadcast: true }, Way::Service { broadcast: false }];
    let mut starts = ways.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (way, starts) in ways.iter().zip(&mut starts) {
            starts.push(way.start(&host, &portolan)?);
        }
    }
    let [plain, usual, silent] = starts;
    let mut rows = rows_of("portolan run", &usual, &plain);
    rows.extend(rows_of("portolan run, broadcast off", &silent, &plain));
    Ok(rows)
}

fn rows_of(what: &str, service: &[Start], plain: &[Start]) -> Vec<Row> {
    let row = |what: String, moment: fn(&Start) -> f64, goal| {
        let both = service.iter().zip(plain);
        Row {
            what,
            measured: Unit::Millis(median(service.iter().map(moment))),
            limit: Unit::Millis(median(plain.iter().map(moment))),
            compared: Unit::MillisMore(median(both.map(|(a, b)| moment(a) - moment(b)))),
            goal,
            specified: "",
        }
    };
    vec![
        row(format!("{what}: until the program runs"), |start| start.first, GOAL),
        row("  until all has ended".to_owned(), |start| start.end, Goal::Told),
    ]
}

/// Nanoseconds of a clock that all processes share.
fn now() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

// === impl Way ===

impl Way {
    fn start(self, host: &Host, portolan: &Path) -> Result<Start> {
        let told = host.folder().join("started");
        let program = std::env::current_exe()?;
        let mut command = match self {
            Self::Plain => Command::new(&program),
            Self::Service { broadcast } => {
                let mut command = Command::new(portolan);
                command.arg("run").arg("--config").arg(settings(host, broadcast)?);
                command.args(["--name", "api", "--"]).arg(&program);
                command
            }
        };
        command.arg(STARTED).arg(&told).current_dir(host.folder()).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let asked = now();
        let status = command.status().context("cannot start the program")?;
        let end = now();
        ensure!(status.success(), "the program ended with {status}");
        let first: i64 = std::fs::read_to_string(&told)?.parse()?;
        std::fs::remove_file(&told)?;
        let millis = |moment: i64| (moment - asked) as f64 / 1e6;
        Ok(Start { first: millis(first), end: millis(end) })
    }
}

/// A file of settings: as by default, but where nobody else's services are.
fn settings(host: &Host, broadcast: bool) -> Result<PathBuf> {
    let (folder, start, end) = (host.folder().display(), MEASURED.start(), MEASURED.end());
    let file = host.folder().join(format!("broadcast-{broadcast}.yaml"));
    let text = format!(
        "\
port_allocator:
  runtime_dir: {folder}/run
  state_dir: {folder}/state
  port_ranges:
    api: {{ start: {start}, end: {}, default: {start} }}
broadcast:
  enabled: {broadcast}
  interface: 127.0.0.1
  multicast_address: 239.255.0.1:{end}
discovery:
  registry_url: http://127.0.0.1:{end}
",
        end - 1
    );
    if !file.is_file() {
        std::fs::write(&file, text)?;
    }
    Ok(file)
}
