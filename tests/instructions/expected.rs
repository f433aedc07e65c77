//! What was counted when it was last recorded: `expected.txt`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const RECORD: &str = "record it: RINGKEEPER_RECORD=1 tests/run instructions";

pub struct Recorded {
    lines: Vec<(String, f64)>,
    with: String,
}

impl Recorded {
    /// Errors: the file is missing or not one of ours.
    pub fn read() -> Result<Recorded, String> {
        let path = path();
        let text =
            fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}; {RECORD}", path.display()))?;
        let mut recorded = Recorded { lines: Vec::new(), with: String::new() };
        for line in text.lines() {
            if let Some(with) = line.strip_prefix("# Counted with ") {
                recorded.with = with.to_owned();
            } else if !line.starts_with('#') {
                let bad = || format!("{}: not a name and a count: {line:?}; {RECORD}", path.display());
                let (name, count) = line.rsplit_once(' ').ok_or_else(bad)?;
                recorded.lines.push((name.trim_end().to_owned(), count.parse().map_err(|_| bad())?));
            }
        }
        Ok(recorded)
    }

    /// Errors: there is no such line.
    pub fn of(&self, name: &str) -> Result<f64, String> {
        let line = self.lines.iter().find(|(recorded, _)| recorded == name);
        line.map(|(_, count)| *count).ok_or_else(|| format!("nothing is recorded of {name:?}; {RECORD}"))
    }

    /// Errors: something is recorded that is not counted any more.
    pub fn has_no_other(&self, counts: &[(String, f64)]) -> Result<(), String> {
        match self.lines.iter().find(|(recorded, _)| counts.iter().all(|(name, _)| name != recorded)) {
            Some((name, _)) => Err(format!("{name:?} is recorded and not counted any more; {RECORD}")),
            None => Ok(()),
        }
    }

    /// Whether the same tools made what is counted now. Counts of different ones say little about each other.
    pub fn is_of_these_tools(&self) -> bool {
        self.with == tools()
    }

    /// What it was counted with then, and now.
    pub fn origin(&self) -> String {
        format!("Recorded with {}; this is {}.", self.with, tools())
    }
}

/// Errors: the file cannot be written.
pub fn record(counts: &[(String, f64)]) -> Result<(), String> {
    let mut text =
        String::from("# Instructions per operation; tests/instructions/main.rs says how they are compared.\n");
    let _ = writeln!(text, "# Counted with {}", tools());
    for (name, count) in counts {
        let _ = writeln!(text, "{name:<58}{count:>13.1}");
    }
    fs::write(path(), text).map_err(|error| format!("cannot write {}: {error}", path().display()))
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions/expected.txt")
}

/// Whatever makes the instructions: the compiler, and the C library with its allocator and its copies.
fn tools() -> String {
    let first_line = |command: &str| {
        let output = Command::new(command).arg("--version").output().ok()?;
        String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
    };
    let told =
        ["rustc", "ldd", "valgrind"].map(|command| first_line(command).unwrap_or_else(|| format!("no {command}")));
    told.join(", ")
}
