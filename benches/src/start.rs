//! How much longer a program takes to start with `portolan run` than without.
//!
//! The program is this one: it reads the clock, which all processes share, and ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::bench_env::{BenchEnv, MEASURED};
use crate::report::{Goal, Row, Unit};
use crate::statistics::median;

/// The argument that makes this program write its start time.
pub const STARTED: &str = "started";

const ROUNDS: usize = 41;
/// In milliseconds.
const GOAL: Goal = Goal::AtMost(5.0);

/// How the program is started.
#[derive(Debug, Clone, Copy)]
enum StartMode {
    Plain,
    /// By `portolan run`, with the broadcast channel or without.
    Service {
        broadcast: bool,
    },
}

/// One start, in milliseconds since the request.
#[derive(Debug, Clone, Copy)]
struct Start {
    /// Until the program's code ran.
    first: f64,
    /// Until all processes had ended.
    end: f64,
}

/// Writes the start time of this process to a file.
pub fn write_start_time(file: &Path) -> Result<()> {
    let now = now();
    std::fs::write(file, now.to_string()).with_context(|| file.display().to_string())
}

/// Rows for `run` with the default settings, and without broadcast.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let env = BenchEnv::new()?;
    let portolan = std::env::current_exe()?.with_file_name("portolan");
    ensure!(portolan.is_file(), "{} is missing; build portolan-cli first", portolan.display());
    let modes = [
        StartMode::Plain,
        StartMode::Service { broadcast: true },
        StartMode::Service { broadcast: false },
    ];
    let mut starts = modes.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (mode, starts) in modes.iter().zip(&mut starts) {
            starts.push(mode.start(&env, &portolan)?);
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
            baseline: Unit::Millis(median(plain.iter().map(moment))),
            compared: Unit::MillisMore(median(both.map(|(a, b)| moment(a) - moment(b)))),
            goal,
            specified: "",
        }
    };
    vec![
        row(format!("{what}: until the program runs"), |start| start.first, GOAL),
        row("  until all has ended".to_owned(), |start| start.end, Goal::Unset),
    ]
}

/// The monotonic time in nanoseconds.
fn now() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

// === impl StartMode ===

impl StartMode {
    fn start(self, env: &BenchEnv, portolan: &Path) -> Result<Start> {
        let file = env.directory().join("started");
        let program = std::env::current_exe()?;
        let mut command = match self {
            Self::Plain => Command::new(&program),
            Self::Service { broadcast } => {
                let mut command = Command::new(portolan);
                command.arg("run").arg("--config").arg(settings(env, broadcast)?);
                command.args(["--name", "api", "--"]).arg(&program);
                command
            }
        };
        command.arg(STARTED).arg(&file).current_dir(env.directory()).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let asked = now();
        let status = command.status().context("cannot start the program")?;
        let end = now();
        ensure!(status.success(), "the program ended with {status}");
        let first: i64 = std::fs::read_to_string(&file)?.parse()?;
        std::fs::remove_file(&file)?;
        let millis = |moment: i64| (moment - asked) as f64 / 1e6;
        Ok(Start { first: millis(first), end: millis(end) })
    }
}

/// A file of settings: the defaults, apart from other services on this machine.
fn settings(env: &BenchEnv, broadcast: bool) -> Result<PathBuf> {
    let (directory, start, end) = (env.directory().display(), MEASURED.start(), MEASURED.end());
    let file = env.directory().join(format!("broadcast-{broadcast}.yaml"));
    let text = format!(
        "\
port_allocator:
  runtime_dir: {directory}/run
  state_dir: {directory}/state
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
