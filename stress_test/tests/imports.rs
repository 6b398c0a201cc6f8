//! Who may import whom, as the table in `src/lib.rs` says.
//!
//! Reads the source as text; knows no Rust but `crate::`.
//!
//! Rule: the oracle stays independent of all that is asked, and the server's crate is not
//! imported.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Each folder and what it may import, itself apart.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("check::oracle", &["wire"]),
    ("check", &["load", "stderr", "wire"]),
    (
        "command",
        &[
            "check", "drive", "figures", "load", "output", "random", "stderr", "wire",
        ],
    ),
    ("drive", &["check", "figures", "load", "random", "wire"]),
    ("figures", &["check", "load", "random", "wire"]),
    ("lib", &["check", "command", "wire"]),
    ("load", &["random", "wire"]),
    ("output", &["check", "figures", "stderr"]),
    // Of the files on the ground floor.
    ("", &[]),
];

/// Reads the modules in `folder`, whose own is `module`, with the paths that each one imports.
fn read(folder: &Path, module: &str, modules: &mut BTreeMap<String, Vec<String>>) {
    for entry in fs::read_dir(folder).expect("the source is here") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        let inner = match (module, name.as_ref()) {
            ("", name) => name.to_owned(),
            (module, "mod") => module.to_owned(),
            (module, name) => format!("{module}::{name}"),
        };
        if path.is_dir() {
            read(&path, &inner, modules);
            continue;
        }
        let text = fs::read_to_string(&path).expect("source is text");
        assert!(!text.contains("reactor_pool"), "{inner}");
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let imports = text.split("crate::").skip(1);
        let imports = imports.map(|import| import.split(|c| !is_path(c)).next().expect("a piece"));
        modules.insert(inner, imports.map(str::to_owned).collect());
    }
}

fn modules() -> BTreeMap<String, Vec<String>> {
    let mut modules = BTreeMap::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read(&source, "", &mut modules);
    assert!(modules.len() > 40, "{modules:#?}");
    modules
}

#[test]
fn no_folder_imports_what_stands_above_it() {
    for (module, imports) in modules() {
        let (place, allowed) = ALLOWED
            .into_iter()
            .find(|(place, _)| module.starts_with(place))
            .expect("the last place is for all others");
        for import in imports {
            let folder = import.split(':').next().unwrap_or_default();
            let is_allowed = folder == place || allowed.contains(&folder);
            assert!(is_allowed, "{module} imports {import}");
        }
    }
}

/// The module that the item `path` stands in.
fn module_of<'a>(path: &'a str, modules: &BTreeMap<String, Vec<String>>) -> Option<&'a str> {
    let mut module = path;
    while !modules.contains_key(module) {
        module = module.rsplit_once("::")?.0;
    }
    Some(module)
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let modules = modules();
    let mut left: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (module, imports) in &modules {
        let others = imports.iter().filter_map(|path| module_of(path, &modules));
        left.insert(module, others.filter(|other| other != module).collect());
    }
    // Whoever imports none of those left is in no circle.
    let is_free = |left: &BTreeMap<&str, BTreeSet<&str>>, module: &str| {
        let mut imports = left[module].iter();
        imports.all(|import| !left.contains_key(import))
    };
    while let Some(free) = left.keys().copied().find(|module| is_free(&left, module)) {
        left.remove(free);
    }
    assert!(left.is_empty(), "{left:#?}");
}
