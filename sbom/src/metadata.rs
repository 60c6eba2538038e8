//! What `cargo metadata` says of the packages and their dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The packages of the programs of a release; the first one is what the document is about.
const PROGRAMS: [&str; 2] = ["portolan-cli", "portolan-kubernetes"];
/// The platform of a release.
const TARGET: &str = "x86_64-unknown-linux-gnu";

#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    resolve: Resolve,
    /// Name and version of the packages that are built.
    #[serde(skip)]
    built: BTreeSet<(String, String)>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) repository: Option<String>,
    /// The registry; `None` for a package of this project.
    pub(crate) source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    /// `None` for a normal dependency, else `build` or `dev`.
    kind: Option<String>,
}

/// What a package is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// It is part of the program, or it is a macro that writes a part of it.
    Program,
    /// It runs during the build only.
    Build,
}

/// The packages of a release, with the ids of those that each depends on.
pub(crate) type Graph<'a> = BTreeMap<&'a str, (Use, BTreeSet<&'a str>)>;

// === impl Metadata ===

impl Metadata {
    pub(crate) fn read(project: &Path) -> Result<Self> {
        let arguments = ["metadata", "--format-version=1", "--filter-platform", TARGET];
        let mut metadata: Self = serde_json::from_slice(&cargo(project, &arguments)?)
            .context("cargo metadata wrote something else")?;
        // The metadata also have what optional features would need that nothing uses.
        let arguments = ["tree", "--target", TARGET, "--edges", "normal,build"];
        let more = ["--prefix", "none", "--no-dedupe", "--format", "{p}"];
        let programs: Vec<_> = PROGRAMS.iter().flat_map(|program| ["-p", program]).collect();
        let tree = cargo(project, &[&arguments[..], &more, &programs].concat())?;
        metadata.built = parse_tree(&String::from_utf8_lossy(&tree));
        Ok(metadata)
    }

    fn is_built(&self, id: &str) -> bool {
        let mut packages = self.packages.iter();
        let package = packages.find(|package| package.id == id);
        package.is_some_and(|it| self.built.contains(&(it.name.clone(), it.version.clone())))
    }

    pub(crate) fn root(&self) -> Result<&Package> {
        self.program(PROGRAMS[0])
    }

    /// Whether the package is a program of the release.
    pub(crate) fn is_program(package: &Package) -> bool {
        package.source.is_none() && PROGRAMS.contains(&package.name.as_str())
    }

    fn program(&self, name: &str) -> Result<&Package> {
        let program = self.packages.iter().find(|package| package.name == name);
        program.with_context(|| format!("there is no package {name}"))
    }

    /// Returns what the programs depend on, without the dependencies of tests.
    pub(crate) fn graph(&self) -> Result<Graph<'_>> {
        let nodes: BTreeMap<_, _> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut graph = Graph::new();
        let programs =
            PROGRAMS.iter().map(|name| Ok((self.program(name)?.id.as_str(), Use::Program)));
        let mut waiting = programs.collect::<Result<Vec<_>>>()?;
        while let Some((id, used)) = waiting.pop() {
            // A package that is part of the program outranks its use in the build.
            if graph.get(id).is_some_and(|(known, _)| *known <= used) {
                continue;
            }
            let node = nodes.get(id).with_context(|| format!("{id} is not resolved"))?;
            let uses = |dependency: &Dependency| {
                let kinds = dependency.dep_kinds.iter().map(|it| it.kind.as_deref());
                let of = |kind: Option<&str>| match kind {
                    None => Some(used),
                    Some("build") => Some(Use::Build),
                    Some(_) => None,
                };
                kinds.filter_map(of).min()
            };
            let dependencies = node
                .deps
                .iter()
                .filter(|it| self.is_built(&it.pkg))
                .filter_map(|it| Some((it.pkg.as_str(), uses(it)?)));
            let dependencies: Vec<_> = dependencies.collect();
            graph.insert(id, (used, dependencies.iter().map(|(id, _)| *id).collect()));
            waiting.extend(dependencies);
        }
        Ok(graph)
    }
}

fn cargo(project: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).args(["--locked", "--features", "portolan-cli/full"]);
    let output = command.current_dir(project).output().context("cannot start cargo")?;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {} failed: {}", arguments[0], problem.trim());
    Ok(output.stdout)
}

/// A line is `name v1.0.0`, and what else Cargo has to say.
fn parse_tree(text: &str) -> BTreeSet<(String, String)> {
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        Some((name.to_owned(), version.to_owned()))
    };
    text.lines().filter_map(package).collect()
}
