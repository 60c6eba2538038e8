//! `portolan render`: a file from a template and the services that it names.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portolan_core::parse_duration;

use crate::context::Context;
use crate::exit::CommandResult;

#[cfg(feature = "full")]
mod file;

pub(crate) const AFTER_HELP: &str = "\
The template is one of Jinja2. It asks for services by functions:

  {{ service('api').address }}                 the best instance: host, port, address, url, protocol, version, metadata, ports
  {% for api in services('api') %}…{% endfor %}  the instances that are not critical, in the order of their addresses
  {{ variables('api', 'redis', convention='kubernetes') | dotenv }}
                                               lines of a .env file: portolan, links, kubernetes or aspire
  {{ env('HOME') }}                            a variable of the environment

A server that reads its file again after each change:

  portolan render nginx.conf.j2 -o /etc/nginx/nginx.conf --watch \\
      --check 'nginx -t -q -c {file}' --signal HUP --pid-file /run/nginx.pid";

/// Options of `portolan render`.
#[derive(Debug, Args)]
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "this build has no templates"))]
pub(crate) struct Render {
    /// Template
    template: PathBuf,
    /// File that is written, if it differs [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Render again after each change of a service or of the template, until a signal ends it
    #[arg(long, requires = "output", conflicts_with = "wait")]
    watch: bool,
    /// Wait up to this long until the services are ready; exit with 124 if one is not
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, num_args = 0..=1,
          default_missing_value = "60s", require_equals = true)]
    wait: Option<Duration>,
    /// Command that checks the new file, {file}; the former file stays unless it ends with status 0
    #[arg(long, value_name = "CMD", requires = "output")]
    check: Option<String>,
    /// Command after each change of the file
    #[arg(long, value_name = "CMD", requires = "output")]
    exec: Option<String>,
    /// Signal after each change of the file, to the process in --pid-file: HUP, INT, QUIT, TERM, USR1, USR2 or WINCH
    #[arg(long, value_name = "SIGNAL", requires_all = ["output", "pid_file"], conflicts_with = "exec")]
    signal: Option<String>,
    /// File with the id of the process that gets the signal
    #[arg(long, value_name = "FILE", requires = "signal")]
    pid_file: Option<PathBuf>,
    /// Permission bits of the file, such as 0640 [default: those of the former file, or 0666 less the umask]
    #[arg(long, value_name = "MODE", requires = "output", value_parser = parse_mode)]
    mode: Option<u32>,
    /// How long nothing must change before the file is rendered; at most ten times this after the first change
    #[arg(long, value_name = "DURATION", value_parser = parse_debounce, default_value = "200ms", requires = "watch")]
    debounce: Duration,
}

impl Render {
    #[cfg(feature = "full")]
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        file::render(self, context).await
    }

    #[cfg(not(feature = "full"))]
    #[allow(clippy::unused_async, reason = "the signature of every command")]
    pub(crate) async fn run(self, _: &Context) -> CommandResult {
        Err(crate::exit::Failure::new(
            crate::exit::Exit::Usage,
            "this portolan was built without templates",
        )
        .remedy("use the packaged release, or build it with `--features full`"))
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "expected an octal number up to 0777".to_owned())
}

/// Changes that come without a pause are rendered once in ten of these.
fn parse_debounce(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(60);
    let debounce = parse_duration(text).map_err(|error| error.to_string())?;
    if debounce > MAX { Err("expected at most 60s".to_owned()) } else { Ok(debounce) }
}
