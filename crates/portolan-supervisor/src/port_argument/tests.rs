use super::*;

fn added(command: &str) -> Option<String> {
    added_in(command, Path::new("/nonexistent"))
}

fn added_in(command: &str, directory: &Path) -> Option<String> {
    let command: CommandLine = command.parse().unwrap();
    let argument = port_argument(&command, &BTreeMap::new(), directory)?;
    Some(argument.added_to(&command).to_string().replace('\'', ""))
}

#[test]
fn argument_is_added_to_servers_that_ignore_port() {
    for (command, expected) in [
        ("vite", "vite --port {port} --strictPort"),
        ("npx vite dev", "npx vite dev --port {port} --strictPort"),
        (
            "./node_modules/.bin/vite --host",
            "./node_modules/.bin/vite --host --port {port} --strictPort",
        ),
        ("pnpm exec astro dev", "pnpm exec astro dev --port {port}"),
        ("ng serve", "ng serve --port {port}"),
        ("flask --app shop run --debug", "flask --app shop run --debug --port {port}"),
        ("python3 -m flask run", "python3 -m flask run --port {port}"),
        ("uv run flask run", "uv run flask run --port {port}"),
        ("python manage.py runserver --noreload", "python manage.py runserver --noreload {port}"),
        ("python3 -u shop/manage.py runserver", "python3 -u shop/manage.py runserver {port}"),
        ("python3 -m http.server", "python3 -m http.server {port}"),
        // This is the address alone.
        (
            "python3 -m http.server --bind 127.0.0.1",
            "python3 -m http.server --bind 127.0.0.1 {port}",
        ),
        (
            "python3 -m http.server -d site --bind ::1",
            "python3 -m http.server -d site --bind ::1 {port}",
        ),
        ("hugo server --bind 127.0.0.1", "hugo server --bind 127.0.0.1 --port {port}"),
        ("uvicorn shop:app", "uvicorn shop:app --port {port}"),
        ("php artisan serve", "php artisan serve --port {port}"),
        ("webpack serve", "webpack serve --port {port}"),
    ] {
        assert_eq!(added(command).as_deref(), Some(expected), "{command}");
    }
}

#[test]
fn nothing_is_added_to_others() {
    for command in [
        "vite build",
        "vite --port 3000",
        "vite --port=3000",
        "vite --port {port}",
        "flask routes",
        "flask run -p 80",
        "python manage.py migrate",
        "python manage.py runserver 0.0.0.0:8000",
        "python3 -m http.server 8000",
        "uvicorn shop:app --uds x",
        "next dev",
        "sh -c vite",
        "my-vite",
        "npm run dev",
        "python3",
    ] {
        assert_eq!(added(command), None, "{command}");
    }
    let environment = BTreeMap::from([("FLASK_RUN_PORT".to_owned(), "{port}".to_owned())]);
    let command = "flask run".parse().unwrap();
    assert_eq!(port_argument(&command, &environment, Path::new("/")), None);
}

#[test]
fn scripts_of_a_package_are_looked_up() {
    let folder = tempfile::tempdir().unwrap();
    let package =
        r#"{"scripts": {"dev": "vite", "all": "tsc && vite", "start": "node .", "odd": "'"}}"#;
    std::fs::write(folder.path().join("package.json"), package).unwrap();
    let added = |command| added_in(command, folder.path());
    assert_eq!(added("npm run dev").unwrap(), "npm run dev -- --port {port} --strictPort");
    assert_eq!(added("pnpm run dev").unwrap(), "pnpm run dev --port {port} --strictPort");
    assert_eq!(added("yarn dev").unwrap(), "yarn dev --port {port} --strictPort");
    for command in
        ["npm run all", "npm start", "npm run odd", "npm run absent", "npm run dev -- --host"]
    {
        assert_eq!(added(command), None, "{command}");
    }
    std::fs::write(folder.path().join("package.json"), "not JSON").unwrap();
    assert_eq!(added("npm run dev"), None);
}

#[test]
fn text_says_what_is_added_and_why() {
    let command = "vite".parse().unwrap();
    let argument = port_argument(&command, &BTreeMap::new(), Path::new("/")).unwrap();
    assert_eq!(
        argument.to_string(),
        "adds `--port {port} --strictPort`, since vite does not read PORT"
    );
}
