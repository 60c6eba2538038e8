//! What `exec` and `discover` give to programs and shells.

use anyhow::{Result, ensure};
use portolan_tests::{TestEnv, isolated};

fn register(env: &TestEnv, name: &str, port: &str, protocol: &str) -> Result<()> {
    let register = ["register", name, "--host", "10.9.9.9", "--port", port, "--protocol", protocol];
    env.portolan(&register)?.run()?.exits(0).map(drop)
}

#[test]
fn exec_refuses_variables_that_collide_or_are_read_for_another_purpose() {
    isolated(|env| {
        let _registry = env.registry()?;
        for (name, port) in
            [("a-b", "81"), ("a.b", "82"), ("docker", "2375"), ("portolan-registry", "83")]
        {
            register(env, name, port, "http")?;
        }
        let exec = |options: &[&str]| {
            let exec = env.portolan(&["exec", "--needs"])?.args(options);
            exec.args(&["--", "env"]).run()
        };
        let refused = exec(&["a-b,a.b"])?.exits(2)?.stderr;
        ensure!(refused.contains("a-b and a.b") && refused.contains("A_B_HOST"), "{refused}");
        for (name, variable) in
            [("docker", "DOCKER_HOST"), ("portolan-registry", "PORTOLAN_REGISTRY_HOST")]
        {
            let refused = exec(&[name])?.exits(2)?.stderr;
            ensure!(
                refused.contains(variable) && refused.contains("--prefix SERVICE_"),
                "{refused}"
            );
        }
        let found = exec(&["docker", "--prefix", "SERVICE_"])?.exits(0)?.stdout;
        ensure!(found.contains("SERVICE_DOCKER_HOST=10.9.9.9\n"), "{found}");
        ensure!(!found.contains("\nDOCKER_HOST"), "{found}");
        Ok(())
    });
}

#[test]
fn url_is_given_out_with_the_scheme_of_a_server_only() {
    isolated(|env| {
        let _registry = env.registry()?;
        register(env, "api", "80", "javascript")?;
        for format in ["url", "env"] {
            let refused = env.discover("api", &["--format", format])?.exits(2)?.stderr;
            ensure!(refused.contains("discovery.url_schemes"), "{refused}");
        }
        ensure!(env.discover("api", &[])?.text()? == "10.9.9.9:80");
        let allowed = ["--format", "url", "--set", "discovery.url_schemes=javascript"];
        ensure!(env.discover("api", &allowed)?.text()? == "javascript://10.9.9.9:80");
        Ok(())
    });
}
