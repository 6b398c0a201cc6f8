//! The rules for the sources: who may import whom, and what every file has to have.
//!
//! Knows the sources as text: comments, strings' contents and unit tests are left out where a rule
//! is about code.
//!
//! Rule: what the architecture promises is data here, and a file that breaks it fails the test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the whole repository: this test belongs to a package in tests/internals.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A module of the library, the modules of ours that it may import, and the crates of others.
///
/// A module that is pure names no clock, thread, socket, file or environment: none of [`IMPURE`].
struct Module {
    path: &'static str,
    imports: &'static [&'static str],
    crates: &'static [&'static str],
    is_pure: bool,
}

const fn pure(
    path: &'static str,
    imports: &'static [&'static str],
    crates: &'static [&'static str],
) -> Module {
    Module {
        path,
        imports,
        crates,
        is_pure: true,
    }
}

const fn impure(
    path: &'static str,
    imports: &'static [&'static str],
    crates: &'static [&'static str],
) -> Module {
    Module {
        path,
        imports,
        crates,
        is_pure: false,
    }
}

/// The longest path that fits a file is the one that counts.
const MODULES: [Module; 22] = [
    pure("src/address.rs", &[], &[]),
    pure("src/config", &[], &[]),
    // The formula asks for the number of cores.
    impure("src/config/worst_case.rs", &[], &[]),
    pure(
        "src/codec",
        &["handler", "log", "panics", "proxy"],
        &["httparse", "memchr"],
    ),
    pure("src/proxy.rs", &[], &["proxy_header"]),
    pure("src/task.rs", &[], &[]),
    pure("src/trace.rs", &["task"], &[]),
    pure("src/panics.rs", &[], &[]),
    pure("src/log.rs", &["panics"], &["tracing"]),
    pure(
        "src/stats.rs",
        &["config", "log"],
        &["hdrhistogram", "tracing"],
    ),
    pure("src/handler.rs", &[], &[]),
    pure("src/connections.rs", &["address", "task"], &[]),
    pure(
        "src/service.rs",
        &["address", "connections", "handler", "task"],
        &[],
    ),
    pure(
        "src/engine",
        &[
            "address", "codec", "config", "log", "proxy", "stats", "task", "trace",
        ],
        &["slab", "tracing"],
    ),
    impure(
        "src/net",
        &["address", "config", "log", "task"],
        &[
            "mio",
            "nix",
            "rustix",
            "signal_hook",
            "signal_hook_mio",
            "socket2",
        ],
    ),
    impure(
        "src/pool",
        &[
            "codec",
            "config",
            "connections",
            "handler",
            "log",
            "panics",
            "service",
            "stats",
            "task",
        ],
        &["crossbeam_queue", "loom", "slab", "tracing"],
    ),
    pure(
        "src/reactor",
        &[
            "address",
            "codec",
            "config",
            "connections",
            "engine",
            "log",
            "net",
            "pool",
            "stats",
            "task",
            "trace",
        ],
        &[],
    ),
    impure(
        "src/server",
        &[
            "address",
            "codec",
            "config",
            "connections",
            "log",
            "net",
            "panics",
            "pool",
            "reactor",
            "service",
            "stats",
            "task",
        ],
        &["tracing"],
    ),
    impure("src/lib.rs", &[], &[]),
    impure(
        "src/command",
        &[
            "activation",
            "admin",
            "batch",
            "chrome_trace",
            "cli",
            "log",
            "notify",
            "operations",
            "process",
            "trace_file",
        ],
        &[
            "clap",
            "listenfd",
            "preempt_rt",
            "reactor_pool",
            "rustix",
            "sd_notify",
            "serde",
            "serde_json",
            "signal_hook",
            "tracing",
            "tracing_appender",
            "tracing_subscriber",
        ],
    ),
    impure(
        "src/command/admin",
        &["cli", "log", "process"],
        &[
            "base64ct",
            "prometheus_client",
            "reactor_pool",
            "serde_json",
            "sha2",
            "tracing",
            "tracing_appender",
        ],
    ),
    // Only arithmetic and the words of responses.
    pure("src/command/operations.rs", &[], &["reactor_pool", "sha2"]),
];

/// What the command may use of the library: its front.
const FRONT: [&str; 4] = ["codec", "config", "stats", "trace"];

const IMPURE: [&str; 9] = [
    "Instant::now",
    "SystemTime",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
];

/// Handlers may block; this is what SLEEP is for.
const EXCEPTIONS: [(&str, &str); 1] = [("src/command/operations.rs", "std::thread")];

/// All files of a folder whose names end so.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no {ending} in {folder}");
    found.sort();
    found
}

/// The path as the table has it.
fn name(path: &Path) -> String {
    let path = path.strip_prefix(ROOT);
    path.expect("it lies in there")
        .to_string_lossy()
        .into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a text")
}

/// The lines of a file that are code of the program: no comments, no unit tests.
fn code(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut skipped_until = None;
    let mut is_test = false;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(until) = skipped_until {
            if indent == until && line.trim() == "}" {
                skipped_until = None;
            }
            continue;
        }
        let line = line.trim_end();
        let word = line.trim_start();
        if word.starts_with("#[cfg(test)]") || word.starts_with("#[cfg(all(test") {
            is_test = true;
        } else if is_test {
            if line.ends_with('{') {
                skipped_until = Some(indent);
            }
            is_test = word.starts_with("#[");
        } else if !word.is_empty() && !word.starts_with("//") {
            lines.push(line);
        }
    }
    lines
}

/// The files of the library and of the command, with their code. Files that hold tests alone are
/// none of these.
fn sources() -> Vec<(String, Vec<String>)> {
    let is_source = |path: &PathBuf| !path.ends_with("tests.rs");
    let files = files("src", ".rs").into_iter().filter(is_source);
    files
        .map(|path| {
            let text = read(&path);
            let lines = code(&text).into_iter().map(str::to_owned).collect();
            (name(&path), lines)
        })
        .collect()
}

fn module_of(file: &str) -> &'static Module {
    let fits = MODULES
        .iter()
        .filter(|module| file.starts_with(module.path));
    fits.max_by_key(|module| module.path.len())
        .unwrap_or_else(|| panic!("{file} has no place in the table"))
}

/// The names that follow `before` in a line.
fn names_after<'a>(line: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(before).map(move |(at, _)| {
        let rest = &line[at + before.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// A line of code with nothing inside its strings.
fn without_strings(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// The crates that the workspace depends on, as code spells them.
fn crates() -> BTreeSet<String> {
    let root = Path::new(ROOT);
    let manifests = ["Cargo.toml", "src/command/Cargo.toml"].map(|file| read(&root.join(file)));
    let mut names = BTreeSet::new();
    let mut lists_crates = false;
    for line in manifests.iter().flat_map(|manifest| manifest.lines()) {
        if line.starts_with('[') {
            lists_crates = line.ends_with("dependencies]");
        } else if lists_crates && let Some((name, _)) = line.split_once(['.', ' ']) {
            names.insert(name.replace('-', "_"));
        }
    }
    names.insert("reactor_pool".to_owned());
    names
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let mut broken = Vec::new();
    for (file, lines) in sources() {
        let module = module_of(&file);
        // A module may import itself, and in the command all stands side by side.
        let own = file.trim_start_matches("src/").split(['/', '.']).next();
        for line in &lines {
            for import in names_after(line, "crate::") {
                if Some(import) != own && !module.imports.contains(&import) {
                    broken.push(format!("{file} imports {import}: {line}"));
                }
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn crates_of_others_are_used_where_the_table_says() {
    let crates = crates();
    let mut broken = Vec::new();
    for (file, lines) in sources() {
        let module = module_of(&file);
        for line in &lines {
            let line = without_strings(line);
            let paths = line
                .split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
                .filter_map(|path| path.split_once("::"));
            for (first, _) in paths {
                if crates.contains(first) && !module.crates.contains(&first) {
                    broken.push(format!("{file} uses {first}: {line}"));
                }
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn the_command_uses_the_front_of_the_library_alone() {
    let mut broken = Vec::new();
    for (file, lines) in sources() {
        if !file.starts_with("src/command") {
            continue;
        }
        for line in &lines {
            let is_hidden = |import: &&str| {
                let is_module = import.chars().next().is_some_and(char::is_lowercase);
                is_module && !FRONT.contains(import)
            };
            for import in names_after(line, "reactor_pool::").filter(is_hidden) {
                broken.push(format!("{file} imports {import}: {line}"));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn pure_modules_name_no_clock_thread_socket_file_or_environment() {
    let mut broken = Vec::new();
    for (file, lines) in sources() {
        if !module_of(&file).is_pure {
            continue;
        }
        for line in &lines {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                if !EXCEPTIONS.contains(&(file.as_str(), word)) {
                    broken.push(format!("{file} names {word}: {line}"));
                }
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn only_the_codec_knows_how_a_request_ends() {
    let mut broken = Vec::new();
    for (file, lines) in sources() {
        // A header of a proxy is no request.
        let knows_lines = ["src/codec", "src/command", "src/proxy.rs"];
        if knows_lines.iter().any(|place| file.starts_with(place)) {
            continue;
        }
        for line in &lines {
            if line.contains(r"\n") && !line.contains(r"\n\") || line.contains(r"\r") {
                broken.push(format!("{file}: {line}"));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn every_file_says_at_its_head_what_it_is() {
    let all = ["src", "tests", "stress_test", "docs"].map(|folder| files(folder, ".rs"));
    let without = all.into_iter().flatten().filter(|path| {
        let is_generated = path.components().any(|part| part.as_os_str() == "target");
        !is_generated && !read(path).starts_with("//!")
    });
    assert_eq!(without.map(|path| name(&path)).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn every_file_of_tests_is_a_target_of_a_package() {
    let root = Path::new(ROOT);
    let [library, command, internals] = [".", "src/command", "tests/internals"]
        .map(|package| read(&root.join(package).join("Cargo.toml")));
    let is_target = |stem: &str| {
        library.contains(&format!("[[test]]\nname = \"{stem}\"\n"))
            || command.contains(&format!("path = \"../../tests/{stem}.rs\"\n"))
            || internals.contains(&format!("path = \"../{stem}.rs\"\n"))
    };
    let mut forgotten = Vec::new();
    for path in files("tests", ".rs") {
        let stem = path.file_stem().expect("it has a name").to_string_lossy();
        if path.parent() == Some(&root.join("tests")) && !is_target(&stem) {
            forgotten.push(name(&path));
        }
    }
    assert_eq!(forgotten, [""; 0]);
}

#[test]
fn no_comment_is_wider_than_100_columns() {
    let all = ["src", "tests", "stress_test"].map(|folder| files(folder, ".rs"));
    let mut wide = Vec::new();
    for path in all.into_iter().flatten() {
        for (number, line) in read(&path).lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            if is_comment && line.chars().count() > 100 {
                wide.push(format!("{}:{}", name(&path), number + 1));
            }
        }
    }
    assert_eq!(wide, [""; 0]);
}

#[test]
fn no_function_is_longer_than_70_lines() {
    let mut long = Vec::new();
    for (file, lines) in sources() {
        for (start, line) in lines.iter().enumerate() {
            let head = line.trim_start().trim_start_matches("pub ");
            let head = head
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub(super) ");
            if !head.starts_with("fn ") || line.ends_with(';') {
                continue;
            }
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = lines[start..]
                .iter()
                .position(|end| *end == format!("{indent}}}"));
            if let Some(length) = end.filter(|length| *length > 70) {
                long.push(format!("{file}: {length} lines: {line}"));
            }
        }
    }
    assert_eq!(long, [""; 0]);
}

#[test]
fn every_flag_of_the_server_is_in_the_reference() {
    let root = Path::new(ROOT);
    let reference = read(&root.join("docs/reference.md"));
    let limits = read(&root.join("src/config/limits.rs"));
    let flags = read(&root.join("src/command/cli.rs"));
    let of_limits = limits
        .lines()
        .chain(flags.lines())
        .filter_map(|line| line.trim().strip_prefix("flag: \""));
    let of_command = code(&flags).join("\n");
    let of_command = of_command.split(".long(\"").skip(1);
    let names = of_limits
        .chain(of_command)
        .filter_map(|rest| rest.split('"').next());
    let names: BTreeSet<&str> = names.collect();
    assert!(names.len() > 15, "the flags were not found: {names:?}");
    let missing = names
        .iter()
        .filter(|name| !reference.contains(&format!("--{name}")));
    assert_eq!(missing.collect::<Vec<_>>(), [&""; 0]);
}

/// The part of a link that a page gives its heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars();
    let kept = kept.filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// What people read beside the code.
fn pages() -> Vec<PathBuf> {
    let mut pages = files("docs", ".md");
    let beside = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    pages.extend(beside.map(|page| Path::new(ROOT).join(page)));
    pages
}

#[test]
fn no_line_of_a_page_is_wider_than_120_columns() {
    let mut wide = Vec::new();
    for page in pages() {
        for (number, line) in read(&page).lines().enumerate() {
            // A row of a table, and a picture, cannot be broken.
            let is_one_line = line.starts_with('|') || line.starts_with("![");
            if !is_one_line && line.chars().count() > 120 {
                wide.push(format!("{}:{}", name(&page), number + 1));
            }
        }
    }
    assert_eq!(wide, [""; 0]);
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = read(&page);
        let links = text.split("](").skip(1);
        let links = links.filter_map(|rest| rest.split_once(')').map(|(link, _)| link));
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.with_file_name("").join(file),
            };
            let is_there = match part {
                "" => target.exists(),
                part => fs::read_to_string(target).is_ok_and(|text| {
                    let headings = text.lines().filter(|line| line.starts_with('#'));
                    headings.map(anchor).any(|anchor| anchor == part)
                }),
            };
            if !is_there {
                broken.push(format!("{}: {link}", name(&page)));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}
