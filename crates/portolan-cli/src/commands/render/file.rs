//! Renders the file once, or until a signal ends the command.

use std::str::FromStr;
use std::time::Duration;

use portolan_process::{CommandWords, InvalidWords};
use portolan_render::{
    AfterChange, FILE, Outcome, OutputFile, RenderError, Renderer, RendererOptions, parse_signal,
};

use serde_json::json;

use super::Render;
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::{exit_codes, output, shutdown};

pub(super) async fn render(render: Render, context: &Context) -> CommandResult {
    let mut signals = render.watch.then(shutdown::signals).transpose()?;
    let client = context.uncached_discovery().await?;
    let options = render.options(context)?;
    let (is_printed, wait) = (options.output.is_none(), options.wait);
    let mut renderer = Renderer::new(client.clone(), options)?;
    let result = match &mut signals {
        Some(signals) => {
            renderer.follow(signals.wait()).await;
            Ok(())
        }
        None if is_printed => print(&mut renderer, context, wait).await,
        None => write(&mut renderer, context, wait).await,
    };
    client.close().await;
    result.map(|()| Exit::Done)
}

async fn print(
    renderer: &mut Renderer,
    context: &Context,
    wait: Option<Duration>,
) -> Result<(), Failure> {
    let text = renderer.text().await.map_err(|error| failure(error, wait))?;
    if context.json { output::json(&json!({ "text": text })) } else { output::text(&text) }
}

async fn write(
    renderer: &mut Renderer,
    context: &Context,
    wait: Option<Duration>,
) -> Result<(), Failure> {
    let outcome = renderer.once().await.map_err(|error| failure(error, wait))?;
    if context.json {
        output::json(&json!({ "written": outcome == Outcome::Written }))?;
    }
    Ok(())
}

impl Render {
    fn options(&self, context: &Context) -> Result<RendererOptions, Failure> {
        Ok(RendererOptions {
            template: self.template.clone(),
            output: self.output_file()?,
            after: self.after()?,
            debounce: self.debounce,
            wait: self.wait,
            url_schemes: context.settings().discovery.url_schemes.clone(),
        })
    }

    fn output_file(&self) -> Result<Option<OutputFile>, Failure> {
        let check = self.check.as_deref().map(|text| words(text, "--check")).transpose()?;
        if check.as_ref().is_some_and(|words| !words.mentions(FILE)) {
            let message =
                format_args!("--check: the command does not mention {FILE}, the new file");
            return Err(Failure::new(Exit::Usage, message));
        }
        let output = self.output.as_ref();
        Ok(output.map(|path| OutputFile::new(path).mode(self.mode).check(check)))
    }

    fn after(&self) -> Result<Option<AfterChange>, Failure> {
        if let Some(text) = &self.exec {
            return Ok(Some(AfterChange::Command(words(text, "--exec")?)));
        }
        let (Some(signal), Some(pid_file)) = (&self.signal, &self.pid_file) else {
            return Ok(None);
        };
        let signal = parse_signal(signal);
        let signal =
            signal.map_err(|error| Failure::new(Exit::Usage, format_args!("--signal: {error}")))?;
        Ok(Some(AfterChange::Signal { signal, pid_file: pid_file.clone() }))
    }
}

fn words(text: &str, option: &str) -> Result<CommandWords, Failure> {
    let invalid =
        |error: InvalidWords| Failure::new(Exit::Usage, format_args!("{option}: {error}"));
    CommandWords::from_str(text).map_err(invalid)
}

/// The failure of a rendering that waited this long for its services.
fn failure(error: RenderError, wait: Option<Duration>) -> Failure {
    match (error, wait) {
        (RenderError::Discover { name, error, .. }, Some(wait)) => {
            exit_codes::wait_failure(*error, &name, wait)
        }
        (error, _) => error.into(),
    }
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::Discover { place, error, .. } => {
                let failure = Self::from(*error);
                Self { message: format!("{place}{}", failure.message), ..failure }
            }
            RenderError::Watch(error) => Self::from(*error),
            RenderError::Template(_) => Self::from_error(Exit::Usage, &error),
            error => Self::from_error(Exit::Failed, &error),
        }
    }
}
