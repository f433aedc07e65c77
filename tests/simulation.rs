//! A bad night is a seed: a fixed set of them on every run, and the proof that the checks can fail.
//!
//! `RINGKEEPER_SEEDS` sets how many (a release build takes 1000 unless told, a debug build 100), `RINGKEEPER_FIRST`
//! where they begin. `RINGKEEPER_SEED=n cargo test --release --test simulation replay -- --nocapture` lives
//! through one night again and prints how it ended.

#[path = "support/seeds.rs"]
mod seeds;

use ringkeeper::sim::{self, Sabotage, Summary};
use seeds::{number, tell};

#[test]
fn no_seed_breaks_a_promise() {
    let count = number("RINGKEEPER_SEEDS").unwrap_or(if cfg!(debug_assertions) { 100 } else { 1000 });
    let first = number("RINGKEEPER_FIRST").unwrap_or(1);
    let mut total = Summary::default();
    for seed in first..first + count {
        tell(seed - first, count);
        match sim::run(seed, None) {
            Ok(summary) => total += summary,
            Err(violation) => panic!("\n{violation}"),
        }
    }
    println!(
        "simulation: {count} seeds, {} ops, {} crashes, no violation ({} watch events, {} transactions, {} snapshots, \
         {} expired sessions, {} damaged disks refused)",
        total.replies,
        total.crashes,
        total.events,
        total.transactions,
        total.snapshots,
        total.expired,
        total.refused_boots
    );
    // A world in which nothing happens keeps every promise.
    assert!(total.replies > count * 50 && total.events > count && total.transactions > count * 30);
    assert!(count < 50 || (total.crashes > count / 2 && total.snapshots > count / 2 && total.expired > count / 2));
}

#[test]
fn replay() {
    let Some(seed) = number("RINGKEEPER_SEED") else { return };
    match sim::run(seed, None) {
        Ok(summary) => println!("seed {seed} keeps every promise: {summary:?}"),
        Err(violation) => panic!("\n{violation}"),
    }
}

#[test]
fn the_same_seed_is_the_same_night() {
    for seed in 1..4 {
        assert_eq!(
            sim::run(seed, None).map_err(|violation| violation.what),
            sim::run(seed, None).map_err(|violation| violation.what)
        );
    }
}

/// The first seed that notices, and what it says.
fn noticed(sabotage: Sabotage) -> String {
    let found = (1..=200).find_map(|seed| sim::run(seed, Some(sabotage)).err());
    found.unwrap_or_else(|| panic!("{sabotage:?} went unnoticed for 200 seeds")).what
}

#[test]
fn an_acknowledgement_before_the_disk_is_noticed() {
    let what = noticed(Sabotage::AckBeforeDisk);
    assert!(what.contains("invariant 33"), "{what}");
}

#[test]
fn a_disk_that_lies_is_noticed() {
    let what = noticed(Sabotage::LyingDisk);
    // Either a reply is missing or the journal behind a snapshot: both are promises of what was on disk.
    assert!(what.contains("invariant 33") || what.contains("invariants 33"), "{what}");
}

#[test]
fn a_watch_event_after_its_reply_is_noticed() {
    let what = noticed(Sabotage::EventAfterReply);
    assert!(what.contains("invariant 9") || what.contains("invariant 10"), "{what}");
}

#[test]
fn a_quota_that_is_not_enforced_is_noticed() {
    let what = noticed(Sabotage::QuotaIgnored);
    assert!(what.contains("-125"), "{what}");
}
