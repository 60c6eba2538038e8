//! Which port is wanted: the options that `ports alloc` takes and hands on to the process that
//! holds the lease.

use clap::Args;
use portolan_core::{PortName, PortRange, ServiceName, port};
use portolan_port_allocator::{BindAddress, Depth, PortRequest};

use crate::context::Context;

/// A wish for a port, as it is typed.
#[derive(Debug, Args)]
pub(super) struct Wish {
    /// The service that the port is for
    name: ServiceName,
    /// Which of the service's ports it is, where it has several
    #[arg(long, value_name = "NAME")]
    port_name: Option<PortName>,
    /// The port it would like [default: its pool's]
    #[arg(long, value_name = "PORT", value_parser = port::parse)]
    preferred: Option<u16>,
    /// The pool its port comes from [default: as its name tells]
    #[arg(long)]
    pool: Option<String>,
    /// The range its port comes from, as in 8081-8099
    #[arg(long, value_name = "START-END", conflicts_with = "pool")]
    range: Option<PortRange>,
    /// Takes any free port in the end, whatever port_allocator.allow_ephemeral says
    #[arg(long)]
    allow_ephemeral: bool,
    /// How deep it is held: guarded keeps strangers off until the program binds it, claimed is the
    /// number only
    #[arg(long, value_name = "DEPTH", value_parser = depth, default_value = "guarded")]
    depth: Depth,
    /// Where the program will listen: all, loopback, or an address of this host
    #[arg(long, value_name = "ADDRESS", default_value = "all")]
    bind: BindAddress,
    /// The port is needed in UDP as well
    #[arg(long)]
    udp: bool,
}

// === impl Wish ===

impl Wish {
    /// The same wish as words of a command line.
    pub(super) fn to_arguments(&self) -> Vec<String> {
        let options = [
            ("port-name", self.port_name.as_ref().map(ToString::to_string)),
            ("preferred", self.preferred.map(|port| port.to_string())),
            ("pool", self.pool.clone()),
            ("range", self.range.map(|range| range.to_string())),
            ("depth", Some(self.depth.to_string())),
            ("bind", Some(self.bind.to_string())),
        ];
        let options = options.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let mut words: Vec<String> =
            options.flat_map(|(name, value)| [format!("--{name}"), value]).collect();
        let flags = [("--allow-ephemeral", self.allow_ephemeral), ("--udp", self.udp)];
        words.extend(flags.into_iter().filter(|(_, set)| *set).map(|(flag, _)| flag.to_owned()));
        words.push(self.name.to_string());
        words
    }

    pub(super) fn request(&self, context: &Context) -> PortRequest {
        let mut request = PortRequest::new(self.name.clone())
            .scope(context.scope.clone())
            .depth(self.depth)
            .address(self.bind)
            .udp(self.udp);
        if let Some(name) = &self.port_name {
            request = request.port_name(name.clone());
        }
        if let Some(preferred) = self.preferred {
            request = request.preferred(preferred);
        }
        if let Some(pool) = &self.pool {
            request = request.pool(pool);
        }
        if let Some(range) = self.range {
            request = request.range(range);
        }
        match self.allow_ephemeral {
            true => request.allow_ephemeral(true),
            false => request,
        }
    }
}

/// A depth at which a process can hold a port for a program that it does not start.
fn depth(text: &str) -> Result<Depth, String> {
    match text.parse() {
        Ok(Depth::Bound) => Err(
            "nobody could listen on it: the socket would stay in the process that holds the lease; use guarded or claimed"
                .to_owned(),
        ),
        Ok(depth) => Ok(depth),
        Err(_) => Err("use guarded or claimed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        wish: Wish,
    }

    fn typed(words: &[&str]) -> Result<Wish, clap::Error> {
        Typed::try_parse_from([&["x"], words].concat()).map(|typed| typed.wish)
    }

    #[test]
    fn a_wish_is_handed_on_as_it_was_typed() {
        for words in [
            &["api"][..],
            &["api", "--preferred", "8080", "--pool", "web", "--udp", "--bind", "::1"],
            &["api", "--range", "8081-8099", "--depth", "claimed", "--allow-ephemeral"],
            &["api", "--port-name", "metrics", "--bind", "loopback"],
        ] {
            let first = typed(words).unwrap();
            let arguments = first.to_arguments();
            let again = typed(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
            assert_eq!(format!("{first:?}"), format!("{again:?}"));
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_can() {
        for (words, remedy) in [
            (&["api", "--depth", "bound"][..], "use guarded or claimed"),
            (&["api", "--depth", "deep"], "use guarded or claimed"),
            (&["api", "--bind", "everywhere"], "expected all, loopback"),
            (&["api", "--range", "9-1"], "write 1-9"),
            (&["api", "--range", "1-9", "--pool", "api"], "cannot be used with"),
        ] {
            let error = typed(words).unwrap_err().to_string();
            assert!(error.contains(remedy), "{error}");
        }
    }
}
