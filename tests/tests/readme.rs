//! What README.md shows: its commands and options exist, and its configuration is valid.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use portolan_tests::{TestEnv, isolated};

fn readme() -> Result<String> {
    Ok(fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?)
}

/// Returns the blocks of code in this language.
fn blocks<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let starts = readme.split("```").skip(1).step_by(2);
    starts.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// Returns the commands of the shell blocks, each in one line and without its comment.
fn commands(readme: &str) -> Vec<String> {
    let shell = blocks(readme, "sh").join("\n").replace("\\\n", " ");
    let line = |line: &str| line.split(" # ").next().unwrap_or_default().trim().to_owned();
    shell.lines().map(line).filter(|line| line.starts_with("portolan ")).collect()
}

fn options(text: &str) -> impl Iterator<Item = &str> {
    let own = text.split(" -- ").next().unwrap_or_default();
    let words =
        own.split_whitespace().map(|word| word.trim_matches(['`', ',', '[', ']', '(', ')']));
    words.filter_map(|word| word.split('=').next()).filter(|word| word.starts_with("--"))
}

fn help(env: &TestEnv, command: &str) -> Result<String> {
    let words: Vec<&str> = command
        .split_whitespace()
        .take_while(|it| it.chars().all(|c| c.is_ascii_lowercase()))
        .collect();
    Ok(env.portolan(&words)?.args(&["--help"]).run()?.exits(0)?.stdout)
}

#[test]
fn commands_and_options_of_the_readme_exist() {
    isolated(|env| {
        let readme = readme()?;
        let found = commands(&readme);
        ensure!(found.len() > 5, "{found:?}");
        for command in found {
            let subcommand = command.split_whitespace().nth(1).context("no command")?;
            let help = help(env, subcommand)?;
            for option in options(&command) {
                ensure!(help.contains(option), "{command}: {option} is not in its help");
            }
        }
        // Every command of the table, and every command that exists.
        let rows = readme
            .lines()
            .filter(|line| line.starts_with("| `"))
            .take_while(|line| !line.is_empty());
        let table: String = rows.collect::<Vec<_>>().join("\n");
        let listed = env.portolan(&["--help"])?.run()?.exits(0)?.stdout;
        let commands = listed.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
        let names = commands.take_while(|line| !line.is_empty()).filter_map(|line| {
            line.strip_prefix("  ")?.split_whitespace().next().filter(|_| !line.starts_with("   "))
        });
        let names: Vec<&str> = names.filter(|name| *name != "help").collect();
        ensure!(names.len() > 10, "{listed}");
        for name in names {
            ensure!(table.contains(&format!("`{name}")), "{name} is not in the table");
        }
        Ok(())
    });
}

#[test]
fn configuration_of_the_readme_is_valid() {
    isolated(|env| {
        let readme = readme()?;
        let yaml = blocks(&readme, "yaml");
        let configuration =
            yaml.iter().find(|block| block.contains("port_allocator")).context("none")?;
        env.write("portolan.yaml", configuration)?;
        env.portolan(&["config", "check"])?.run()?.exits(0)?;
        let shown = env.portolan(&["config", "show", "--json"])?.run()?.exits(0)?.stdout;
        for value in ["20s", "8599", "\"port\":5432"] {
            ensure!(shown.contains(value), "{value} is not shown");
        }
        Ok(())
    });
}
