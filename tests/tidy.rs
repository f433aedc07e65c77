//! The laws of the source tree, as tests: layering, no hidden clocks or files in the pure layers, `unsafe` only
//! in `runtime/`, an opening comment in every file.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders under `src/`, lowest layer first. A folder may use only folders of lower layers.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["codec"],
    &["tree", "watch", "session", "journal"],
    &["mail", "prep", "zab", "snapshot"],
    &["shard", "replica", "admin"],
    &["runtime", "sim", "bench", "convert", "config", "cli"],
];

/// Siblings that may lean on each other all the same, each with its reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    // A four-letter word is answered by the machine it reached, rendered by admin from a report.
    ("shard", "admin"),
    ("replica", "admin"),
    // The command line wires the tools together; drivers read the configuration.
    ("cli", "bench"),
    ("cli", "config"),
    ("cli", "convert"),
    ("cli", "runtime"),
    ("runtime", "config"),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a source folder can be listed") {
        let path = entry.expect("a directory entry can be read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn benches() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches")
}

fn layer_of(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&folder))
}

/// The folder of `src/` a file lives in; `None` for `lib.rs` and `main.rs`.
fn folder_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(src()).expect("a path below src");
    (inside.components().count() > 1)
        .then(|| inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned())
}

/// Every `crate::folder` a file names, outside comments.
fn used_folders(text: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        for part in code.split("crate::").skip(1) {
            let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                used.push((number + 1, name));
            } else if let Some(list) = part.strip_prefix('{') {
                for item in list.split(',') {
                    let name: String = item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    used.push((number + 1, name));
                }
            }
        }
    }
    used
}

#[test]
fn every_folder_uses_only_layers_below_it() {
    let mut broken = Vec::new();
    for path in sources(&src()) {
        let Some(folder) = folder_of(&path) else { continue };
        let layer = layer_of(&folder).unwrap_or_else(|| panic!("src/{folder} has no layer in tests/tidy.rs"));
        for (line, used) in used_folders(&fs::read_to_string(&path).unwrap()) {
            let Some(used_layer) = layer_of(&used) else { continue };
            let allowed =
                used == folder || used_layer < layer || EXCEPTIONS.contains(&(folder.as_str(), used.as_str()));
            if !allowed {
                broken.push(format!("{}:{line}: {folder} must not use {used}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "layering is broken:\n{}", broken.join("\n"));
}

#[test]
fn the_pure_layers_have_no_hands() {
    const FORBIDDEN: &[&str] = &[
        "std::net::Tcp",
        "std::fs",
        "std::thread",
        "Instant::now",
        "SystemTime",
        "async fn",
        "glommio",
        "rand::",
        "std::collections::HashMap",
        "std::collections::HashSet",
    ];
    let mut broken = Vec::new();
    for path in sources(&src()) {
        let Some(folder) = folder_of(&path) else { continue };
        if layer_of(&folder).is_none_or(|layer| layer >= 5) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for word in FORBIDDEN.iter().filter(|word| code.contains(**word)) {
                broken.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert!(broken.is_empty(), "pure layers reach outside:\n{}", broken.join("\n"));
}

#[test]
fn unsafe_stays_in_the_runtime() {
    let mut broken = Vec::new();
    for path in sources(&src()) {
        if folder_of(&path).as_deref() == Some("runtime") {
            continue;
        }
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe") {
                broken.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(broken.is_empty(), "unsafe outside src/runtime:\n{}", broken.join("\n"));
}

#[test]
fn every_file_says_what_it_is_and_leaves_no_chores() {
    let mut broken = Vec::new();
    for path in sources(&src()).into_iter().chain(sources(&benches())) {
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//!") {
            broken.push(format!("{}: no opening comment", path.display()));
        }
        for word in ["FIX".to_owned() + "ME", "todo".to_owned() + "!(", "unimple".to_owned() + "mented!("] {
            if text.contains(&word) {
                broken.push(format!("{}: {word}", path.display()));
            }
        }
        let lines = text.lines().count();
        if lines > 600 {
            broken.push(format!("{}: {lines} lines; look for the second idea hiding inside", path.display()));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}
