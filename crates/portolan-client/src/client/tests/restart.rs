//! A registry that has just started without its former state.

use super::*;

#[tokio::test]
async fn empty_list_of_a_registry_that_has_just_started_is_no_answer() {
    let registry = FakeRegistry::start().await;
    registry.just_started(true);
    let client = client_of(&registry);
    let error = client.discover("api").await.unwrap_err();
    assert!(matches!(error, DiscoverError::CouldNotAsk { .. }), "{error:?}");
    assert!(error.to_string().contains("has just started"), "{error}");
    assert_eq!(lookups(&registry), 1, "asking again at once does not help");
    // What it has counts.
    registry.put(endpoint("api", 8080));
    assert_eq!(client.discover("api").await.unwrap().port, 8080);
}

#[tokio::test]
async fn restart_of_the_registry_leaves_the_cache_as_it_is() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 8080));
    let client = client_of(&registry);
    client.discover("api").await.unwrap();
    until("the watch is open", || registry.watches() == 1).await;
    registry.forget();
    registry.just_started(true);
    registry.cut();
    until("the watch is open again", || {
        registry.requests().iter().filter(|line| line.contains("/watch")).count() > 1
            && registry.watches() == 1
    })
    .await;
    // An event after the snapshot shows that the snapshot was applied.
    registry.put(endpoint("api", 8081));
    let found = async {
        loop {
            let all = client.discover_all("api").await.unwrap();
            if all.len() == 2 {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found).await.expect("both instances");
    assert!(!client.discover("api").await.unwrap().stale);
    client.close().await;
}
