//! The strategy `kubernetes`: asks the API server of the cluster for the ready endpoints of a Service, by the program
//! `portolan-kubernetes`, because a client of Kubernetes takes as long to build as the rest of Portolan (ADR 0023).

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{
    KubernetesName, Remedy, Scope, ServiceEndpoint, companion_program, escaped_line,
};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use crate::deps::Builtin;
use crate::environment::variable;
use crate::strategy::{
    Strategy, StrategyError, StrategyFuture, StrategyKind, StrategyOutcome, StrategyQuery,
};

pub(crate) static STRATEGY: Builtin = Builtin {
    kind: KIND,
    build: |_, _| Arc::new(Kubernetes { program: companion_program(PROGRAM) }),
};

const KIND: StrategyKind = StrategyKind {
    timeout: Some(Duration::from_secs(1)),
    timeout_key: Some("kubernetes_lookup"),
    ..StrategyKind::new("kubernetes")
};

const PROGRAM: &str = "portolan-kubernetes";
/// What a program of Kubernetes' own has in a pod.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// The limits on the output and on the messages of the program, in bytes.
const MAX_OUTPUT: u64 = 4 << 20;
const MAX_MESSAGE: u64 = 4 << 10;
/// The exit statuses of the program.
const FOUND: i32 = 0;
const NOT_A_NAME: i32 = 2;
const NOT_FOUND: i32 = 3;
const UNREACHABLE: i32 = 5;
const NOT_PERMITTED: i32 = 6;

#[derive(Debug)]
pub(super) struct Kubernetes {
    /// `None` if it is not installed.
    pub(super) program: Option<PathBuf>,
}

/// Why the cluster could not be asked.
#[derive(Debug, thiserror::Error)]
enum KubernetesError {
    #[error("{PROGRAM} is neither beside this program nor on the PATH")]
    Missing,
    #[error("cannot run {PROGRAM}: {0}")]
    Program(io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the answer of {PROGRAM} cannot be used: {0}")]
    Answer(serde_json::Error),
}

/// What the program has answered.
struct Answer {
    status: Option<i32>,
    output: Vec<u8>,
    message: String,
}

/// Whether this process runs in a pod with the credentials for its API server.
pub(crate) fn is_in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty())
        && Path::new(TOKEN).is_file()
}

// === impl Kubernetes ===

impl Kubernetes {
    /// Looks in the namespace of each scope, and of this pod instead of the scope `default`.
    async fn lookup(&self, query: &StrategyQuery) -> StrategyOutcome {
        let Some(name) = KubernetesName::parse(&query.name) else {
            return StrategyOutcome::Skipped(format!("no Service can be called {}", query.name));
        };
        let scopes = if name.namespace.is_some() { &query.scopes[..1] } else { &query.scopes[..] };
        let mut reasons = Vec::new();
        for scope in scopes {
            match self.look_in(query, scope).await {
                Ok(Ok(found)) => {
                    let found = found.into_iter().map(|endpoint| {
                        // Kubernetes has namespaces and no scopes: the instance is in the scope of the lookup.
                        ServiceEndpoint {
                            scope: scope.clone(),
                            name: query.name.clone(),
                            ..endpoint
                        }
                    });
                    return StrategyOutcome::Found(found.map(Into::into).collect());
                }
                Ok(Err(reason)) => reasons.push(reason),
                Err(error) => return StrategyOutcome::Failed(error),
            }
        }
        // A cluster knows its own services only.
        StrategyOutcome::NotFound { reason: reasons.join("; "), authoritative: false }
    }

    /// Returns the endpoints, at least one, or why there is none.
    async fn look_in(
        &self,
        query: &StrategyQuery,
        scope: &Scope,
    ) -> Result<Result<Vec<ServiceEndpoint>, String>, StrategyError> {
        let answer = self.run(query, scope).await.map_err(error)?;
        let refused =
            || StrategyError::from_remedy(KubernetesError::Refused(answer.message.clone()));
        match answer.status {
            Some(FOUND) => {
                let found: Vec<ServiceEndpoint> = serde_json::from_slice(&answer.output)
                    .map_err(|problem| error(KubernetesError::Answer(problem)))?;
                let nothing = || format!("no ready endpoint of {}", query.name);
                Ok(if found.is_empty() { Err(nothing()) } else { Ok(found) })
            }
            Some(NOT_FOUND | NOT_A_NAME) => Ok(Err(answer.message)),
            Some(UNREACHABLE) => Err(refused().temporary(true)),
            Some(NOT_PERMITTED) => Err(refused().not_permitted(true)),
            _ => Err(refused()),
        }
    }

    /// Runs the program, which is killed if this future is dropped.
    async fn run(&self, query: &StrategyQuery, scope: &Scope) -> Result<Answer, KubernetesError> {
        let program = self.program.as_ref().ok_or(KubernetesError::Missing)?;
        let mut command = Command::new(program);
        command.args(["--json", "--quiet", "discover", query.name.as_str()]);
        if !scope.is_default() {
            command.args(["--namespace", scope.as_str()]);
        }
        // They are for a registry.
        for secret in
            [variable::TOKEN, variable::TOKENS, variable::BROADCAST_KEY, variable::BROADCAST_KEYS]
        {
            command.env_remove(secret);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => KubernetesError::Missing,
            _ => KubernetesError::Program(error),
        })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let read = tokio::try_join!(all(stdout, MAX_OUTPUT), all(stderr, MAX_MESSAGE));
        let (output, message) = read.map_err(KubernetesError::Program)?;
        let status = child.wait().await.map_err(KubernetesError::Program)?;
        Ok(Answer { status: status.code(), output, message: first_line(&message) })
    }
}

impl Strategy for Kubernetes {
    fn kind(&self) -> StrategyKind {
        KIND
    }

    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
        Box::pin(self.lookup(query))
    }
}

// === impl KubernetesError ===

impl Remedy for KubernetesError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Missing => Some(
                "install the packaged release, or build it with `cargo build --release -p portolan-kubernetes`".into(),
            ),
            Self::Refused(_) => Some("see what `portolan kubernetes discover` prints".into()),
            Self::Program(_) | Self::Answer(_) => Some("check which program that is".into()),
        }
    }
}

/// A pod need not have the program: then there is nothing to ask.
fn error(error: KubernetesError) -> StrategyError {
    let is_missing = matches!(error, KubernetesError::Missing);
    StrategyError::from_remedy(error).optional(is_missing)
}

/// Reads to the end, or to the limit: the program then gets SIGPIPE.
async fn all(stream: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    if let Some(stream) = stream {
        stream.take(limit).read_to_end(&mut read).await?;
    }
    Ok(read)
}

fn first_line(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match escaped_line(line).trim() {
        "" => "it has ended without a message".to_owned(),
        line => line.to_owned(),
    }
}

#[cfg(test)]
mod tests;
