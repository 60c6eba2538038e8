//! Commands that several servers commit at the same time.

use super::*;
use crate::store::remote::suite;

#[tokio::test]
async fn concurrent_commands_have_one_history() {
    let cluster = Cluster::start(1).await;
    suite::run(|| config(&cluster)).await;
}
