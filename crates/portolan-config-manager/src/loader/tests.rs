use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;

use portolan_core::Remedy as _;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Everything {
    enabled: bool,
    token: Option<String>,
    discovery: Discovery,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Discovery {
    registry_url: String,
    strategies: Vec<String>,
    timeouts: Timeouts,
    endpoints: BTreeMap<String, String>,
    ranges: BTreeMap<String, u16>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Timeouts {
    #[serde(with = "portolan_core::duration::text")]
    overall: Duration,
    #[serde(with = "portolan_core::duration::text")]
    registry_lookup: Duration,
}

impl Default for Everything {
    fn default() -> Self {
        Self { enabled: true, token: None, discovery: Discovery::default() }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            registry_url: "http://localhost:7000".into(),
            strategies: vec!["default".into(), "registry".into()],
            timeouts: Timeouts::default(),
            endpoints: BTreeMap::new(),
            ranges: BTreeMap::from([("database".into(), 5433)]),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { overall: Duration::from_secs(10), registry_lookup: Duration::from_secs(1) }
    }
}

fn loader() -> Loader<Everything> {
    Loader::new()
        .reserve("PORTOLAN_REGISTRY_URL", Some("discovery.registry_url"))
        .reserve("PORTOLAN_TOKEN", Some("token"))
        .reserve("PORTOLAN_CONFIG", None)
        .secret("token")
        .open("discovery.ranges")
        .foreign("services")
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// Returns the error of one file, without the path of its directory.
fn file_error(text: impl AsRef<[u8]>) -> String {
    let files = Files::new();
    let error = loader().file(files.write("p.yaml", text)).load().unwrap_err().to_string();
    error.replace(&format!("{}/", files.0.path().display()), "")
}

fn variable_error(name: &str, value: &str) -> String {
    loader().environment(variables(&[(name, value)])).load().unwrap_err().to_string()
}

#[test]
fn flags_override_environment_overrides_files_override_defaults() {
    let files = Files::new();
    let first = files
        .write("a.yaml", "discovery:\n  timeouts:\n    overall: 20s\n    registry_lookup: 2s\n");
    let second = files.write("b.yaml", "discovery: {timeouts: {registry_lookup: 3s}}\n");
    let loaded = loader()
        .file(&first)
        .file(&second)
        .environment(variables(&[
            ("PORTOLAN_DISCOVERY__STRATEGIES", "dns, registry"),
            ("PORTOLAN_ENABLED", "false"),
            ("HOME", "/root"),
        ]))
        .flag("--enable", "enabled", "true")
        .load()
        .unwrap();
    let Everything { enabled, discovery, .. } = &loaded.value;
    assert_eq!(discovery.timeouts.overall, Duration::from_secs(20));
    assert_eq!(discovery.timeouts.registry_lookup, Duration::from_secs(3));
    assert_eq!(discovery.strategies, ["dns", "registry"]);
    assert!(enabled);
    let origin = |path: &str| loaded.origins[path].to_string();
    assert_eq!(origin("discovery.timeouts.overall"), format!("{}:3:14", first.display()));
    assert_eq!(
        origin("discovery.strategies"),
        "environment variable PORTOLAN_DISCOVERY__STRATEGIES"
    );
    assert_eq!(origin("enabled"), "flag --enable");
    assert_eq!(origin("discovery.registry_url"), "default");
}

#[test]
fn empty_file_and_empty_section_change_nothing() {
    let files = Files::new();
    for text in
        ["", "# nothing\n", "discovery:\n", "discovery:\n  timeouts:\n  endpoints:\n", "---\n"]
    {
        let loaded = loader().file(files.write("p.yaml", text)).load().unwrap();
        assert_eq!(loaded.value, Everything::default(), "{text:?}");
    }
}

#[test]
fn unknown_key_is_an_error_with_the_nearest_known_key() {
    assert_eq!(
        file_error("discovery:\n  timeots:\n    overall: 1s\n"),
        "p.yaml:2:3: discovery.timeots: unknown key; did you mean `timeouts`?"
    );
    assert_eq!(
        file_error("enabled: true\ntimeouts: {}\n"),
        "p.yaml:2:1: timeouts: unknown key; did you mean `discovery.timeouts`?"
    );
    assert_eq!(
        file_error("servces: {}"),
        "p.yaml:1:1: servces: unknown key; did you mean `services`?"
    );
    assert_eq!(
        file_error("zzz: 1"),
        "p.yaml:1:1: zzz: unknown key; expected one of discovery, enabled, token, services"
    );
}

#[test]
fn all_unknown_keys_are_reported_together() {
    let error = file_error("enabld: true\ndiscovery: {registry_ulr: x}\n");
    assert_eq!(error.lines().count(), 2, "{error}");
    let many: String = (0..1000).map(|number| format!("key{number}: 1\n")).collect();
    assert!(file_error(many).lines().count() <= 20);
}

#[test]
fn invalid_value_is_reported_with_place_path_and_expected_type() {
    assert_eq!(
        file_error("discovery:\n  timeouts:\n    overall: 5\n"),
        "p.yaml:3:14: discovery.timeouts.overall: expected a duration with its unit, such as 100ms, 5s or 5m, found integer `5`"
    );
    assert_eq!(
        file_error("enabled: yes"),
        "p.yaml:1:10: enabled: expected a boolean, found string \"yes\""
    );
    assert_eq!(
        file_error("discovery: 5"),
        "p.yaml:1:12: discovery: expected a section with settings, found integer `5`"
    );
    assert_eq!(file_error("a: 1\na: 2\n"), "p.yaml:2:1: duplicate key `a`");
    assert_eq!(
        file_error("[1, 2]"),
        "p.yaml:1:1: expected a map of keys and values at the top of a configuration"
    );
}

#[test]
fn missing_oversized_and_binary_files_are_errors() {
    let missing = loader().file("/nonexistent/p.yaml").load().unwrap_err();
    assert!(matches!(missing, ConfigError::Read { .. }), "{missing}");
    let large = file_error("#".repeat(MAX_FILE_SIZE as usize + 1));
    assert!(large.contains("more than 1048576 bytes"), "{large}");
    assert!(file_error(b"a: \xff").contains("not UTF-8 at byte 3"));
}

#[test]
fn open_maps_accept_any_key() {
    let files = Files::new();
    let text = "discovery:\n  endpoints: {orders.db: 'h:1'}\n  ranges: {mine: 9}\n";
    let loaded = loader()
        .file(files.write("p.yaml", text))
        .environment(variables(&[("PORTOLAN_DISCOVERY__ENDPOINTS__API", "h:2")]))
        .flag("--set", "discovery.endpoints.\"a.b\"", "h:3")
        .load()
        .unwrap();
    let Discovery { endpoints, ranges, .. } = &loaded.value.discovery;
    assert_eq!(endpoints["orders.db"], "h:1");
    assert_eq!(endpoints["api"], "h:2");
    assert_eq!(endpoints["a.b"], "h:3");
    assert_eq!(*ranges, BTreeMap::from([("database".into(), 5433), ("mine".into(), 9)]));
    assert!(loaded.origins.contains_key("discovery.endpoints.\"orders.db\""));
}

#[test]
fn type_of_a_variable_is_the_type_of_its_setting() {
    let load = |list: &[(&str, &str)]| loader().environment(variables(list)).load().unwrap().value;
    assert_eq!(load(&[("PORTOLAN_TOKEN", "12345")]).token.as_deref(), Some("12345"));
    assert_eq!(load(&[("PORTOLAN_TOKEN", "[a: #b")]).token.as_deref(), Some("[a: #b"));
    assert_eq!(load(&[("PORTOLAN_TOKEN", "")]).token, None);
    let list = load(&[("PORTOLAN_DISCOVERY__STRATEGIES", "[dns]")]).discovery.strategies;
    assert_eq!(list, ["dns"]);
    let map = load(&[("PORTOLAN_DISCOVERY__ENDPOINTS", "{a: 'h:1', b: 'h:2'}")]);
    assert_eq!(map.discovery.endpoints.len(), 2);
}

#[test]
fn variable_with_whole_path_overrides_reserved_variable() {
    let loaded = loader().environment(variables(&[
        ("PORTOLAN_DISCOVERY__REGISTRY_URL", "http://path"),
        ("PORTOLAN_REGISTRY_URL", "http://own"),
        ("PORTOLAN_CONFIG", "somewhere.yaml"),
    ]));
    assert_eq!(loaded.load().unwrap().value.discovery.registry_url, "http://path");
}

#[test]
fn unknown_variable_is_an_error() {
    assert_eq!(
        variable_error("PORTOLAN_DISCOVERY__TIMEOTS__OVERALL", "1s"),
        "environment variable PORTOLAN_DISCOVERY__TIMEOTS__OVERALL: discovery.timeots.overall: unknown setting; did you mean `PORTOLAN_DISCOVERY__TIMEOUTS__OVERALL`?"
    );
    assert!(variable_error("PORTOLAN_ENABLED__X", "1").contains("unknown"));
    assert!(variable_error("PORTOLAN_DISCOVERY__STRATEGIES", "[a").contains("at character"));
    assert!(variable_error("PORTOLAN_ENABLED", "maybe").contains("expected a boolean"));
    let flag = loader().flag("--set", "discovery.timeot", "1s").load().unwrap_err().to_string();
    assert_eq!(flag, "flag --set: discovery.timeot: unknown key; did you mean `timeouts`?");
}

#[test]
fn variables_without_separator_that_name_no_setting_are_ignored_and_listed() {
    let kubernetes = [
        ("PORTOLAN_SERVICE_PORT", "7000"),
        ("PORTOLAN_PORT_7000_TCP_ADDR", "10.0.0.1"),
        ("PORTOLAN_PORT", "tcp://10.0.0.1:7000"),
        ("PORTOLAN_HOME", "/opt/portolan"),
        ("PORTOLAN_ENABLED", "false"),
    ];
    let loaded = loader().environment(variables(&kubernetes)).load().unwrap();
    assert!(!loaded.value.enabled);
    let expected =
        ["PORTOLAN_HOME", "PORTOLAN_PORT", "PORTOLAN_PORT_7000_TCP_ADDR", "PORTOLAN_SERVICE_PORT"];
    assert_eq!(loaded.ignored_variables, expected);
}

#[test]
fn service_links_of_a_name_with_two_hyphens_are_ignored() {
    let kubernetes = [
        ("PORTOLAN__API_SERVICE_HOST", "10.0.0.1"),
        ("PORTOLAN_DISCOVERY__API_SERVICE_PORT", "80"),
        ("PORTOLAN_DISCOVERY__API_SERVICE_PORT_HTTP", "80"),
        ("PORTOLAN_DISCOVERY__API_PORT", "tcp://10.0.0.1:80"),
        ("PORTOLAN_DISCOVERY__API_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("PORTOLAN_DISCOVERY__API_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    let loaded = loader().environment(variables(&kubernetes)).load().unwrap();
    assert_eq!(loaded.ignored_variables.len(), kubernetes.len());
    // A slip is still an error.
    assert!(variable_error("PORTOLAN_DISCOVERY__LISTEN_PORT", "80").contains("unknown"));
    assert!(variable_error("PORTOLAN_DISCOVERY__PORT_X_TCP", "80").contains("unknown"));
}

#[cfg(unix)]
#[test]
fn variable_that_is_not_utf_8_is_an_error() {
    use std::os::unix::ffi::OsStringExt;
    let value = OsString::from_vec(vec![0xff]);
    let error = loader().environment([("PORTOLAN_TOKEN".into(), value)]).load().unwrap_err();
    assert_eq!(
        error.to_string(),
        "environment variable PORTOLAN_TOKEN: token: the value is not UTF-8"
    );
}

#[test]
fn secret_is_never_shown() {
    let files = Files::new();
    let loaded = loader().file(files.write("p.yaml", "token: hunter2\n")).load().unwrap();
    let settings = loaded.settings().unwrap();
    let token = settings.iter().find(|setting| setting.path == "token").unwrap();
    assert_eq!(token.value, "(set, not shown)");
    assert!(!serde_json::to_string(&settings).unwrap().contains("hunter2"));
    let wrong = file_error("token: [hunter2]\n");
    assert!(wrong.starts_with("p.yaml:1:8: token: invalid type"), "{wrong}");
}

#[test]
fn empty_value_of_a_setting_that_is_never_empty_is_an_error_in_every_layer() {
    let files = Files::new();
    let strict = || loader().never_empty("token");
    let error = |loader: Loader<Everything>| loader.load().unwrap_err().with_remedy();
    let tail = "token: the value is empty; set a value, or remove the setting";
    let variable = error(strict().environment(variables(&[("PORTOLAN_TOKEN", "")])));
    assert_eq!(variable, format!("environment variable PORTOLAN_TOKEN: {tail}"));
    assert_eq!(error(strict().flag("--set", "token", "")), format!("flag --set: {tail}"));
    for text in ["token:\n", "token: ''\n"] {
        let found = error(strict().file(files.write("p.yaml", text)));
        assert!(found.contains("token: the value is empty"), "{found}");
    }
    // A stronger layer does not hide it.
    let overridden = strict().environment(variables(&[("PORTOLAN_TOKEN", "")]));
    assert!(error(overridden.flag("--set", "token", "s3cret")).contains("PORTOLAN_TOKEN"));
    let none = strict().file(files.write("p.yaml", "token: ~\n")).load().unwrap().value;
    assert_eq!(none.token, None);
}

#[test]
fn text_that_looks_like_another_type_keeps_its_spelling() {
    let files = Files::new();
    for spelling in ["0x10", "1_000", "007", "1e3", "true", "1.10", "12345678901234567890123"] {
        let file = files.write("p.yaml", format!("token: {spelling}\n"));
        let token = loader().file(file).load().unwrap().value.token;
        assert_eq!(token.as_deref(), Some(spelling));
    }
}

#[test]
fn settings_in_force_have_their_origin() {
    let files = Files::new();
    let path = files.write("p.yaml", "discovery:\n  timeouts:\n    overall: 60s\n");
    let settings = loader().file(&path).load().unwrap().settings().unwrap();
    let paths: Vec<&str> = settings.iter().map(|setting| setting.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "discovery.endpoints",
            "discovery.ranges.database",
            "discovery.registry_url",
            "discovery.strategies",
            "discovery.timeouts.overall",
            "discovery.timeouts.registry_lookup",
            "enabled",
            "token",
        ]
    );
    assert_eq!(settings[4].value, "1m");
    assert_eq!(settings[4].origin.to_string(), format!("{}:3:14", path.display()));
    assert_eq!(settings[7].value, serde_json::Value::Null);
}

#[test]
fn foreign_sections_are_readable_with_their_places() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Service {
        command: Vec<String>,
    }
    type Services = BTreeMap<String, Service>;
    let files = Files::new();
    let good = files.write("good.yaml", "services:\n  api:\n    command: [api, 5]\n");
    let document = loader().file(&good).load().unwrap().document;
    let services: Services = document.section("services").unwrap().unwrap();
    assert_eq!(services["api"].command, ["api", "5"]);
    assert!(document.section::<Services>("absent").unwrap().is_none());
    let problem = document.problem("services.api.command.x", "no such command", None).to_string();
    let place = format!("{}:3:14: services.api.command.x: no such command", good.display());
    assert_eq!(problem, place);

    let bad = files.write("bad.yaml", "services:\n  api:\n    comand: [api]\n");
    let document = loader().file(&bad).load().unwrap().document;
    let error = document.section::<Services>("services").unwrap_err().to_string();
    let place =
        format!("{}:3:5: services.api.comand: unknown key; did you mean `command`?", bad.display());
    assert_eq!(error, place);
}

#[test]
fn all_problems_of_a_section_are_reported() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Service {
        command: String,
        instances: Option<u8>,
    }
    let files = Files::new();
    let file = "services:
  a: {command: x, instances: 999, comand: y, port: 1}
  b: {instances: many}
  c: {command: [x]}
  d: {command: x, instances: 2}
  e: x
";
    let document = loader().file(files.write("all.yaml", file)).load().unwrap().document;
    let read = document.entries::<String, Service>("services");
    let (_, service) = &read.valid[..].first().unwrap();
    assert_eq!(*service, Service { command: "x".to_owned(), instances: Some(2) });
    assert_eq!(read.valid.len(), 1);
    let places = read.problems.iter().map(|problem| problem.to_string());
    let places: Vec<_> = places.map(|it| it.rsplit_once(".yaml:").unwrap().1.to_owned()).collect();
    insta::assert_snapshot!(places.join("\n"));
}

#[test]
fn extensions_are_ignored_at_the_top_and_in_entries() {
    let files = Files::new();
    let file =
        "x-common: &common {retries: 1}\nservices:\n  a: {x-note: y, command: b}\n  x-b: {}\n";
    let document = loader().file(files.write("x.yaml", file)).load().unwrap().document;
    let services: BTreeMap<String, BTreeMap<String, String>> =
        document.section("services").unwrap().unwrap();
    assert_eq!(services["a"].keys().collect::<Vec<_>>(), ["command"]);
    assert!(services.contains_key("x-b"));
}

#[test]
fn variables_of_a_section_are_replaced_and_keep_the_type_of_their_text() {
    let files = Files::new();
    let file = "services:\n  port: ${PORT}\n  list: [a, '${NAME}', $$x]\n  ${NAME}: 1\n";
    let mut document = loader().file(files.write("v.yaml", file)).load().unwrap().document;
    let lookup = |name: &str| match name {
        "PORT" => Some("80".to_owned()),
        "NAME" => Some("b".to_owned()),
        _ => None,
    };
    assert_eq!(document.interpolate("services", &lookup), []);
    let read: serde_json::Value = document.section("services").unwrap().unwrap();
    assert_eq!(read, serde_json::json!({"port": 80, "list": ["a", "b", "$x"], "${NAME}": 1}));
    let mut document = loader().file(files.0.path().join("v.yaml")).load().unwrap().document;
    let problems = document.interpolate("services", &|_| None);
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["services.port", "services.list[1]"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_file_panics(text in "((enabled|discovery|timeouts|overall|token): ?|- |\\[|\\]|\\{|\\}|, |\n|  |5s|true|&a |\\*a|<<: |\\PC){0,40}") {
        let files = Files::new();
        drop(loader().file(files.write("p.yaml", &text)).load());
    }

    #[test]
    fn no_variable_panics(name in "PORTOLAN_(TOKEN|DISCOVERY__|STRATEGIES|__|\\PC){0,4}", value in "\\PC*") {
        drop(loader().environment(variables(&[(&name, &value)])).load());
    }
}
