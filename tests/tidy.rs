//! What a machine can check of the house rules. Every message says what to do.

use std::fs;
use std::path::{Path, PathBuf};

/// Files past this length hold more than one idea.
const LINES_MAX: usize = 500;

/// Who may use whom. A module may use itself, and what is listed; everybody may use the engine's crate where listed.
const IMPORTS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("time", &[]),
    ("filter", &["time"]),
    ("template", &["tasker_engine"]),
    ("otel", &["config", "tasker_engine"]),
    ("gateway", &["filter", "otel", "protocol", "security", "tasker_engine"]),
    ("archive", &[]),
    ("store", &["archive", "filter", "tasker_engine"]),
    ("postgres", &[]),
    ("security", &[]),
    ("config", &["security", "tasker_engine"]),
    ("telemetry", &["config"]),
    ("client", &["protocol", "security"]),
    ("bench", &["client", "postgres", "protocol", "security", "store", "template", "tasker_engine"]),
    ("server", &["config", "filter", "gateway", "otel", "protocol", "security", "store", "template", "tasker_engine"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(under: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(under)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} files under {under}: this check looks in the wrong place");
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").display().to_string()
}

/// The part of a file before its unit tests, without comments.
fn code(path: &Path) -> String {
    let text = read(path);
    let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
    let lines = code.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether the code has this path, and not only a longer name that begins like it.
fn names(code: &str, path: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    code.match_indices(path).any(|(at, _)| !goes_on(&code[at + path.len()..]))
}

fn complain(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn imports_point_one_way() {
    let mut problems = Vec::new();
    let modules: Vec<&str> = IMPORTS.iter().map(|(module, _)| *module).chain(["cli", "ops"]).collect();
    for (module, allowed) in IMPORTS {
        let file = root().join(format!("src/{module}.rs"));
        let folder = format!("src/{module}");
        let mut paths = if root().join(&folder).is_dir() { files(&folder, "rs") } else { Vec::new() };
        paths.extend(file.exists().then_some(file));
        assert!(!paths.is_empty(), "module {module} is gone: take it out of IMPORTS");
        for path in paths {
            let code = code(&path);
            for other in modules.iter().filter(|other| *other != module && !allowed.contains(other)) {
                if names(&code, &format!("crate::{other}")) {
                    problems.push(format!("{}: {module} must not use {other}; see CONTRIBUTING.md", name(&path)));
                }
            }
            if !allowed.contains(&"tasker_engine") && code.contains("tasker_engine") {
                problems.push(format!("{}: {module} must not know the engine", name(&path)));
            }
        }
    }
    complain(&problems);
}

#[test]
fn the_engine_is_pure() {
    let mut problems = Vec::new();
    for path in files("src/engine", "rs") {
        if path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        for word in ["::now()", "std::thread", "std::net", "std::fs", "std::env", "tokio", "sqlx", "zmq", "rand::"] {
            if code(&path).contains(word) {
                problems.push(format!("{}: `{word}`; the engine gets time and seeds as arguments", name(&path)));
            }
        }
    }
    complain(&problems);
}

#[test]
fn no_bug_is_planted_in_what_is_shipped() {
    let mut problems = Vec::new();
    for manifest in ["Cargo.toml", "src/engine/Cargo.toml", "tests/simulation/Cargo.toml"] {
        for line in read(&root().join(manifest)).lines() {
            let code = line.split('#').next().unwrap_or(line).trim();
            let declares = code == "planted = []" || code == r#"planted = ["tasker-engine/planted"]"#;
            // The test of the planted bugs asks for them itself.
            let asks = code == r#"required-features = ["planted"]"#
                || code.starts_with("name = ")
                || code.starts_with("path = ");
            if code.contains("planted") && !declares && !asks {
                problems.push(format!("{manifest}: `{code}`; planted bugs are for `--features planted` only"));
            }
        }
    }
    complain(&problems);
}

#[test]
fn sql_is_in_the_store_and_the_private_postgres_only() {
    let mut problems = Vec::new();
    for path in files("src", "rs") {
        let place = name(&path);
        if place.starts_with("src/store/") || place.starts_with("src/postgres/") {
            continue;
        }
        if ["sqlx::query", "SELECT ", "INSERT INTO", "UPDATE tasker"].iter().any(|word| code(&path).contains(word)) {
            problems.push(format!("{place}: SQL belongs into src/store"));
        }
    }
    complain(&problems);
}

#[test]
fn files_are_one_idea() {
    let mut problems = Vec::new();
    let rust = files("src", "rs").into_iter().filter(|path| !name(path).contains("/tests/"));
    for path in rust.chain(files("bindings/ruby/lib", "rb")) {
        let lines = read(&path).lines().count();
        if lines > LINES_MAX {
            problems.push(format!("{}: {lines} lines; look for the noun that wants out", name(&path)));
        }
    }
    complain(&problems);
}

#[test]
fn every_module_says_what_it_is_for() {
    let problems: Vec<String> = files("src", "rs")
        .iter()
        .filter(|path| !read(path).starts_with("//!"))
        .map(|path| format!("{}: begin with one to five lines of //! on what it is for", name(path)))
        .collect();
    complain(&problems);
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["todo!", "unimplemented!", concat!("TO", "DO"), concat!("FIX", "ME"), "#[ignore", ".unwrap()"];
    let mut problems = Vec::new();
    for path in files("src", "rs") {
        for word in words {
            if code(&path).contains(word) {
                problems.push(format!("{}: `{word}`; finish it, or say with expect() why it cannot fail", name(&path)));
            }
        }
    }
    complain(&problems);
}

#[test]
fn migrations_are_numbered_in_a_row_and_say_why() {
    let paths = files("migrations", "sql");
    for (number, path) in paths.iter().enumerate() {
        let file = path.file_name().expect("a file").to_string_lossy().into_owned();
        assert!(file.starts_with(&format!("{:04}_", number + 1)), "{file} is not number {}", number + 1);
        assert!(read(path).starts_with("--"), "{file}: begin with a comment that says why");
    }
}
