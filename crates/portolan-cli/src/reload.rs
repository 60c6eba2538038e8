//! Changed settings of a running server: from SIGHUP, and from files that change.

mod file_changes;

use std::fs::File;
use std::sync::Arc;

use portolan_config_manager::ConfigManager;
use portolan_config_manager::live::{Applied, Author, ChangeRefused, SettingRules, Unusable, Veto};
use portolan_core::Remedy as _;
use portolan_metrics::{Metrics, OperationResult};
use portolan_server::Settings;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

use crate::commands::config::check_usable;
use crate::context::Context;
use crate::exit::Failure;
use crate::logging::{self, LogLevel};
use crate::shutdown;
use file_changes::FileChanges;

/// Loads the settings again when that is requested.
pub(crate) struct Reload {
    manager: Arc<ConfigManager<Settings>>,
    metrics: Metrics,
    log_level: LogLevel,
    /// `None` if SIGHUP does something else.
    hangup: Option<Signal>,
    files: FileChanges,
    /// Whether the server ends with its terminal.
    has_terminal: bool,
}

// === impl Reload ===

impl Reload {
    /// Follows the file of these settings. `change` adds the options of the command.
    pub(crate) fn of(
        context: &Context,
        log_level: LogLevel,
        rules: SettingRules,
        change: impl Fn(&Context) -> Result<Settings, Failure> + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let mut loaded = context.loaded.clone();
        loaded.value = change(context)?;
        let again = context.clone();
        let load = move |requested: &Value| {
            let context = again.again(requested)?;
            check_usable(&context)?;
            let mut loaded = context.loaded.clone();
            loaded.value = change(&context)?;
            Ok(loaded)
        };
        let manager = ConfigManager::new(loaded, rules, move |requested| {
            load(requested).map_err(|Failure { message, remedy, .. }| Unusable { message, remedy })
        });
        manager.on_change("the log", |_, new: &Settings| {
            let level = new.logging.level.as_deref();
            let checked = level.map_or(Ok(()), |level| logging::filter(level).map(drop));
            checked.map_err(|failure| Veto(failure.message))
        });
        Ok(Self {
            manager: Arc::new(manager),
            metrics: context.metrics.clone(),
            log_level,
            hangup: None,
            files: FileChanges::of(context.file.as_deref()),
            has_terminal: has_terminal() && !shutdown::is_hangup_ignored(),
        })
    }

    /// Follows SIGHUP, too.
    pub(crate) fn on_hangup(mut self) -> Result<Self, Failure> {
        let hangup = signal(SignalKind::hangup())
            .map_err(|error| Failure::failed(format_args!("cannot handle SIGHUP: {error}")))?;
        self.hangup = Some(hangup);
        Ok(self)
    }

    pub(crate) fn manager(&self) -> Arc<ConfigManager<Settings>> {
        Arc::clone(&self.manager)
    }

    /// Returns the settings in force.
    pub(crate) fn settings(&self) -> Settings {
        self.manager.current().loaded.value.clone()
    }

    /// Loads the settings again whenever that is requested, until the terminal of the server is gone.
    pub(crate) async fn run(&mut self) {
        let mut versions = self.manager.follow();
        versions.mark_unchanged();
        loop {
            let author = tokio::select! {
                Ok(()) = versions.changed() => {
                    let version = Arc::clone(&versions.borrow_and_update());
                    if let Err(failure) = self.log_level.replace(&version.loaded.value.logging) {
                        error!(%failure, "Log level not changed");
                    }
                    continue;
                }
                () = received(self.hangup.as_mut()) => match self.has_terminal && !has_terminal() {
                    true => return,
                    false => Author::Signal,
                },
                () = self.files.changed() => Author::File,
            };
            let (manager, by) = (Arc::clone(&self.manager), author.clone());
            match tokio::task::spawn_blocking(move || manager.reload(by)).await {
                Ok(result) => self.report(&author, result),
                Err(error) => error!(%error, "Settings not loaded again"),
            }
        }
    }

    fn report(&self, author: &Author, result: Result<Applied, ChangeRefused>) {
        match result {
            Ok(Applied { version, changed }) => {
                let paths: Vec<_> = changed.iter().map(|change| change.path.as_str()).collect();
                let changed = paths.join(", ");
                info!(target: "audit", action = "settings", outcome = "success", %author, version, changed, "Settings loaded again");
                self.metrics.config_changed(OperationResult::Success);
            }
            Err(error) => {
                let error = error.with_remedy();
                error!(target: "audit", action = "settings", outcome = "failure", %author, error, "Changed settings not used, the former ones stay in force");
                self.metrics.config_changed(OperationResult::Failure);
            }
        }
    }
}

/// Waits for the signal, or for ever.
async fn received(signal: Option<&mut Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Whether this process has a controlling terminal. One whose terminal was closed has none.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}
