//! The forms of the setting `restart`.

use std::str::FromStr;
use std::time::Duration;

use portolan_core::parse_duration;
use serde::{Deserialize, Deserializer, de};

use super::{BACKOFF, InvalidPolicy, MAX_BACKOFF, Restart};

impl FromStr for Restart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (policy, attempts) = match text.split_once(':') {
            Some(("on-failure", attempts)) => {
                let count = attempts.parse().ok().filter(|count| *count > 0);
                let count = count.ok_or_else(|| {
                    format!("invalid number of restarts {attempts:?}, expected 1 or more")
                })?;
                ("on-failure", Some(count))
            }
            _ => (text, None),
        };
        let policy = policy.parse().map_err(|error: InvalidPolicy| error.to_string())?;
        Ok(Self { policy, attempts, ..Self::default() })
    }
}

impl<'de> Deserialize<'de> for Restart {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Written::deserialize(input)?.try_into().map_err(de::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "no, on-failure, on-failure:5, always or unless-stopped, or a map with policy, attempts, backoff, max_backoff and unhealthy"
)]
enum Written {
    Text(String),
    Map(WrittenMap),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMap {
    policy: String,
    attempts: Option<u32>,
    backoff: Option<String>,
    max_backoff: Option<String>,
    unhealthy: Option<bool>,
}

impl TryFrom<Written> for Restart {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let map = match written {
            Written::Text(text) => return text.parse(),
            Written::Map(map) => map,
        };
        let duration = |text: Option<String>, default| match text {
            Some(text) => parse_duration(&text).map_err(|error| error.to_string()),
            None => Ok(default),
        };
        let restart = Self {
            policy: map.policy.parse().map_err(|error: InvalidPolicy| error.to_string())?,
            attempts: map.attempts,
            backoff: duration(map.backoff, BACKOFF)?,
            max_backoff: duration(map.max_backoff, MAX_BACKOFF)?,
            unhealthy: map.unhealthy.unwrap_or(true),
        };
        match restart {
            Self { attempts: Some(0), .. } => {
                Err("attempts is 0: expected 1 or more, or the policy no".to_owned())
            }
            Self { backoff: Duration::ZERO, .. } => Err("backoff is 0: expected more".to_owned()),
            restart => Ok(restart),
        }
    }
}
