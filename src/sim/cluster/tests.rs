//! The world itself on trial: with one lone server, whose protocol is known to work, and with a machine so simple that
//! every promise of the network and the disk can be counted.

use super::toy::Flood;
use super::world::Cluster;
use super::{Options, Sabotage, Summary, Violation};
use crate::replica::Replica;

fn options(seed: u64, sabotage: Option<Sabotage>) -> Options {
    Options { seed, sabotage, trace: false }
}

/// One voter and nobody else: clients, shards, disk and judges of the ensemble's world around a standalone server.
fn alone(seed: u64, sabotage: Option<Sabotage>) -> Result<Summary, Violation> {
    let lone = |plan: &mut super::plan::Plan| {
        plan.votes = vec![true];
        (plan.lost_disks, plan.night_ms) = (false, plan.night_ms.min(4_000));
    };
    Cluster::<Replica>::with_plan(options(seed, sabotage), lone).run()
}

/// Three to seven members that only talk to each other.
fn flooded(seed: u64, sabotage: Option<Sabotage>) -> Result<Summary, Violation> {
    let quiet = |plan: &mut super::plan::Plan| {
        (plan.client_count, plan.night_ms, plan.lost_disks) = (0, plan.night_ms.min(4_000), false);
    };
    Cluster::<Flood>::with_plan(options(seed, sabotage), quiet).run()
}

#[test]
fn a_lone_server_keeps_every_promise() {
    let mut total = Summary::default();
    for seed in 1..=40 {
        match alone(seed, None) {
            Ok(summary) => total += summary,
            Err(violation) => panic!("\n{violation}"),
        }
    }
    assert!(total.replies > 4_000 && total.transactions > 2_000 && total.crashes > 20, "{total:?}");
    assert!(total.expired > 10 && total.snapshots > 40, "{total:?}");
}

#[test]
fn an_acknowledgement_before_the_disk_is_noticed() {
    let found = (1..=50).find_map(|seed| alone(seed, Some(Sabotage::AckBeforeDisk)).err());
    let what = found.expect("somebody notices").what;
    assert!(what.contains("invariant 33"), "{what}");
}

#[test]
fn streams_keep_their_order_and_disks_what_they_have() {
    let mut total = Summary::default();
    for seed in 1..=60 {
        match flooded(seed, None) {
            Ok(summary) => total += summary,
            Err(violation) => panic!("\n{violation}"),
        }
    }
    assert!(total.crashes > 60 && total.partitions > 30 && total.steps > 100_000, "{total:?}");
}

#[test]
fn the_same_seed_is_the_same_night() {
    for seed in 1..6 {
        let nights = [(); 2].map(|()| flooded(seed, None).map_err(|violation| violation.what));
        assert_eq!(nights[0], nights[1]);
        let nights = [(); 2].map(|()| alone(seed, None).map_err(|violation| violation.what));
        assert_eq!(nights[0], nights[1]);
    }
}
