use std::os::unix::fs::PermissionsExt;

use super::*;

fn key(service: &str) -> Key {
    let scope = Scope::default();
    Key { scope, service: service.parse().unwrap(), port_name: None, folder: "/srv/shop".into() }
}

#[test]
fn port_is_read_by_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = Sticky::in_directory(folder.path());
    assert_eq!(first.port(&key("api"), Some(8080)), None);
    first.remember(key("api"), Some(8080), 8081);
    first.remember(key("api"), Some(8080), 8082);
    first.remember(key("db"), None, 5433);
    assert_eq!(first.port(&key("api"), Some(8080)), Some(8082));

    let next = Sticky::in_directory(folder.path());
    assert_eq!(next.port(&key("api"), Some(8080)), Some(8082));
    assert_eq!(next.port(&key("db"), None), Some(5433));
    let mode = fs::metadata(&next.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn changed_preference_overrides_sticky_port() {
    let folder = tempfile::tempdir().unwrap();
    let sticky = Sticky::in_directory(folder.path());
    sticky.remember(key("api"), Some(8080), 8081);
    assert_eq!(sticky.port(&key("api"), Some(9000)), None);
    assert_eq!(sticky.port(&key("api"), None), None);
}

#[test]
fn sticky_ports_are_separate_by_scope_and_folder() {
    let folder = tempfile::tempdir().unwrap();
    let sticky = Sticky::in_directory(folder.path());
    sticky.remember(key("api"), None, 8081);
    let elsewhere = Key { folder: "/srv/other".into(), ..key("api") };
    let scoped = Key { scope: "shop".parse().unwrap(), ..key("api") };
    assert_eq!((sticky.port(&elsewhere, None), sticky.port(&scoped, None)), (None, None));
}

#[test]
fn unchanged_port_appends_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let sticky = Sticky::in_directory(folder.path());
    for _ in 0..10 {
        sticky.remember(key("api"), None, 8081);
    }
    assert_eq!(fs::read_to_string(&sticky.path).unwrap().lines().count(), 1);
}

#[test]
fn invalid_lines_are_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let sticky = Sticky::in_directory(folder.path());
    sticky.remember(key("api"), None, 8081);
    let mut file = OpenOptions::new().append(true).open(&sticky.path).unwrap();
    file.write_all(b"nonsense\n\xff\xfe\n{\"scope\":\"default\",\"service\":\"torn").unwrap();

    let next = Sticky::in_directory(folder.path());
    assert_eq!(next.port(&key("api"), None), Some(8081));
    next.remember(key("db"), None, 5433);
    assert_eq!(Sticky::in_directory(folder.path()).port(&key("db"), None), Some(5433));
}

#[test]
fn large_file_is_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let sticky = Sticky::in_directory(folder.path());
    let line = |index: usize, port: u16| {
        let last = Last { port, preferred: None };
        let key = key(&format!("service-{index}"));
        serde_json::to_string(&Line { key, last }).unwrap() + "\n"
    };
    let text: String = (0..5000).map(|index| line(index % 1500, 8081)).collect();
    fs::write(&sticky.path, &text).unwrap();
    assert!(text.len() > COMPACT_SIZE);
    assert_eq!(sticky.port(&key("service-499"), None), Some(8081));
    assert_eq!(fs::read_to_string(&sticky.path).unwrap().lines().count(), KEPT);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn long_lived_process_bounds_file_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let sticky = Sticky::in_directory(folder.path());
    for job in 0..4 * COMPACT_SIZE / 80 {
        sticky.remember(key(&format!("job-{job}")), None, 8081);
    }
    assert!(fs::metadata(&sticky.path).unwrap().len() < 2 * COMPACT_SIZE as u64);
    let known = sticky.known.lock().as_ref().map(|known| known.ports.len()).unwrap();
    assert!(known < KEPT + COMPACT_SIZE / 60, "{known} services are kept in memory");
    assert_eq!(sticky.port(&key(&format!("job-{}", 4 * COMPACT_SIZE / 80 - 1)), None), Some(8081));
}

#[test]
fn only_end_of_oversized_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let sticky = Sticky::in_directory(folder.path());
    fs::write(&sticky.path, vec![b'\n'; MAX_SIZE as usize + 10]).unwrap();
    sticky
        .append(&Line { key: key("api"), last: Last { port: 8081, preferred: None } }, false)
        .unwrap();
    assert_eq!(sticky.port(&key("api"), None), Some(8081));
}

#[test]
fn unusable_file_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("elsewhere");
    std::os::unix::fs::symlink(&target, folder.path().join(FILE)).unwrap();
    let sticky = Sticky::in_directory(folder.path());
    sticky.remember(key("api"), None, 8081);
    assert_eq!(sticky.port(&key("api"), None), Some(8081), "known to this process all the same");
    assert!(!target.exists(), "a link was followed");
}
