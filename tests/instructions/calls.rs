//! Runs this program under callgrind and reads what it counted.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::meter;

/// Instructions per operation, by name, in the order in which they were first counted.
///
/// Errors: valgrind is missing, or did not do what is expected of it.
pub fn count_with_callgrind() -> Result<Vec<(String, f64)>, String> {
    let this = std::env::current_exe().map_err(|error| format!("this program does not find itself: {error}"))?;
    let profile = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--combine-dumps=yes"])
        .arg(format!("--toggle-collect={}", meter::SYMBOL))
        .arg(format!("--dump-after={}", meter::SYMBOL))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(&this)
        .env(meter::ENVIRONMENT.0, meter::ENVIRONMENT.1)
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}; install it (apt-get install valgrind)"))?;
    if !output.status.success() {
        return Err(format!("the counted run failed, {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let text = fs::read_to_string(&profile).map_err(|error| format!("cannot read {}: {error}", profile.display()))?;
    let totals = totals(&text)?;
    let told = String::from_utf8_lossy(&output.stdout);
    let calls: Vec<(&str, f64)> = told.lines().filter_map(call).collect();
    // The last part is what was counted after the last call: nothing.
    if totals.len() != calls.len() + 1 || totals.last() != Some(&0.0) {
        return Err(format!(
            "{} calls of {} and {} parts in {}: callgrind did not see every call begin and end",
            calls.len(),
            meter::SYMBOL,
            totals.len(),
            profile.display()
        ));
    }
    let mut sums: Vec<(String, f64, f64)> = Vec::new();
    for ((name, operations), instructions) in calls.into_iter().zip(totals) {
        match sums.iter_mut().find(|(known, ..)| known == name) {
            Some((_, all, of)) => (*all, *of) = (*all + instructions, *of + operations),
            None => sums.push((name.to_owned(), instructions, operations)),
        }
    }
    Ok(sums.into_iter().map(|(name, all, of)| (name, all / of)).collect())
}

fn call(line: &str) -> Option<(&str, f64)> {
    let (name, operations) = line.split_once('\t')?;
    Some((name, operations.parse().ok()?))
}

/// Of each part, in order.
fn totals(profile: &str) -> Result<Vec<f64>, String> {
    profile
        .lines()
        .filter_map(|line| line.strip_prefix("totals: "))
        .map(|total| total.trim().parse().map_err(|_| format!("not a total of callgrind's: {total:?}")))
        .collect()
}
