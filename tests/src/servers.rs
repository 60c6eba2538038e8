//! Commands of real servers that say who they are over HTTP: nginx, node, uvicorn, Python's own, and
//! the example that is written with axum.

use anyhow::{Result, ensure};

use crate::env::{TestEnv, target_directory};
use crate::programs;

/// nginx, with everything that it writes in a folder of the test, and what stands behind `listen`.
///
/// # Errors
/// nginx is not installed.
pub fn nginx(env: &TestEnv, listen: &str) -> Result<Vec<String>> {
    let nginx = programs::find_system("nginx", "nginx")?;
    let folder = env.folder("nginx")?.display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {folder}/{name};\n"))
        .concat();
    let configuration = format!(
        "daemon off;\nmaster_process on;\nworker_processes 1;\npid {folder}/pid;\n\
         error_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n{temporary}\
         \x20 server {{\n    listen {listen};\n\
         \x20   location / {{ return 200 \"hello from nginx\"; }}\n  }}\n}}\n"
    );
    let file = env.write("nginx/nginx.conf", &configuration)?;
    let words = [nginx.display().to_string(), "-c".into(), file.display().to_string()];
    Ok(words.into_iter().chain(["-e".into(), "stderr".into()]).collect())
}

/// node, with what stands between the parentheses of `listen`.
///
/// # Errors
/// node is not installed.
pub fn node(listen: &str) -> Result<Vec<String>> {
    let node = programs::find_system("node", "nodejs")?;
    let server =
        "require('http').createServer((request, response) => response.end('hello from node'))";
    Ok(vec![node.display().to_string(), "-e".into(), format!("{server}.listen({listen})")])
}

/// uvicorn, with the arguments that say where it listens.
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

/// Python, with these arguments.
///
/// # Errors
/// Python is not installed.
pub fn python(arguments: &[&str]) -> Result<Vec<String>> {
    let python = programs::find_system("python3", "python3")?.display().to_string();
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    Ok(std::iter::once(python).chain(arguments).collect())
}

/// The library's example that is written with axum.
///
/// # Errors
/// It is not built.
pub fn axum() -> Result<Vec<String>> {
    let path = target_directory()?.join("examples/axum_server");
    let build = "build it with `cargo build -p portolan --examples`";
    ensure!(path.is_file(), "the example axum_server is not built; {build}");
    Ok(vec![path.display().to_string()])
}
