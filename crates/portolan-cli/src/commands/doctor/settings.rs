//! Whether every part can be started with its settings.

use futures_util::FutureExt as _;
use futures_util::future::ready;

use super::Check;
use super::finding::{Finding, Severity};
use crate::context::Context;

pub(super) const CHECK: Check =
    Check { name: "settings", run: |context| ready(vec![look(context)]).boxed() };

fn look(context: &Context) -> Finding {
    let from = match &context.file {
        Some(file) => file.display().to_string(),
        None => "there is no file, so the defaults are in force".to_owned(),
    };
    match context.settings().validate() {
        Ok(()) => Finding::ok("every setting can be used", from),
        Err(error) => Finding::of(Severity::Error, "a setting cannot be used", &error),
    }
}
