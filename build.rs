//! Tells the version text (srvr, envi, mntr) which commit this is built from, and of what date.
//!
//! Reproducible: the date is the commit's, not the clock's. Packagers who build without the repository set
//! RINGKEEPER_COMMIT and RINGKEEPER_DATE; without both, "unknown" is said. Builds for tests say it too: they would
//! be compiled anew after every commit otherwise.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RINGKEEPER_COMMIT");
    println!("cargo::rerun-if-env-changed=RINGKEEPER_DATE");
    // A copy of the sources within somebody else's repository has no commit of its own.
    let ours = git(&["rev-parse", "--show-toplevel"]).is_some_and(|top| env::var("CARGO_MANIFEST_DIR") == Ok(top));
    let tell = ours && env::var("PROFILE").is_ok_and(|profile| profile == "release");
    // The log of HEAD changes with every commit, checkout and merge, whatever branch it is on.
    if tell
        && let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    let fact = |variable: &str, format: &str| {
        let given = env::var(variable).ok().filter(|value| !value.is_empty());
        let value = given.or_else(|| git(&["log", "-1", "--date=format-local:%Y-%m-%d %H:%M UTC", format]).filter(|_| tell));
        println!("cargo::rustc-env={variable}={}", value.unwrap_or_else(|| "unknown".to_owned()));
    };
    fact("RINGKEEPER_COMMIT", "--format=%H");
    fact("RINGKEEPER_DATE", "--format=%cd");
}

/// What git prints, if it is there and this is a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).env("TZ", "UTC").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
