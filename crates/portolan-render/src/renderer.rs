//! Renders a file, and follows the services that its template names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use portolan_client::{Deadline, DiscoverError, DiscoveryClient};
use portolan_core::{Backoff, FileStamp, Protocol, Remedy as _, ServiceEndpoint, ServiceName};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::template::{Known, Rendering};
use crate::watches::Watches;
use crate::{AfterChange, Outcome, OutputFile, RenderError, Template, TemplateError};

/// The maximum number of services of a template.
const MAX_SERVICES: usize = 100;
/// The maximum size of a template in bytes.
const MAX_TEMPLATE: u64 = 1024 * 1024;
/// How many times the quiet period a burst of changes may delay the file.
const MAX_QUIET_PERIODS: u32 = 10;
/// How often the template is looked at for changes.
const TEMPLATE_INTERVAL: Duration = Duration::from_secs(1);
/// After which time a failed rendering is first repeated.
const RETRY: Duration = Duration::from_secs(1);
/// How often services are looked up again that nobody reports changes of, such as names in DNS.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);

/// How a file is rendered.
#[derive(Debug)]
pub struct RendererOptions {
    /// The template.
    pub template: PathBuf,
    /// The file that is written; `None` is for a caller that takes the text.
    pub output: Option<OutputFile>,
    /// What happens after each change of the file.
    pub after: Option<AfterChange>,
    /// How long nothing must change before the file is rendered, so that a burst of changes is one. It is rendered after ten times
    /// this at the latest.
    pub debounce: Duration,
    /// How long to wait for services without an instance at the beginning.
    pub wait: Option<Duration>,
    /// The schemes of URLs beside those of servers.
    pub url_schemes: BTreeSet<Protocol>,
}

/// Renders a file from a template.
#[derive(Debug)]
pub struct Renderer {
    client: DiscoveryClient,
    options: RendererOptions,
    template: Template,
    /// What the template's file was when it was read.
    stamp: FileStamp,
    known: Known,
    /// What was found last, without what the watches have reported as gone since.
    former: Known,
    /// The services of which `former` has lost an instance.
    lost: BTreeSet<ServiceName>,
    /// Why a service has no instance.
    not_found: BTreeMap<ServiceName, DiscoverError>,
    asked: BTreeSet<ServiceName>,
    watches: Watches,
    /// Whether changes are followed.
    is_following: bool,
}

// === impl Renderer ===

impl Renderer {
    /// Reads the template. The client should have no cache, so that it returns what it has heard last.
    ///
    /// # Errors
    ///
    /// The template cannot be read, or is not valid.
    pub fn new(client: DiscoveryClient, options: RendererOptions) -> Result<Self, RenderError> {
        let stamp = FileStamp::of([options.template.as_path()]);
        let template = read_template(&options)?;
        Ok(Self {
            client,
            options,
            template,
            stamp,
            known: Known::new(),
            former: Known::new(),
            lost: BTreeSet::new(),
            not_found: BTreeMap::new(),
            asked: BTreeSet::new(),
            watches: Watches::default(),
            is_following: false,
        })
    }

    /// The same renderer, with this after each change from now on.
    #[must_use]
    pub fn after(mut self, after: Option<AfterChange>) -> Self {
        self.options.after = after;
        self
    }

    /// Looks up the services and returns the text.
    ///
    /// # Errors
    ///
    /// A service cannot be looked up or has no instance, or the template asks for what an instance does not have.
    pub async fn text(&mut self) -> Result<String, RenderError> {
        let deadline = self.options.wait.map(Deadline::after);
        self.keep_former();
        self.not_found.clear();
        // Each round asks for at least one more service.
        loop {
            let Rendering { asked, missing, text } = self.template.render(&self.known);
            self.asked.clone_from(&asked);
            let new: Vec<_> = asked.into_iter().filter(|it| !self.known.contains_key(it)).collect();
            if new.is_empty() {
                return text.map_err(|error| self.explained(error, missing));
            }
            if self.asked.len() > MAX_SERVICES {
                let template = self.options.template.clone();
                return Err(RenderError::TooManyServices { template, limit: MAX_SERVICES });
            }
            self.look_up(new, deadline).await?;
        }
    }

    /// Keeps what is known for services that cannot be looked up, without the instances that are gone: a file must not go on naming them.
    fn keep_former(&mut self) {
        self.former.append(&mut self.known);
        self.former.retain(|name, _| self.asked.contains(name));
        let removed = self.watches.take_removed();
        for (name, instances) in &mut self.former {
            let count = instances.len();
            instances.retain(|instance| !removed.contains(&instance.id));
            if instances.len() < count {
                self.lost.insert(name.clone());
            }
        }
    }

    /// Returns why the service has no instance that the template needs.
    fn explained(&mut self, error: TemplateError, missing: Option<ServiceName>) -> RenderError {
        let found = missing.and_then(|name| self.not_found.remove_entry(&name));
        match found {
            Some((name, reason)) => {
                RenderError::Discover { place: error.place, name, error: Box::new(reason) }
            }
            None => error.into(),
        }
    }

    /// Renders the file once.
    ///
    /// # Errors
    ///
    /// As for [`text`](Self::text); the file cannot be written, the command that checks it rejects it, or what follows a change fails.
    pub async fn once(&mut self) -> Result<Outcome, RenderError> {
        let text = self.text().await?;
        let Some(output) = &self.options.output else { return Ok(Outcome::Unchanged) };
        let outcome = output.write(&text).await?;
        if let (Outcome::Written, Some(after)) = (outcome, &self.options.after) {
            after.run(output.path()).await.map_err(|reason| RenderError::After {
                path: output.path().to_owned(),
                action: after.to_string(),
                reason,
            })?;
        }
        Ok(outcome)
    }

    /// Renders the file, and again after each change of a service or of the template, until `stop` is done. What fails is logged;
    /// the former file stays.
    pub async fn follow(mut self, stop: impl Future<Output = ()>) {
        self.is_following = true;
        tokio::select! {
            () = stop => {}
            () = self.run() => {}
        }
    }

    async fn run(&mut self) {
        let mut failure = None;
        let mut backoff = Backoff::new(RETRY, LOOKUP_INTERVAL);
        loop {
            let outcome = self.once().await;
            let next = if outcome.is_ok() { LOOKUP_INTERVAL } else { backoff.next_wait() };
            if outcome.is_ok() {
                backoff.reset();
            }
            self.report(outcome, &mut failure);
            self.changed(next).await;
        }
    }

    /// Logs a change, and a failure once until it is another one.
    fn report(&self, outcome: Result<Outcome, RenderError>, failure: &mut Option<String>) {
        let template = self.options.template.display();
        match outcome {
            Ok(outcome) => {
                if outcome == Outcome::Written || failure.take().is_some() {
                    info!(%template, "File rendered");
                }
            }
            Err(error) => {
                let text = error.with_remedy();
                if failure.as_ref() != Some(&text) {
                    warn!(%template, error = text, "Not rendered, the former file stays");
                }
                *failure = Some(text);
            }
        }
    }

    /// Waits for a change, and until nothing has changed for a while; at most until the services are to be looked up again.
    async fn changed(&mut self, limit: Duration) {
        let next_lookup = Instant::now() + limit;
        loop {
            tokio::select! {
                () = self.watches.changed() => break,
                () = sleep_until(next_lookup) => return,
                () = sleep(TEMPLATE_INTERVAL) => if self.template_changed() { return },
            }
        }
        let latest = Instant::now() + self.options.debounce * MAX_QUIET_PERIODS;
        loop {
            let quiet = latest.min(Instant::now() + self.options.debounce);
            tokio::select! {
                () = self.watches.changed() => {}
                () = sleep_until(quiet) => return,
            }
        }
    }

    /// Reads the template again if its file has changed. One that is not valid is logged, and the former one stays.
    fn template_changed(&mut self) -> bool {
        if !self.stamp.refresh([self.options.template.as_path()]) {
            return false;
        }
        match read_template(&self.options) {
            Ok(template) => self.template = template,
            Err(error) => {
                warn!(error = error.with_remedy(), "Template not read, the former one stays");
            }
        }
        true
    }

    /// Looks up these services, and watches them before, so that no change is missed.
    async fn look_up(
        &mut self,
        names: Vec<ServiceName>,
        deadline: Option<Deadline>,
    ) -> Result<(), RenderError> {
        if self.is_following {
            self.watches
                .follow(&self.client, &self.asked)
                .await
                .map_err(|error| RenderError::Watch(Box::new(error)))?;
        }
        let client = &self.client;
        let lookups = names.iter().map(|name| instances(client, name, deadline));
        for (name, found) in names.iter().zip(join_all(lookups).await) {
            let (instances, reason) = match found {
                Ok(instances) => {
                    self.lost.remove(name);
                    (instances, None)
                }
                Err(error @ DiscoverError::CouldNotAsk { .. }) if self.lost.contains(name) => {
                    (self.former.get(name).cloned().unwrap_or_default(), Some(error))
                }
                Err(error @ DiscoverError::NotFound { .. }) if deadline.is_none() => {
                    (Vec::new(), Some(error))
                }
                Err(error) => {
                    let (place, name, error) = (String::new(), name.clone(), Box::new(error));
                    return Err(RenderError::Discover { place, name, error });
                }
            };
            self.known.insert(name.clone(), instances);
            self.not_found.extend(reason.map(|reason| (name.clone(), reason)));
        }
        Ok(())
    }
}

fn read_template(options: &RendererOptions) -> Result<Template, RenderError> {
    let path = &options.template;
    let text = read_text(path).map_err(RenderError::file(path))?;
    let template = Template::parse(path, &text)?;
    template.allow_schemes(&options.url_schemes);
    Ok(template)
}

/// Reads a file that may be anything, such as a device without an end.
fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_TEMPLATE + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_TEMPLATE {
        true => Err(io::Error::other(format!("the template is larger than {MAX_TEMPLATE} bytes"))),
        false => Ok(text),
    }
}

/// Returns the instances of a service, the best first. An explained lookup is not logged, so that a failure is reported once.
async fn instances(
    client: &DiscoveryClient,
    name: &ServiceName,
    deadline: Option<Deadline>,
) -> Result<Vec<ServiceEndpoint>, DiscoverError> {
    if let Some(deadline) = deadline {
        client.discover(name).wait(deadline.remaining()).explain().await.result?;
    }
    client.discover_all(name).explain().await.result
}
