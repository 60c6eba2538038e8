//! Development servers that do not read PORT get their port as an argument.

use anyhow::{Result, ensure};
use portolan_tests::{TIMEOUT, TestEnv, frameworks, http, isolated};

const FLASK: &str = "\
from flask import Flask
app = Flask(__name__)
@app.get('/')
def index():
    return 'hello from flask'
";

const DJANGO: &str = "\
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path
settings.configure(DEBUG=True, ROOT_URLCONF=__name__, ALLOWED_HOSTS=['*'], SECRET_KEY='of a test')
urlpatterns = [path('', lambda request: HttpResponse('hello from django'))]
execute_from_command_line(sys.argv)
";

fn answers(env: &TestEnv, name: &str, text: &str) -> Result<()> {
    let url = env.portolan(&["discover", name, "--format", "url"])?.run()?.text()?;
    let body = http::get(url.trim())?;
    ensure!(body.contains(text), "{url}: {body}");
    Ok(())
}

#[test]
fn flask_listens_on_the_leased_port() {
    isolated(|env| {
        env.write("shop.py", FLASK)?;
        let _registry = env.registry()?;
        let run = ["run", "--name", "web", "--", "python3", "-m", "flask", "--app", "shop", "run"];
        let run = env.portolan(&run)?.env("PYTHONPATH", &frameworks::python_path("flask")?);
        let mut run = run.spawn("flask")?;
        run.wait_for_line("adds `--port {port}`, since flask does not read PORT")?;
        run.wait_until("Flask to be found", || answers(env, "web", "hello from flask"))?;
        run.terminate().map(drop)
    });
}

#[test]
fn argument_can_be_left_out() {
    isolated(|env| {
        // `flask` is a program that prints its arguments.
        env.write("flask", "#!/bin/sh\necho \"arguments: $*.\"\n")?;
        let run = |options: &[&str]| -> Result<String> {
            let run = env.portolan(&["run", "--health", "none"])?.args(options);
            let output = run.args(&["--", "sh", "./flask", "run"]).run()?;
            output.text()
        };
        ensure!(run(&[])?.contains("arguments: run."), "a shell is not flask");
        let file = "services: {web: {command: './flask run', port: 8090, port_argument: false}, other: {command: './flask run', port: 8091}}";
        env.write("portolan.yaml", file)?;
        std::process::Command::new("chmod")
            .arg("+x")
            .arg(env.directory().join("flask"))
            .status()?;
        let mut up = env.portolan(&["up"])?.spawn("up")?;
        let output = up.wait(TIMEOUT)?;
        ensure!(output.stdout.contains("arguments: run."), "{output:?}");
        ensure!(output.stdout.contains("arguments: run --port 8091."), "{output:?}");
        Ok(())
    });
}

#[test]
fn django_and_vite_listen_on_the_ports_of_their_stack() {
    isolated(|env| {
        let django = frameworks::python_path("django")?;
        env.write("site/manage.py", DJANGO)?;
        env.write("web/index.html", "<title>hello from vite</title>")?;
        env.write("web/package.json", "{\"scripts\": {\"dev\": \"vite\"}}")?;
        let file = format!(
            "\
services:
  site:
    command: python3 manage.py runserver --noreload --skip-checks
    directory: site
    env: {{PYTHONPATH: {django}, PYTHONUNBUFFERED: 1}}
    port: 8000
    protocol: http
  web: {{command: npm run dev, directory: web, port: 5173, protocol: http, needs: [site]}}
"
        );
        env.write("portolan.yaml", &file)?;
        let _taken = [env.foreign_listener(8000)?, env.foreign_listener(5173)?];
        let up = env.portolan(&["up"])?.env("PATH", &frameworks::path_with_vite()?);
        let mut up = up.spawn("up")?;
        up.wait_for_line("site: adds `{port}`, since manage.py does not read PORT")?;
        up.wait_for_line("web: adds `-- --port {port} --strictPort`, since vite does not")?;
        up.wait_until("Django to be found", || answers(env, "site", "hello from django"))?;
        up.wait_until("Vite to be found", || answers(env, "web", "hello from vite"))?;
        up.terminate()?.exits(0).map(drop)
    });
}
