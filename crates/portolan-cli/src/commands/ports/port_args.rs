//! The options that select a port: `ports alloc` takes them and passes them to the lease holder.

use clap::Args;
use portolan_core::{PortName, PortRange, ServiceName, port};
use portolan_port_allocator::{BindAddress, Depth, PortRequest};

use crate::context::Context;

/// The options that select a port.
#[derive(Debug, Args)]
pub(super) struct PortArgs {
    /// Name of the service
    name: ServiceName,
    /// Name of the port, for a service with several ports
    #[arg(long, value_name = "NAME")]
    port_name: Option<PortName>,
    /// Preferred port, also outside every pool; a list is tried in order [default: the default port
    /// of its pool]
    #[arg(long, value_name = "PORT[,PORT]", value_parser = port::parse, value_delimiter = ',')]
    preferred: Vec<u16>,
    /// Use one of the preferred ports, or none
    #[arg(long, requires = "preferred", conflicts_with_all = ["range", "allow_ephemeral"])]
    strict: bool,
    /// Pool of the port [default: derived from the name of the service]
    #[arg(long)]
    pool: Option<String>,
    /// Range of the port, such as 8081-8099
    #[arg(long, value_name = "START-END", conflicts_with = "pool")]
    range: Option<PortRange>,
    /// Use any free port if no other is available, regardless of port_allocator.allow_ephemeral
    #[arg(long)]
    allow_ephemeral: bool,
    /// How the port is held: guarded by a socket until the program binds it, or claimed: reserved
    /// among Portolan processes only
    #[arg(long, value_name = "DEPTH", value_parser = depth, default_value = "guarded")]
    depth: Depth,
    /// Address that the program will listen on: all, loopback, or an IP address of this host
    #[arg(long, value_name = "ADDRESS", default_value = "all")]
    bind: BindAddress,
    /// Lease the port for UDP as well
    #[arg(long)]
    udp: bool,
}

// === impl PortArgs ===

impl PortArgs {
    /// Returns the options as command line arguments.
    pub(super) fn to_arguments(&self) -> Vec<String> {
        let options = [
            ("port-name", self.port_name.as_ref().map(ToString::to_string)),
            ("preferred", (!self.preferred.is_empty()).then(|| listed(&self.preferred))),
            ("pool", self.pool.clone()),
            ("range", self.range.map(|range| range.to_string())),
            ("depth", Some(self.depth.to_string())),
            ("bind", Some(self.bind.to_string())),
        ];
        let options = options.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let mut arguments: Vec<String> =
            options.flat_map(|(name, value)| [format!("--{name}"), value]).collect();
        let flags = [
            ("--strict", self.strict),
            ("--allow-ephemeral", self.allow_ephemeral),
            ("--udp", self.udp),
        ];
        arguments
            .extend(flags.into_iter().filter(|(_, set)| *set).map(|(flag, _)| flag.to_owned()));
        arguments.push(self.name.to_string());
        arguments
    }

    /// Returns the request for the allocator.
    pub(super) fn request(&self, context: &Context) -> PortRequest {
        let mut request = PortRequest::new(self.name.clone())
            .scope(context.scope.clone())
            .depth(self.depth)
            .address(self.bind)
            .udp(self.udp)
            .preferred_ports(self.preferred.clone())
            .strict(self.strict);
        if let Some(name) = &self.port_name {
            request = request.port_name(name.clone());
        }
        if let Some(pool) = &self.pool {
            request = request.pool(pool);
        }
        if let Some(range) = self.range {
            request = request.range(range);
        }
        if self.allow_ephemeral {
            request = request.allow_ephemeral(true);
        }
        request
    }
}

fn listed(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// Parses a depth at which a process can hold a port for another process.
fn depth(text: &str) -> Result<Depth, String> {
    match text.parse() {
        Ok(Depth::Bound) => {
            Err("a bound socket would stay in the lease holder; expected guarded or claimed"
                .to_owned())
        }
        Ok(depth) => Ok(depth),
        Err(_) => Err("expected guarded or claimed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct TestCli {
        #[command(flatten)]
        port: PortArgs,
    }

    fn parse(words: &[&str]) -> Result<PortArgs, clap::Error> {
        TestCli::try_parse_from([&["x"], words].concat()).map(|cli| cli.port)
    }

    #[test]
    fn arguments_round_trip() {
        for words in [
            &["api"][..],
            &["api", "--preferred", "8080", "--pool", "web", "--udp", "--bind", "::1"],
            &["api", "--range", "8081-8099", "--depth", "claimed", "--allow-ephemeral"],
            &["api", "--port-name", "metrics", "--bind", "loopback"],
            &["api", "--preferred", "3000,3001", "--preferred", "5173", "--strict"],
        ] {
            let first = parse(words).unwrap();
            let arguments = first.to_arguments();
            let again = parse(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
            assert_eq!(format!("{first:?}"), format!("{again:?}"));
        }
    }

    #[test]
    fn invalid_options_are_rejected_with_the_expected_ones() {
        for (words, remedy) in [
            (&["api", "--depth", "bound"][..], "expected guarded or claimed"),
            (&["api", "--depth", "deep"], "expected guarded or claimed"),
            (&["api", "--bind", "everywhere"], "expected all, loopback"),
            (&["api", "--range", "9-1"], "expected 1-9"),
            (&["api", "--range", "1-9", "--pool", "api"], "cannot be used with"),
            (&["api", "--strict"], "--preferred"),
            (&["api", "--preferred", "3", "--strict", "--range", "1-9"], "cannot be used with"),
            (&["api", "--preferred", "3000,0"], "from 1 to 65535"),
        ] {
            let error = parse(words).unwrap_err().to_string();
            assert!(error.contains(remedy), "{error}");
        }
    }
}
