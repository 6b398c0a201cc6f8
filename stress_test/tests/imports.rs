//! Who may import whom, as the table in `src/lib.rs` says.
//!
//! Reads the source as text; knows no Rust but `crate::`.
//!
//! Rule: the oracle stays independent of all that is asked, and the server's crate is not imported.

use std::fs;
use std::path::{Path, PathBuf};

/// Each place and what it may import, itself apart.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("check/oracle.rs", &["wire"]),
    ("check", &["load", "wire"]),
    (
        "command",
        &[
            "check", "drive", "random", "figures", "load", "output", "wire",
        ],
    ),
    ("drive", &["check", "random", "figures", "load"]),
    ("figures", &["check", "load", "wire"]),
    ("load", &["random", "wire"]),
    ("output", &["check", "figures"]),
    ("", &["check", "command", "wire"]),
];

fn source_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the source is here") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            source_files(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[test]
fn no_file_imports_what_stands_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&source, &mut files);
    assert!(files.len() > 30, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).expect("source is text");
        let place = file.strip_prefix(&source).expect("it is in the source");
        let (folder, allowed) = ALLOWED
            .into_iter()
            .find(|(folder, _)| place.starts_with(folder))
            .expect("the last one is for all others");
        let own = folder.split('/').next();
        for import in text.split("crate::").skip(1) {
            let end = |byte: char| !byte.is_alphanumeric() && byte != '_';
            let name = import.split(end).next();
            let is_own = folder != "check/oracle.rs" && name == own;
            let is_allowed = name.is_some_and(|name| allowed.contains(&name));
            assert!(is_own || is_allowed, "{} imports {name:?}", place.display());
        }
        assert!(!text.contains("reactor_pool"), "{}", place.display());
    }
}
