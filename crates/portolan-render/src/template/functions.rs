//! The functions and filters of templates, a row each.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Environment, Error, ErrorKind};
use parking_lot::Mutex;
use portolan_core::env::Convention;
use portolan_core::{Remedy, ServiceEndpoint, ServiceName};

use super::Lookups;
use crate::instances::{in_order_of_address, usable};

type Shared = Arc<Mutex<Lookups>>;

pub(super) fn add_to(environment: &mut Environment<'static>, lookups: &Shared) {
    let all = Arc::clone(lookups);
    environment.add_function("services", move |name: &str| services(&all, name));
    let one = Arc::clone(lookups);
    environment.add_function("service", move |name: &str| service(&one, name));
    let named = Arc::clone(lookups);
    environment.add_function("variables", move |names: Rest<String>, options: Kwargs| {
        variables(&named, &names, &options)
    });
    environment.add_function("env", variable);
    environment.add_filter("dotenv", dotenv);
}

/// `services(NAME)`: the usable instances in the order of their addresses; an empty list without any.
fn services(lookups: &Shared, name: &str) -> Result<Value, Error> {
    let name = parsed(name)?;
    let mut lookups = lookups.lock();
    let endpoints = lookups.ask(&name);
    let instances = usable(&endpoints, &lookups.url_schemes);
    Ok(Value::from_serialize(in_order_of_address(instances)))
}

/// `service(NAME)`: the best instance.
fn service(lookups: &Shared, name: &str) -> Result<Value, Error> {
    let name = parsed(name)?;
    let mut lookups = lookups.lock();
    let endpoints = lookups.ask(&name);
    let best = usable(&endpoints, &lookups.url_schemes).into_iter().next();
    best.map(Value::from_serialize).ok_or_else(|| lookups.no_instance(&name))
}

/// `variables(NAME, …, convention="portolan", prefix="")`: the environment variables by which programs find the services.
fn variables(lookups: &Shared, names: &[String], options: &Kwargs) -> Result<Value, Error> {
    let convention: Option<&str> = options.get("convention")?;
    let convention: Convention = convention
        .unwrap_or(Convention::default().as_str())
        .parse()
        .map_err(|error: portolan_core::env::UnknownConvention| invalid(error.to_string()))?;
    let prefix: Option<&str> = options.get("prefix")?;
    options.assert_all_used()?;
    let mut lookups = lookups.lock();
    let mut all = BTreeMap::new();
    for name in names {
        let name = parsed(name)?;
        let endpoints = lookups.ask(&name);
        let best = endpoints.first().ok_or_else(|| lookups.no_instance(&name))?;
        let own =
            convention.variables(&name, best, prefix.unwrap_or_default(), &lookups.url_schemes);
        all.extend(own.map_err(|error| invalid(error.with_remedy()))?);
    }
    Ok(Value::from_serialize(all))
}

/// `env(NAME)`, `env(NAME, DEFAULT)`: a variable of the environment of Portolan.
fn variable(name: &str, default: Option<String>) -> Result<String, Error> {
    let is_secret = portolan_core::env::is_secret(name);
    let value = std::env::var(name).ok().filter(|_| !is_secret).or(default);
    value.ok_or_else(|| invalid(format!("the environment variable {name} is not set")))
}

/// `MAP | dotenv`: a line `NAME=VALUE` for each entry. A value is in double quotes only if it needs them, because Docker takes
/// quotation marks for a part of the value.
fn dotenv(variables: &Value) -> Result<String, Error> {
    let line = |name: Value| {
        let value = variables.get_item(&name)?;
        Ok(format!("{name}={}\n", dotenv_value(&value.to_string())))
    };
    variables.try_iter()?.map(line).collect()
}

fn dotenv_value(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=?&[]~".contains(c);
    if value.chars().all(is_plain) {
        return value.to_owned();
    }
    let escaped = value.chars().flat_map(|c| {
        let before = matches!(c, '"' | '\\' | '$' | '`').then_some('\\');
        before.into_iter().chain([c])
    });
    format!("\"{}\"", escaped.collect::<String>())
}

// === impl Lookups ===

impl Lookups {
    /// Returns what is known of a service, the best instance first.
    fn ask(&mut self, name: &ServiceName) -> Vec<ServiceEndpoint> {
        self.asked.insert(name.clone());
        self.known.get(name).cloned().unwrap_or_default()
    }

    fn no_instance(&mut self, name: &ServiceName) -> Error {
        self.missing = Some(name.clone());
        invalid(format!("there is no instance of {name}"))
    }
}

fn parsed(name: &str) -> Result<ServiceName, Error> {
    name.parse().map_err(|error: portolan_core::name::InvalidName| invalid(error.to_string()))
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}
