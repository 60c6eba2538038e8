//! The layers that are given as text: environment variables and flags.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use portolan_core::suggest;

use crate::Origin;
use crate::error::Problem;
use crate::node::{Entry, Node, Value};
use crate::path::KeyPath;
use crate::scalar::Scalar;
use crate::schema::{Kind, Schema, UnknownKey};
use crate::yaml;

/// The prefix of Portolan's environment variables.
const PREFIX: &str = "PORTOLAN_";
/// The separator between the keys of a path in the name of a variable.
const SEPARATOR: &str = "__";

/// A variable whose name is not derived from the path of a setting.
#[derive(Debug, Clone)]
pub(crate) struct Reserved {
    pub(crate) variable: String,
    /// The setting that it sets; `None` if it is not a setting.
    pub(crate) path: Option<KeyPath>,
}

/// A setting on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    pub(crate) name: String,
    pub(crate) path: KeyPath,
    pub(crate) value: String,
}

/// The settings of the environment.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// Reserved variables, then those with a whole path.
    pub(crate) layers: Vec<Node>,
    /// The variables that name no setting. Kubernetes and Docker set `PORTOLAN_PORT`,
    /// `PORTOLAN_SERVICE_HOST` and others for a service that is called portolan.
    pub(crate) ignored: Vec<String>,
}

/// Reads the variables with the prefix. An unknown name is an error only if it has a separator and is not one that Kubernetes
/// sets.
pub(crate) fn from_environment(
    variables: &[(OsString, OsString)],
    reserved: &[Reserved],
    schema: &Schema,
) -> Result<Environment, Vec<Problem>> {
    let find_reserved = |name: &str| reserved.iter().find(|reserved| reserved.variable == name);
    let mut layers = (Vec::new(), Vec::new());
    let (mut problems, mut ignored) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let reserved = find_reserved(name);
        let path = match reserved {
            Some(Reserved { path: None, .. }) => continue,
            Some(Reserved { path: Some(path), .. }) => schema.find(path.keys(), str::eq),
            None => schema.find(&keys(name), str::eq_ignore_ascii_case),
        };
        let may_be_meant = name.contains(SEPARATOR) && !is_service_link(name, value);
        if path.is_err() && reserved.is_none() && !may_be_meant {
            ignored.push(name.to_owned());
            continue;
        }
        let origin = Origin::Environment { variable: Arc::from(name) };
        let layers = if reserved.is_some() { &mut layers.0 } else { &mut layers.1 };
        let setting = path.map_err(|unknown| unknown_variable(name, &unknown, schema));
        match setting.and_then(|(path, kind)| layer(&path, kind, value, &origin)) {
            Ok(node) => layers.push(node),
            Err((path, message)) => problems.push(Problem { origin, path, message, remedy: None }),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    ignored.sort();
    Ok(Environment { layers: [layers.0, layers.1].concat(), ignored })
}

/// Whether Kubernetes or Docker sets the variable for a service whose name has two hyphens in a row, such as
/// `portolan--api`. No setting has such a name.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let of_port = || {
        // PORT_80_TCP, PORT_80_TCP_ADDR
        let (_, port) = name.rsplit_once("_PORT_")?;
        let (number, protocol) = port.split_once('_')?;
        let protocol = protocol.split('_').next().unwrap_or_default();
        Some(is_number(number) && ["TCP", "UDP", "SCTP"].contains(&protocol))
    };
    name.ends_with("_SERVICE_HOST")
        || (name.ends_with("_PORT") && value.to_string_lossy().contains("://"))
        || name.contains("_SERVICE_PORT")
        || of_port().unwrap_or(false)
}

/// Returns the layer of one flag.
pub(crate) fn from_flag(flag: &Flag, schema: &Schema) -> Result<Node, Problem> {
    let origin = Origin::Flag { name: Arc::from(flag.name.as_str()) };
    let found = schema.find(flag.path.keys(), str::eq).map_err(|unknown| {
        let key = flag.path.keys().get(unknown.path.keys().len()).map_or("", String::as_str);
        let at_top = unknown.path.keys().is_empty();
        (flag.path.to_string(), schema.hint(key, unknown.siblings, at_top))
    });
    found
        .and_then(|(path, kind)| layer(&path, kind, OsStr::new(&flag.value), &origin))
        .map_err(|(path, message)| Problem { origin, path, message, remedy: None })
}

/// Returns the keys in the name of a variable, in lower case as far as the schema does not say.
fn keys(name: &str) -> Vec<String> {
    let path = name.strip_prefix(PREFIX).unwrap_or(name);
    path.split(SEPARATOR).map(str::to_ascii_lowercase).collect()
}

/// The path and the message of a problem.
type PathMessage = (String, String);

fn unknown_variable(name: &str, unknown: &UnknownKey<'_>, schema: &Schema) -> PathMessage {
    let keys = keys(name);
    let depth = unknown.path.keys().len();
    let key = keys.get(depth).map_or("", String::as_str);
    let names = unknown.siblings.iter().map(|entry| entry.key.as_str());
    let message = match suggest(key, names) {
        Some(meant) => {
            let above = unknown.path.keys().iter().map(String::as_str);
            let below = keys.iter().skip(depth + 1).map(String::as_str);
            let path: Vec<&str> = above.chain([meant]).chain(below).collect();
            let meant = format!("{PREFIX}{}", path.join(SEPARATOR).to_ascii_uppercase());
            format!("unknown setting; did you mean `{meant}`?")
        }
        None => schema.hint(key, unknown.siblings, depth == 0),
    };
    (KeyPath::from(keys).to_string(), message)
}

/// Returns a tree with a single setting.
fn layer(path: &KeyPath, kind: Kind, value: &OsStr, origin: &Origin) -> Result<Node, PathMessage> {
    let problem = |message: String| (path.to_string(), message);
    let text = value.to_str().ok_or_else(|| problem("the value is not UTF-8".to_owned()))?;
    let leaf = value_of(text, kind, origin).map_err(problem)?;
    Ok(path.keys().iter().rev().fold(leaf, |node, key| {
        let entry = Entry { key: key.clone(), key_origin: origin.clone(), node };
        Node::new(origin.clone(), Value::Map(vec![entry]))
    }))
}

/// Parses a value by the kind of its setting. A scalar is taken as it is, so that a token may contain
/// any character. A list is `a,b` or YAML `[a, b]`. Any other value is YAML if it begins with `[` or
/// `{`, else a scalar.
fn value_of(text: &str, kind: Kind, origin: &Origin) -> Result<Node, String> {
    let given = |text: &str| Node::scalar(origin.clone(), Scalar::Given(text.to_owned()));
    let bracketed = text.trim_start().starts_with(['[', '{']);
    match kind {
        Kind::Scalar => Ok(given(text)),
        _ if bracketed => match yaml::parse_value(text, origin) {
            Ok(node) => Ok(node.unwrap_or_else(|| given(text))),
            Err(error) => Err(format!("at character {}: {}", error.column, error.message)),
        },
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Node::new(origin.clone(), Value::List(items.map(given).collect())))
        }
        Kind::Map | Kind::Any => Ok(given(text)),
    }
}
