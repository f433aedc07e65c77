//! What is asked of elections among many, hundreds of seeds each.

use super::*;

fn some_view(seed: u64) -> View {
    let voters: Vec<i64> = (1..=[3, 5, 4, 7, 2][seed as usize % 5]).collect();
    let observers: &[i64] = if seed.is_multiple_of(3) { &[8] } else { &[] };
    view_of(&voters, observers)
}

/// Three groups of two, the last server without weight.
fn grouped_view() -> View {
    let mut view = view_of(&[1, 2, 3, 4, 5, 6], &[]);
    view.groups = (1..=6).map(|id| (ServerId(id), (id + 1) / 2)).collect();
    view.weights.insert(ServerId(6), 0);
    view
}

#[test]
fn who_starts_together_elects_the_best_without_waiting() {
    for seed in 0..300 {
        let view = if seed % 7 == 6 { grouped_view() } else { some_view(seed) };
        let mut world = World::new(seed, view, 3_000);
        let all: Vec<ServerId> = world.nodes.keys().copied().collect();
        let voters: Vec<ServerId> = world.view.voters().collect();
        // In some worlds a minority is dead and its ports refuse, or has nothing to vote with.
        let mut dead = BTreeSet::new();
        if voters.len() % 2 == 1 && seed % 2 == 0 {
            let one = voters[world.dice.below(voters.len() as u64) as usize];
            if seed % 4 == 0 {
                dead.insert(one);
            } else {
                world.node(one).zxid = Zxid::NONE;
            }
        }
        let best = world.best(voters.iter().copied().filter(|id| !dead.contains(id)));
        for id in all.into_iter().filter(|id| !dead.contains(id)) {
            world.at(Instant(0), Event::Start(id));
        }
        world.run_until(Instant(1_000_000));
        let (first, _) = world.elected[0];
        assert!(first.millis() < 100, "seed {seed}: {} ms to elect", first.millis());
        assert!(world.elected.iter().all(|(_, leader)| *leader == best), "seed {seed}: {best} in {:?}", world.elected);
        // Observers and members without data ask until enough followers are in step.
        world.run_until(Instant(30_000_000));
        assert_eq!(world.common_leader(), Some(best), "seed {seed}");
        world.assert_mesh();
    }
}

#[test]
fn a_dead_leaders_followers_have_a_new_one_at_once() {
    let mut slowest = 0;
    for seed in 0..200 {
        let mut world = World::new(seed, view_of(&[1, 2, 3, 4, 5][..3 + 2 * (seed as usize % 2)], &[]), 1_000);
        let ids: Vec<ServerId> = world.nodes.keys().copied().collect();
        ids.iter().for_each(|id| world.at(Instant(0), Event::Start(*id)));
        world.run_until(Instant(20_000_000));
        let leader = world.common_leader().unwrap_or_else(|| panic!("seed {seed}: no leader to kill"));
        assert!(ids.iter().all(|id| world.nodes[id].established), "seed {seed}");
        // Others lead each time, not always the largest id.
        let died = world.now;
        world.happen(Event::Kill(leader));
        world.elected.clear();
        for id in ids.into_iter().filter(|id| *id != leader) {
            // Each notices by itself that its leader's connection is closed.
            let noticed = died.0 + world.dice.below(5_000);
            world.at(Instant(noticed), Event::Look(id, world.nodes[&id].role_since));
        }
        world.run_until(died.plus_ms(5_000));
        let (last, _) = *world.elected.last().expect("somebody elected");
        slowest = slowest.max(last.millis_since(died));
        assert!(world.common_leader().is_some_and(|new| new != leader), "seed {seed}");
        world.assert_mesh();
    }
    assert!(slowest < 60, "an election took {slowest} ms although nobody could still vote");
}

#[test]
fn after_any_storm_there_is_one_leader_and_one_link_a_pair() {
    for seed in 0..250 {
        let mut world = World::new(seed, if seed % 7 == 6 { grouped_view() } else { some_view(seed) }, 30_000);
        let ids: Vec<ServerId> = world.nodes.keys().copied().collect();
        let count = ids.len() as u64;
        for id in &ids {
            let ms = world.dice.below(500);
            world.in_ms(ms, Event::Start(*id));
        }
        if seed % 3 == 0 && world.view.voters().count() > 2 {
            world.node(ids[0]).zxid = Zxid::NONE;
        }
        for _ in 0..world.dice.below(12) {
            let ms = 500 + world.dice.below(5_000);
            match world.dice.below(4) {
                0 => {
                    let id = ids[world.dice.below(count) as usize];
                    world.in_ms(ms, Event::Kill(id));
                    let back = ms + world.dice.below(1_500);
                    world.in_ms(back, Event::Start(id));
                }
                1 => {
                    let (a, b) = (ids[world.dice.below(count) as usize], ids[world.dice.below(count) as usize]);
                    if a != b {
                        world.in_ms(ms, Event::Part(a, b));
                        world.in_ms(ms + 2_000, Event::Heal);
                    }
                }
                _ => world.in_ms(ms, Event::CutSomeLink),
            }
        }
        // One stays dead, where the others are a quorum without it.
        if seed % 2 == 0 && world.view.voters().count() % 2 == 1 && seed % 3 != 0 {
            let id = ids[world.dice.below(count) as usize];
            world.in_ms(9_000, Event::Kill(id));
        }
        world.run_until(Instant(12_000_000));
        // A pause between two attempts may have grown to a minute by now.
        let mut waited = 0;
        while world.common_leader().is_none() {
            waited += 1;
            assert!(waited < 200, "seed {seed}: no leader at {:?}", world.now);
            let then = world.now.plus_ms(1_000);
            world.run_until(then);
        }
        let then = world.now.plus_ms(20_000);
        world.run_until(then);
        assert!(world.common_leader().is_some(), "seed {seed}: the leader was not one to stay");
        world.assert_mesh();
    }
}

#[test]
fn the_same_seed_is_the_same_night() {
    let night = |seed| {
        let mut world = World::new(seed, some_view(seed), 20_000);
        let ids: Vec<ServerId> = world.nodes.keys().copied().collect();
        ids.into_iter().for_each(|id| world.at(Instant(0), Event::Start(id)));
        world.in_ms(300, Event::CutSomeLink);
        world.run_until(Instant(5_000_000));
        (world.event_count, world.elected)
    };
    assert_eq!(night(5), night(5));
}
