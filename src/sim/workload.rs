//! What clients ask: every operation of the protocol over a small space of paths, so that they meet.

use super::client::Op;
use super::line::KNOWN_DIGESTS;
use super::model::Model;
use super::quotas;
use super::rng::Rng;
use crate::base::{Acl, Id, Perms};

/// Paths that writes aim at. Few, so that two clients often mean the same one.
const PATHS: [&str; 16] = [
    "/a",
    "/b",
    "/c",
    "/d",
    "/a/x",
    "/a/y",
    "/b/x",
    "/b/y",
    "/c/q",
    "/a/x/1",
    "/a/x/2",
    "/b/x/1",
    "/c/q/r",
    "/e",
    "/e/f",
    "/zookeeper/n",
];
/// What no write may name.
const BAD_PATHS: [&str; 8] = ["", "a", "/a/", "/a//x", "/a/./x", "/..", "/nul\0", "a/b"];
const SYSTEM_PATHS: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
/// Known operations with at least one field, so that an empty record is a broken one.
const BREAKABLE: [i32; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 19, 21, 22, 104, 105, 106];
const UNKNOWN: [i32; 6] = [0, 10, 13, 23, 99, 1000];

/// The next request of a client. `ephemerals` says whether it may still want some.
pub fn next(dice: &mut Rng, model: &Model) -> Op {
    if model.quotas && dice.chance(40) {
        return quotas::ask(dice);
    }
    match dice.weighted(&[24, 10, 14, 3, 10, 6, 8, 14, 8, 4, 3, 2, 2, 2, 6, 3, 3, 2, 1]) {
        0 => create(dice, model),
        1 => Op::Delete { path: target(dice, model), version: version(dice) },
        2 => Op::SetData { path: target(dice, model), data: data(dice), version: version(dice) },
        3 => Op::SetAcl { path: target(dice, model), acl: acl(dice), version: version(dice) },
        4 => Op::Multi((0..dice.between(0, 5)).map(|_| multi_op(dice, model)).collect()),
        5 => Op::Sync { path: path(dice, model) },
        6 => Op::Exists { path: path(dice, model), watch: dice.chance(400) },
        7 => Op::GetData { path: path(dice, model), watch: dice.chance(400) },
        8 => Op::GetChildren { path: path(dice, model), watch: dice.chance(400), with_stat: dice.chance(500) },
        9 => Op::MultiRead(
            (0..dice.between(0, 4))
                .map(|_| match dice.chance(500) {
                    true => Op::GetData { path: path(dice, model), watch: dice.chance(200) },
                    false => Op::GetChildren { path: path(dice, model), watch: dice.chance(200), with_stat: false },
                })
                .collect(),
        ),
        10 => Op::GetAcl { path: path(dice, model) },
        11 => Op::GetEphemerals {
            prefix: match dice.below(4) {
                0 => None,
                1 => Some(String::new()),
                2 => Some("/".into()),
                _ => Some(dice.pick(&PATHS)[..2].into()),
            },
        },
        12 => Op::GetAllChildrenNumber { path: path(dice, model) },
        13 => Op::WhoAmI,
        14 => Op::AddWatch { path: path(dice, model), mode: if dice.chance(30) { 7 } else { dice.below(2) as i32 } },
        15 => Op::CheckWatches { path: path(dice, model), kind: dice.below(7) as i32 },
        16 => Op::RemoveWatches { path: path(dice, model), kind: dice.below(7) as i32 },
        17 => Op::Ping,
        _ => match dice.below(10) {
            0 => Op::Unknown { code: *dice.pick(&UNKNOWN) },
            _ => Op::Broken { code: *dice.pick(&BREAKABLE), body: vec![0; dice.index(4)] },
        },
    }
}

/// One of the identities clients may prove, or one that nobody knows.
pub fn auth(dice: &mut Rng) -> Op {
    match dice.below(20) {
        0 => Op::Auth { scheme: "nonesuch", credential: b"x" },
        1 => Op::Auth { scheme: "ip", credential: b"" },
        _ => Op::Auth { scheme: "digest", credential: dice.pick(&KNOWN_DIGESTS).0.as_bytes() },
    }
}

fn create(dice: &mut Rng, model: &Model) -> Op {
    let (code, flags, ttl) = match dice.weighted(&[30, 12, 16, 8, 4, 4, 4, 1]) {
        0 => (1, 0, 0),
        1 => (15, 0, 0),
        2 => (*dice.pick(&[1, 15]), 1, 0),
        3 => (*dice.pick(&[1, 15]), *dice.pick(&[2, 2, 3]), 0),
        4 => (19, 4, 0),
        5 => (21, 5, dice.between(1, 60_000) as i64),
        6 => (21, 6, dice.between(1, 60_000) as i64),
        _ => match dice.below(4) {
            0 => (21, 5, 0),
            1 => (1, 7, 0),
            2 => (21, 5, 1 << 40),
            _ => (15, -1, 0),
        },
    };
    Op::Create {
        code,
        path: new_path(dice, model, matches!(flags, 2 | 3 | 6)),
        data: data(dice),
        acl: acl(dice),
        flags,
        ttl,
    }
}

/// An operation inside a multi; container and TTL creates with their own flags only.
fn multi_op(dice: &mut Rng, model: &Model) -> Op {
    match dice.below(10) {
        0..4 => loop {
            let op = create(dice, model);
            // Flags that do not fit their operation make the whole multi undecodable (parity MU-17).
            if let Op::Create { code, flags, ttl, .. } = &op
                && ((0..=3).contains(flags)
                    || (*code == 19 && *flags == 4)
                    || (*code == 21 && (1..1 << 40).contains(ttl)))
            {
                return op;
            }
        },
        4..7 => Op::SetData { path: target(dice, model), data: data(dice), version: version(dice) },
        7 => Op::Delete { path: target(dice, model), version: version(dice) },
        _ => Op::Check { path: path(dice, model), version: version(dice) },
    }
}

fn new_path(dice: &mut Rng, model: &Model, sequential: bool) -> String {
    if dice.chance(15) {
        return (*dice.pick(&BAD_PATHS)).into();
    }
    let below_something = dice.chance(if sequential { 600 } else { 150 });
    if !below_something {
        return (*dice.pick(&PATHS)).into();
    }
    let parent = target(dice, model);
    let parent = parent.trim_end_matches('/');
    match sequential && dice.chance(300) {
        true => format!("{parent}/"),
        false => format!("{parent}/{}", dice.pick(&["n", "m", "seq-"])),
    }
}

/// What a write names. The znodes of quotas are written by [`quotas::ask`] alone.
fn target(dice: &mut Rng, model: &Model) -> String {
    loop {
        let path = path(dice, model);
        if !path.starts_with("/zookeeper/quota/") {
            return path;
        }
    }
}

/// Mostly one that exists, or might.
pub fn path(dice: &mut Rng, model: &Model) -> String {
    match dice.below(100) {
        0 => (*dice.pick(&BAD_PATHS)).into(),
        1..4 => (*dice.pick(&SYSTEM_PATHS)).into(),
        4..50 => (*dice.pick(&PATHS)).into(),
        _ => {
            let count = model.tree_at(i64::MAX).count();
            let nth = dice.index(count);
            model.tree_at(i64::MAX).nth(nth).map_or("/", |(path, _)| path).into()
        }
    }
}

fn version(dice: &mut Rng) -> i32 {
    match dice.below(10) {
        0..6 => -1,
        6..9 => dice.below(3) as i32,
        _ => 77,
    }
}

fn data(dice: &mut Rng) -> Option<Vec<u8>> {
    let length = match dice.below(100) {
        0..6 => return None,
        6..12 => 0,
        12..96 => dice.between(1, 40),
        _ => dice.between(500, 12_000),
    };
    let byte = dice.next() as u8;
    Some((0..length).map(|at| byte.wrapping_add(at as u8)).collect())
}

fn acl(dice: &mut Rng) -> Option<Vec<Acl>> {
    let entry = |perms: i32, scheme: &str, id: &str| Acl { perms, id: Id::new(scheme, id) };
    let open = entry(Perms::ALL, "world", "anyone");
    Some(match dice.below(40) {
        0 => return None,
        1 => vec![],
        2 => vec![entry(Perms::ALL, "nonesuch", "x")],
        3 => vec![entry(Perms::ALL, "world", "somebody")],
        4 | 5 => vec![entry(Perms::ALL, "auth", "")],
        6 | 7 => vec![entry(Perms::ALL, "digest", KNOWN_DIGESTS[0].1), entry(Perms::READ, "world", "anyone")],
        8 => vec![entry(Perms::ALL, "digest", KNOWN_DIGESTS[1].1)],
        9 => vec![entry(Perms::ALL, "ip", "127.0.0.1"), entry(Perms::READ | Perms::CREATE, "world", "anyone")],
        10 => vec![open.clone(), open, entry(Perms::ADMIN | 64, "world", "anyone")],
        _ => vec![open],
    })
}
