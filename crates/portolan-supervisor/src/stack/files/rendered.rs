//! Renders the files of a service, and follows the services that their templates name.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use portolan_client::DiscoveryClient;
use portolan_core::{Protocol, Remedy as _};
use portolan_render::{AfterChange, OutputFile, RenderError, Renderer, RendererOptions};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::FileEntry;
use crate::StopSignal;

/// How long nothing must change before a file is rendered again.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// The files of a running service.
#[derive(Debug)]
pub(in crate::stack) struct RenderedFiles {
    /// The signal of each file that has one, and what tells of its changes.
    signals: Vec<(StopSignal, Arc<Notify>)>,
    followers: JoinSet<()>,
    end: CancellationToken,
}

// === impl RenderedFiles ===

impl RenderedFiles {
    /// Renders every file, and keeps them current from then on. `client` should have no cache.
    ///
    /// # Errors
    ///
    /// The reason why one cannot be rendered, with a remedy.
    pub(in crate::stack) async fn render(
        files: &[FileEntry],
        folder: &Path,
        client: &DiscoveryClient,
        url_schemes: &BTreeSet<Protocol>,
    ) -> Result<Self, String> {
        let mut rendered =
            Self { signals: Vec::new(), followers: JoinSet::new(), end: CancellationToken::new() };
        for file in files {
            rendered.add(file, folder, client, url_schemes).await.map_err(|error| {
                let remedy = "name every service of the template in `needs`";
                match error {
                    RenderError::Discover { .. } => format!("{error}; {remedy}"),
                    error => error.with_remedy(),
                }
            })?;
        }
        Ok(rendered)
    }

    async fn add(
        &mut self,
        file: &FileEntry,
        folder: &Path,
        client: &DiscoveryClient,
        url_schemes: &BTreeSet<Protocol>,
    ) -> Result<(), RenderError> {
        let output = OutputFile::new(folder.join(&file.output)).check(file.check.clone());
        let changed = Arc::new(Notify::new());
        let options = RendererOptions {
            template: folder.join(&file.template),
            output: Some(output),
            after: None,
            debounce: DEBOUNCE,
            wait: None,
            url_schemes: url_schemes.clone(),
        };
        // Nobody has read the first one yet, so nobody is told of it.
        let mut renderer = Renderer::new(client.clone(), options)?;
        renderer.once().await?;
        let end = self.end.clone();
        let renderer = renderer.after(after(file, &changed));
        self.followers.spawn(async move { renderer.follow(end.cancelled()).await });
        self.signals.extend(file.signal.map(|signal| (signal, changed)));
        Ok(())
    }

    /// Waits until a file has changed, and returns the signal by which the program reads it again. Cancel-safe.
    pub(in crate::stack) async fn changed(&self) -> StopSignal {
        if self.signals.is_empty() {
            return std::future::pending().await;
        }
        let changes = self.signals.iter().map(|(signal, changed)| {
            Box::pin(async {
                changed.notified().await;
                *signal
            })
        });
        select_all(changes).await.0
    }

    /// Ends following.
    pub(in crate::stack) async fn end(self) {
        self.end.cancel();
        self.followers.join_all().await;
    }
}

fn after(file: &FileEntry, changed: &Arc<Notify>) -> Option<AfterChange> {
    let command = file.exec.clone().map(AfterChange::Command);
    let signal = || {
        let action = format!("the signal after a change of {}", file.output.display());
        AfterChange::Notify { action, changed: Arc::clone(changed) }
    };
    command.or_else(|| file.signal.map(|_| signal()))
}
