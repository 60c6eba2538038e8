//! An entry of a list of ports: the short syntax `[HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL]`, and the long one, a map.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

/// How many ports one entry may stand for.
const MAX_RANGE: usize = 1_000;

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) target: u16,
    pub(super) published: Published,
    pub(super) protocol: String,
    host_ip: Option<String>,
}

/// The port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Published {
    /// Docker assigns any free port.
    Any,
    /// This one.
    One(u16),
    /// Docker assigns a free port of this range.
    OneOf(RangeInclusive<u16>),
}

type Problem = &'static str;

const NOT_A_PORT: Problem = "expected ports from 1 to 65535, or ranges such as 3000-3005";

// === impl Entry ===

impl Entry {
    /// Parses an entry that stands for one port of the container.
    pub(super) fn parse(value: &Value) -> Result<Self, Problem> {
        let (entry, targets, published) = parts(value)?;
        match targets.start() == targets.end() {
            true => Ok(Self { target: *targets.start(), published, ..entry }),
            false => Err("expected one port of the container"),
        }
    }

    /// Returns one value for each port of the container.
    pub(super) fn expanded(value: &Value) -> Result<Vec<Value>, Problem> {
        let (entry, targets, published) = parts(value)?;
        if targets.len() > MAX_RANGE {
            return Err("the range has more than 1,000 ports");
        }
        if targets.len() == 1 {
            return Ok(vec![value.clone()]);
        }
        let published: Vec<Published> = match published {
            Published::Any => targets.clone().map(|_| Published::Any).collect(),
            Published::OneOf(range) if range.len() == targets.len() => {
                range.map(Published::One).collect()
            }
            _ => return Err("the ranges have different lengths"),
        };
        let one = |(target, published)| {
            let mut value = value.clone();
            Self { target, published, ..entry.clone() }.write(&mut value);
            value
        };
        Ok(targets.zip(published).map(one).collect())
    }

    pub(super) fn with_published(self, port: u16) -> Self {
        Self { published: Published::One(port), ..self }
    }

    /// Writes the entry in the syntax of the value.
    pub(super) fn write(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.insert("target".to_owned(), json!(self.target));
                // Compose v2 writes a string, and v1 a number.
                if let Published::One(port) = self.published {
                    let as_text = map.get("published").is_some_and(Value::is_string);
                    let port = if as_text { json!(port.to_string()) } else { json!(port) };
                    map.insert("published".to_owned(), port);
                }
            }
            short => *short = json!(self.short()),
        }
    }

    fn short(&self) -> String {
        let host_ip = self.host_ip.as_deref().map(|it| match it.contains(':') {
            true => format!("[{it}]:"),
            false => format!("{it}:"),
        });
        let published = match &self.published {
            Published::Any if host_ip.is_some() => ":".to_owned(),
            Published::Any => String::new(),
            Published::One(port) => format!("{port}:"),
            Published::OneOf(range) => format!("{}-{}:", range.start(), range.end()),
        };
        let host_ip = host_ip.unwrap_or_default();
        format!("{host_ip}{published}{}/{}", self.target, self.protocol)
    }
}

/// Returns the entry without its ports, the ports of the container, and those of the host.
fn parts(value: &Value) -> Result<(Entry, RangeInclusive<u16>, Published), Problem> {
    match value {
        Value::String(text) => short_parts(text),
        Value::Number(number) => short_parts(&number.to_string()),
        Value::Object(map) => {
            let text = |key: &str| match map.get(key) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            let target = range(&text("target").ok_or("target is missing")?)?;
            let published = published(&text("published").unwrap_or_default())?;
            let protocol = text("protocol").unwrap_or_else(|| "tcp".to_owned());
            Ok((entry(text("host_ip"), protocol), target, published))
        }
        _ => Err("expected text, a number or a map"),
    }
}

fn short_parts(text: &str) -> Result<(Entry, RangeInclusive<u16>, Published), Problem> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (rest, target) =
        ports.rsplit_once(':').map_or((None, ports), |(rest, it)| (Some(rest), it));
    // An address of IPv6 has colons too, in brackets or not.
    let (host_ip, host_port) = match rest {
        None => (None, ""),
        Some(rest) => rest.rsplit_once(':').map_or((None, rest), |(ip, port)| (Some(ip), port)),
    };
    let host_ip = host_ip.map(|it| it.trim_start_matches('[').trim_end_matches(']').to_owned());
    let host_ip = host_ip.filter(|it| !it.is_empty());
    if host_ip.as_ref().is_some_and(|it| it.parse::<std::net::IpAddr>().is_err()) {
        return Err("the part before the ports is not an IP address");
    }
    Ok((entry(host_ip, protocol.to_ascii_lowercase()), range(target)?, published(host_port)?))
}

fn entry(host_ip: Option<String>, protocol: String) -> Entry {
    Entry { target: 0, published: Published::Any, protocol, host_ip }
}

fn published(text: &str) -> Result<Published, Problem> {
    if text.is_empty() || text == "0" {
        return Ok(Published::Any);
    }
    let range = range(text)?;
    match range.start() == range.end() {
        true => Ok(Published::One(*range.start())),
        false => Ok(Published::OneOf(range)),
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, Problem> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| portolan_core::port::parse(text).map_err(|_| NOT_A_PORT);
    let range = number(first)?..=number(last)?;
    if range.is_empty() { Err("the range is reversed") } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(value: &Value) -> Result<Vec<String>, Problem> {
        let entries = Entry::expanded(value)?;
        entries.iter().map(|value| Ok(Entry::parse(value)?.short())).collect()
    }

    #[test]
    fn short_syntax_is_read_in_every_form() {
        for (text, expected) in [
            ("80", &["80/tcp"][..]),
            ("8080:80", &["8080:80/tcp"]),
            ("53:53/udp", &["53:53/udp"]),
            ("127.0.0.1:8080:80", &["127.0.0.1:8080:80/tcp"]),
            ("127.0.0.1::80", &["127.0.0.1::80/tcp"]),
            ("[::1]:6000:6000", &["[::1]:6000:6000/tcp"]),
            // As Compose v1 prints it.
            ("::1:6000:6000/tcp", &["[::1]:6000:6000/tcp"]),
            ("4000-4005:80", &["4000-4005:80/tcp"]),
            ("3000-3002:5000-5002", &["3000:5000/tcp", "3001:5001/tcp", "3002:5002/tcp"]),
            ("7000-7001", &["7000/tcp", "7001/tcp"]),
        ] {
            assert_eq!(
                expanded(&json!(text)).as_deref(),
                Ok(&expected.iter().map(|&it| it.to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
        assert_eq!(expanded(&json!(80)).unwrap(), ["80/tcp"]);
    }

    #[test]
    fn long_syntax_is_read_and_keeps_what_else_it_has() {
        let mut value = json!({ "target": 80, "published": "8080", "host_ip": "::1", "mode": "ingress", "name": "web" });
        let entry = Entry::parse(&value).unwrap();
        assert_eq!((entry.target, &entry.published), (80, &Published::One(8080)));
        entry.with_published(9).write(&mut value);
        assert_eq!(
            value,
            json!({ "target": 80, "published": "9", "host_ip": "::1", "mode": "ingress", "name": "web" })
        );
        let mut number = json!({ "target": 80, "published": 8080 });
        Entry::parse(&number).unwrap().with_published(9).write(&mut number);
        assert_eq!(number, json!({ "target": 80, "published": 9 }));
        assert_eq!(Entry::parse(&json!({ "target": 80 })).unwrap().published, Published::Any);
    }

    #[test]
    fn what_is_no_port_is_an_error() {
        for value in [
            json!(""),
            json!("x"),
            json!("0:0"),
            json!("65536:80"),
            json!("-1:80"),
            json!("80:"),
            json!("9-1:9-1"),
            json!("3000-3002:5000-5001"),
            json!("example.com:80:80"),
            json!("1-65535"),
            json!("1.2.3.4:5:6:7"),
            json!(1.5),
            json!(null),
            json!([80]),
            json!({}),
            json!({ "target": "x" }),
            json!({ "target": 80, "published": "-" }),
        ] {
            assert!(expanded(&value).is_err(), "{value}");
        }
    }
}
