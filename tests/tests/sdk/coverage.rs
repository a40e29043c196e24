//! Which calls the packages can make, read from their sources, and which scripts made them, seen where they leave the SDKs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use regex::Regex;
use tests::Result;

use crate::script::packages;

/// Procedures that say that they are not there yet.
const PROCEDURES_TO_COME: &[&str] = &["download"];
/// Routes below which nothing is supported.
const ROUTES_TO_COME: &[&str] = &[
    "/api/v2/apps",
    "/api/v2/layers",
    "/api/v2/revisions",
    "/api/v2/sandboxes/{}/deploy",
    "/api/v2/volumes",
];

/// What has been seen in this process: by call, the scripts.
static SEEN: Mutex<BTreeMap<String, BTreeSet<&'static str>>> = Mutex::new(BTreeMap::new());

/// Takes what a script says of its calls: `called PROCEDURE`, or `called METHOD PATH`.
pub fn note(script: &'static str, said: &str) {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    for call in said.lines().filter_map(|line| line.strip_prefix("called ")) {
        seen.entry(call.to_owned()).or_default().insert(script);
    }
}

/// What the sources of one package can call.
#[derive(Default)]
struct Package {
    procedures: BTreeSet<String>,
    /// With `{}` for what varies.
    routes: BTreeSet<String>,
}

impl Package {
    fn read(directory: &Path, extension: &str) -> Result<Self> {
        // In JavaScript `${…}`, in Python `{…}`: what is in them may have quotes.
        let varies = Regex::new(r"\$?\{[^{}]*\}")?;
        let procedure = Regex::new(r#"(?:lient|"f"\)|_rpc)\.call\(\s*"(\w+)""#)?;
        let route = Regex::new(r#"["`](/api/v\d+/[^"`?\s]*)["`]"#)?;
        let mut package = Self::default();
        for entry in
            std::fs::read_dir(directory).with_context(|| directory.display().to_string())?
        {
            let path = entry?.path();
            if path.extension().is_none_or(|found| found != extension) {
                continue;
            }
            let source = std::fs::read_to_string(&path)?;
            let found = |pattern: &Regex, text: &str| -> Vec<String> {
                let all = pattern.captures_iter(text).filter_map(|one| one.get(1));
                all.map(|one| one.as_str().to_owned()).collect()
            };
            package.procedures.extend(found(&procedure, &source));
            let plain = varies.replace_all(&source, "{}");
            package.routes.extend(found(&route, &plain));
        }
        ensure!(
            package.procedures.len() > 40 && package.routes.len() > 10,
            "the sources in {} are written in another way now",
            directory.display()
        );
        Ok(package)
    }
}

/// Whether a path is of a route.
fn is_of(path: &str, route: &str) -> bool {
    let (mut path, mut route) = (path.split('/'), route.split('/'));
    loop {
        match (path.next(), route.next()) {
            (None, None) => return true,
            (Some(_), Some("{}")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Makes the table and shows it; a supported call that no script made is an error.
pub fn check() -> Result {
    let python = Package::read(&packages("python")?.join("deno_sandbox"), "py")?;
    let javascript = packages("javascript")?.join("node_modules/@deno/sandbox/esm");
    let javascript = Package::read(&javascript, "js")?;
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut table = Table::default();
    table
        .text
        .push_str("| procedure | | Python | JavaScript |\n|---|---|---|---|\n");
    for procedure in python.procedures.union(&javascript.procedures) {
        let to_come = PROCEDURES_TO_COME.contains(&procedure.as_str());
        let by = |package: &Package, extension| {
            let scripts = seen.get(procedure).into_iter().flatten().copied();
            Cell::of(package.procedures.contains(procedure), scripts, extension)
        };
        table.row(
            procedure,
            to_come,
            [by(&python, "py"), by(&javascript, "mjs")],
        );
    }
    table
        .text
        .push_str("\n| route | | Python | JavaScript |\n|---|---|---|---|\n");
    for route in python.routes.union(&javascript.routes) {
        let to_come = ROUTES_TO_COME
            .iter()
            .any(|prefix| route.starts_with(prefix));
        let by = |package: &Package, extension| {
            let calls = seen.iter().filter(|(call, _)| {
                call.split_once(' ')
                    .is_some_and(|(_, path)| is_of(path, route))
            });
            let scripts = calls.flat_map(|(_, scripts)| scripts.iter().copied());
            Cell::of(package.routes.contains(route), scripts, extension)
        };
        table.row(route, to_come, [by(&python, "py"), by(&javascript, "mjs")]);
    }
    ensure!(
        table.missing.is_empty(),
        "no script calls {:?}",
        table.missing
    );
    println!("{}", table.text);
    Ok(())
}

/// What is known of a call in one language.
enum Cell {
    /// The package does not make it.
    Absent,
    Uncalled,
    Called(String),
}

impl Cell {
    fn of(present: bool, scripts: impl Iterator<Item = &'static str>, extension: &str) -> Self {
        let names = scripts.filter_map(|script| script.strip_suffix(extension));
        let names: BTreeSet<_> = names.map(|name| name.trim_end_matches('.')).collect();
        match (present, names.is_empty()) {
            (false, _) => Self::Absent,
            (true, true) => Self::Uncalled,
            (true, false) => Self::Called(names.into_iter().collect::<Vec<_>>().join(", ")),
        }
    }
}

#[derive(Default)]
struct Table {
    text: String,
    missing: Vec<String>,
}

impl Table {
    fn row(&mut self, call: &str, to_come: bool, cells: [Cell; 2]) {
        let told = if to_come { "not yet" } else { "" };
        let _ = write!(self.text, "| `{call}` | {told} |");
        for cell in cells {
            let text = match cell {
                Cell::Absent => "(not in the package)",
                Cell::Called(ref scripts) => scripts,
                Cell::Uncalled => {
                    if !to_come {
                        self.missing.push(call.to_owned());
                    }
                    "-"
                }
            };
            let _ = write!(self.text, " {text} |");
        }
        self.text.push('\n');
    }
}
