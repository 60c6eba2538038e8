use jiff::Timestamp;
use portolan_core::{HealthStatus, Registration, Ttl};

use super::*;

fn endpoint(name: &str, host: &str, port: u16) -> ServiceEndpoint {
    let mut registration = Registration::new(name.parse().unwrap(), host.parse().unwrap(), port);
    registration.protocol = "http".parse().unwrap();
    registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH)
}

fn known(endpoints: impl IntoIterator<Item = ServiceEndpoint>) -> Known {
    let mut known = Known::new();
    for endpoint in endpoints {
        known.entry(endpoint.name.clone()).or_default().push(endpoint);
    }
    known
}

fn rendered(text: &str, known: &Known) -> Result<String, String> {
    let template = Template::parse(Path::new("t.conf"), text).map_err(|error| error.to_string())?;
    template.render(known).text.map_err(|error| error.to_string())
}

#[test]
fn instances_are_in_the_order_of_their_addresses_and_the_best_is_the_first_found() {
    let known = known([endpoint("api", "10.0.0.9", 80), endpoint("api", "10.0.0.7", 80)]);
    let text =
        "{% for i in services('api') %}{{ i.address }} {% endfor %}{{ service('api').host }}\n";
    assert_eq!(rendered(text, &known).unwrap(), "10.0.0.7:80 10.0.0.9:80 10.0.0.9\n");
}

#[test]
fn critical_instance_is_used_only_if_there_is_no_other() {
    let critical =
        ServiceEndpoint { health: HealthStatus::Critical, ..endpoint("api", "10.0.0.7", 80) };
    let text = "{{ services('api') | map(attribute='host') | join(' ') }}";
    let both = known([critical.clone(), endpoint("api", "10.0.0.9", 80)]);
    assert_eq!(rendered(text, &both).unwrap(), "10.0.0.9");
    assert_eq!(rendered(text, &known([critical])).unwrap(), "10.0.0.7");
}

#[test]
fn services_that_are_asked_for_are_known_also_if_the_rendering_fails() {
    let template = Template::parse(
        Path::new("t"),
        "{% if services('api') %}{{ services('api-2') }}{% endif %}{{ service('db').port }}",
    );
    let template = template.unwrap();
    let first = template.render(&Known::new());
    assert_eq!(first.asked.iter().map(ServiceName::as_str).collect::<Vec<_>>(), ["api", "db"]);
    assert_eq!(first.text.unwrap_err().to_string(), "t:1: there is no instance of db");
    let all = known([endpoint("api", "10.0.0.7", 80), endpoint("db", "10.0.0.7", 5432)]);
    assert_eq!(template.render(&all).asked.len(), 3);
}

#[test]
fn text_of_a_registrant_begins_no_line_of_its_own() {
    let mut hostile = endpoint("api", "10.0.0.7", 80);
    hostile.version = "1\n}\nlocation / {".to_owned();
    hostile.metadata.insert("zone".to_owned(), "a\r\nb".to_owned());
    let text = "{{ service('api').version }} {{ service('api').metadata.zone }}";
    let rendered = rendered(text, &known([hostile])).unwrap();
    assert_eq!(rendered, "1\\u000a}\\u000alocation / { a\\u000d\\u000ab");
}

#[test]
fn further_ports_have_their_names() {
    let mut endpoint = endpoint("api", "10.0.0.7", 80);
    endpoint.metadata.insert("port.metrics".to_owned(), "9100".to_owned());
    endpoint.metadata.insert("port.broken".to_owned(), "x".to_owned());
    let known = known([endpoint]);
    assert_eq!(rendered("{{ service('api').ports.metrics }}", &known).unwrap(), "9100");
    assert!(rendered("{{ service('api').ports.broken }}", &known).is_err());
}

#[test]
fn errors_name_the_place() {
    let known = known([endpoint("api", "10.0.0.7", 80)]);
    let errors: Vec<String> = [
        "a\n{{ service('api').hots }}",
        "{{ service('no-such') }}",
        "{{ service('a b') }}",
        "{% for i in services('api') %}",
        "{{ undefined }}",
        "{{ variables('api', convention='systemd') }}",
        "{{ variables('api', conventions='links') }}",
        "{{ env('PORTOLAN_TEST_NOT_SET') }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% include '/etc/passwd' %}",
    ]
    .iter()
    .map(|text| rendered(text, &known).unwrap_err())
    .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn variables_are_lines_that_shells_and_docker_read_alike() {
    let known = known([endpoint("api", "10.0.0.7", 80)]);
    let text = "{{ variables('api', prefix='MY_') | dotenv }}{{ {'A': 'x y$z\"'} | dotenv }}";
    let expected =
        "MY_API_HOST=10.0.0.7\nMY_API_PORT=80\nMY_API_URL=http://10.0.0.7:80\nA=\"x y\\$z\\\"\"\n";
    assert_eq!(rendered(text, &known).unwrap(), expected);
    let aspire = rendered("{{ variables('api', convention='aspire') | dotenv }}", &known).unwrap();
    assert_eq!(aspire, "services__api__http__0=http://10.0.0.7:80\n");
}
