//! Commands of real HTTP servers: nginx, node, uvicorn, Python's own, and the axum example. Each
//! answers with its name.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::env::{TestEnv, target_directory};
use crate::programs;

/// Returns the path of a program, preferring Debian's own.
///
/// # Errors
/// The program is missing; the error names the command that installs it.
pub fn program(name: &str, package: &str) -> Result<PathBuf> {
    programs::find_system(name, package)
}

/// Returns the path of Envoy.
///
/// # Errors
/// It is not installed.
pub fn envoy() -> Result<PathBuf> {
    programs::find_tool("envoy", "envoy/envoy/_bin", "cargo xtask programs")
}

/// Returns an nginx command with this `listen` directive; nginx writes only into the test's directory.
///
/// # Errors
/// nginx is not installed.
pub fn nginx(env: &TestEnv, listen: &str) -> Result<Vec<String>> {
    nginx_with(env, "nginx", listen, "location / { return 200 \"hello from nginx\"; }")
}

/// Returns the command of an nginx with this directory, `listen` directive and location.
///
/// # Errors
/// nginx is not installed.
pub fn nginx_with(
    env: &TestEnv,
    directory: &str,
    listen: &str,
    location: &str,
) -> Result<Vec<String>> {
    let nginx = programs::find_system("nginx", "nginx")?;
    let folder = env.folder(directory)?.display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {folder}/{name};\n"))
        .concat();
    let configuration = format!(
        "daemon off;\nmaster_process on;\nworker_processes 1;\npid {folder}/pid;\n\
         error_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n{temporary}\
         \x20 server {{\n    listen {listen};\n    {location}\n  }}\n}}\n"
    );
    let file = env.write(&format!("{directory}/nginx.conf"), &configuration)?;
    let words = [nginx.display().to_string(), "-c".into(), file.display().to_string()];
    Ok(words.into_iter().chain(["-e".into(), "stderr".into()]).collect())
}

/// Returns a node command with these arguments of `listen(…)`.
///
/// # Errors
/// node is not installed.
pub fn node(listen: &str) -> Result<Vec<String>> {
    let node = programs::find_system("node", "nodejs")?;
    let server =
        "require('http').createServer((request, response) => response.end('hello from node'))";
    Ok(vec![node.display().to_string(), "-e".into(), format!("{server}.listen({listen})")])
}

/// Returns a uvicorn command with the arguments that set its listening socket.
///
/// # Errors
/// uvicorn is not installed.
pub fn uvicorn(env: &TestEnv, arguments: &[&str]) -> Result<Vec<String>> {
    let uvicorn = programs::find_system("uvicorn", "uvicorn")?;
    let application = "async def app(scope, receive, send):
    assert scope['type'] == 'http'
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'hello from uvicorn'})
";
    env.write("application.py", application)?;
    let folder = env.directory().display().to_string();
    let own = [uvicorn.display().to_string(), "--app-dir".into(), folder];
    let own = own.into_iter().chain(["--lifespan", "off", "application:app"].map(str::to_owned));
    Ok(own.chain(arguments.iter().map(|argument| (*argument).to_owned())).collect())
}

/// Returns a gunicorn command that listens as these arguments say and answers `hello from gunicorn`.
///
/// # Errors
/// gunicorn is not installed.
pub fn gunicorn(env: &TestEnv, arguments: &[&str]) -> Result<Vec<String>> {
    let gunicorn = programs::find_system("gunicorn", "gunicorn")?;
    let application = "def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'hello from gunicorn']
";
    env.write("wsgi.py", application)?;
    let folder = env.directory().display().to_string();
    let own = [gunicorn.display().to_string(), "--chdir".into(), folder, "wsgi:app".into()];
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    Ok(own.into_iter().chain(arguments).collect())
}

/// Returns a Python command with these arguments.
///
/// # Errors
/// Python is not installed.
pub fn python(arguments: &[&str]) -> Result<Vec<String>> {
    let python = programs::find_system("python3", "python3")?.display().to_string();
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    Ok(std::iter::once(python).chain(arguments).collect())
}

/// Returns the command of the library's axum example.
///
/// # Errors
/// The program is not built.
pub fn axum() -> Result<Vec<String>> {
    let path = target_directory()?.join("examples/axum_server");
    let build = "build it with `cargo build -p portolan --examples`";
    ensure!(path.is_file(), "the example axum_server is not built; {build}");
    Ok(vec![path.display().to_string()])
}

/// Returns the command of a server on `{port}` of loopback that answers every request with this status.
///
/// # Errors
/// Python is not installed, or its program cannot be written.
pub fn status(env: &TestEnv, status: &str) -> Result<Vec<String>> {
    let program = "import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[2]))
        self.end_headers()
http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Page).serve_forever()
";
    let file = env.write("page.py", program)?.display().to_string();
    python(&[&file, "{port}", status])
}
