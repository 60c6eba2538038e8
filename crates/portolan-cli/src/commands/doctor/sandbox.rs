//! Whether the kernel can restrict a registry to its directories.

use futures_util::FutureExt as _;
use futures_util::future::ready;

use super::Check;
use super::finding::Finding;
use crate::sandbox;

pub(super) const CHECK: Check =
    Check { name: "sandbox", run: |_| ready(vec![evaluate(sandbox::is_available())]).boxed() };

/// Never a warning: the registry works without, and the kernel is not easily changed.
fn evaluate(is_available: bool) -> Finding {
    let is_built_in = cfg!(feature = "full");
    match (is_built_in, is_available) {
        (true, true) => {
            Finding::ok("`serve` writes to its own directories only", "Landlock is available")
        }
        (true, false) => Finding::ok(
            "`serve` may write wherever its user may",
            "this kernel lacks Landlock, or a container does not permit it",
        ),
        (false, _) => Finding::ok(
            "`serve` may write wherever its user may",
            "this version was built without Landlock (the feature `full`)",
        ),
    }
}
