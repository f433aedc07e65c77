//! The ensemble's bad nights: a fixed set of seeds on every run, and the proof that the checks can fail.
//!
//! `RINGKEEPER_SEEDS` sets how many (a release build takes 1000 unless told, a debug build 50), `RINGKEEPER_FIRST`
//! where they begin. `RINGKEEPER_SEED=n cargo test --release --test cluster_simulation replay -- --nocapture` lives
//! through one night again and prints how it ended.

#[path = "support/seeds.rs"]
mod seeds;

use std::sync::atomic::{AtomicU64, Ordering};

use ringkeeper::sim::cluster::{self, Sabotage, Summary};
use seeds::{number, tell};

#[test]
fn no_seed_breaks_a_promise() {
    let count = number("RINGKEEPER_SEEDS").unwrap_or(if cfg!(debug_assertions) { 50 } else { 1000 });
    let first = number("RINGKEEPER_FIRST").unwrap_or(1);
    let next = AtomicU64::new(first);
    let nights = || {
        let mut total = Summary::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return total;
            }
            tell(seed - first, count);
            match cluster::run(seed, None) {
                Ok(summary) => total += summary,
                Err(violation) => {
                    next.store(first + count, Ordering::Relaxed); // No night begins any more.
                    panic!("\n{violation}");
                }
            }
        }
    };
    let mut total = Summary::default();
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(nights)).collect();
        all.into_iter().for_each(|one| total += one.join().expect("a night without a violation"));
    });
    println!(
        "cluster simulation: {count} seeds, {} ops, {} transactions, {} epochs, {} crashes, {} partitions, {} lost \
         and {} damaged disks, {} moved sessions, {} expired, no violation; {} ms from healing to service on average",
        total.replies,
        total.transactions,
        total.epochs,
        total.crashes,
        total.partitions,
        total.lost_disks,
        total.damaged_disks,
        total.moves,
        total.expired,
        total.elections_ms / count
    );
    // A world in which nothing happens keeps every promise.
    assert!(total.replies > count * 50 && total.transactions > count * 30 && total.epochs > count);
    assert!(count < 50 || (total.crashes > count && total.partitions > count / 2 && total.moves > count));
    assert!(count < 50 || (total.mastered > count / 4 && total.damaged_disks > count / 50));
}

#[test]
fn replay() {
    let Some(seed) = number("RINGKEEPER_SEED") else { return };
    match cluster::run(seed, None) {
        Ok(summary) => println!("seed {seed} keeps every promise: {summary:?}"),
        Err(violation) => panic!("\n{violation}"),
    }
}

#[test]
fn the_same_seed_is_the_same_night() {
    for seed in 1..4 {
        assert_eq!(
            cluster::run(seed, None).map_err(|violation| violation.what),
            cluster::run(seed, None).map_err(|violation| violation.what)
        );
    }
}

/// The first seed that notices must say what was broken.
fn noticed(sabotage: Sabotage, by: &[&str]) {
    let found = (1..=500).find_map(|seed| cluster::run(seed, Some(sabotage)).err());
    let what = found.unwrap_or_else(|| panic!("{sabotage:?} went unnoticed for 500 seeds")).what;
    assert!(by.iter().any(|word| what.contains(word)), "{what}");
}

#[test]
fn an_acknowledgement_before_the_disk_is_noticed() {
    noticed(Sabotage::AckBeforeDisk, &["33"]);
}

#[test]
fn a_new_leader_acknowledged_early_is_noticed() {
    noticed(Sabotage::EpochBeforeDisk, &["23", "24", "33"]);
}

#[test]
fn commits_out_of_order_are_noticed() {
    noticed(Sabotage::CommitsOutOfOrder, &["32"]);
}

#[test]
fn an_epoch_on_the_disk_before_its_history_is_noticed() {
    noticed(Sabotage::EpochBeforeHistory, &["24", "27", "33"]);
}

#[test]
fn a_history_that_was_cut_off_and_stays_is_noticed() {
    noticed(Sabotage::KeepsTruncated, &["24", "27", "31", "33"]);
}

#[test]
fn a_session_expired_after_a_leader_change_is_noticed() {
    noticed(Sabotage::ForgetsTouches, &["19"]);
}

#[test]
fn a_vote_with_a_damaged_log_is_noticed() {
    noticed(Sabotage::HidesDamage, &["33"]);
}
