//! Checks the settings of every component.

use futures_util::FutureExt as _;
use futures_util::future::ready;

use super::Check;
use super::finding::Finding;
use crate::context::Context;

pub(super) const CHECK: Check =
    Check { name: "settings", run: |context| ready(vec![check(context)]).boxed() };

fn check(context: &Context) -> Finding {
    let source = match &context.file {
        Some(file) => file.display().to_string(),
        None => "no configuration file; the defaults are in force".to_owned(),
    };
    match context.validate() {
        Ok(()) => Finding::ok("the settings are valid", source),
        Err(failure) => Finding::from_failure("a setting is invalid", &failure),
    }
}
