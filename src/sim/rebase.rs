//! Histories replaced while the power is cut: at every effect and every answer of the disk, then booted.
//!
//! What comes back must be the old history to its last record, or the new one; the old one only before its
//! successor had its name, the new one for sure once the replica says so. And it must go on from there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::disk::{Disk, Preparing};
use super::rng::Rng;
use super::server::Media;
use crate::base::{ConnId, Instant, Now, Origin, SessionId, ShardId, WallMs, Xid, Zxid, open_acl};
use crate::codec::Writer;
use crate::codec::opcode::OpCode;
use crate::codec::peer::PacketKind;
use crate::codec::peer_stream::cut;
use crate::journal::{BatchId, DiskEffect, SegmentId};
use crate::mail::{AnswerKind, Connect, Submit, ToReplica, ToShard};
use crate::prep::Rules;
use crate::replica::{self, BootError, BootMedia, Effects, ReaperSettings, Replica, SnapshotSettings, State, boot};
use crate::replica::{Stretch, StretchNews, StretchOrder};
use crate::tree::auth::AuthRules;

fn settings() -> replica::Settings {
    replica::Settings {
        ensemble: None,
        rules: Rules { auth: AuthRules::default(), extended_types: true, enforce_quota: false },
        tick_ms: 1000,
        server_id: 1,
        shard_count: 1,
        reconfig_enabled: false,
        segment_bytes: 0, // The least there may be.
        slow_sync_ms: 1000,
        digest: true,
        close_session_lists_ephemerals: true,
        heal_from_peers: true,
        commit_log_count: 5,
        snapshots: SnapshotSettings { snap_count: 8, snap_bytes: None, retain_count: 3, purge_interval_ms: Some(1) },
        reaper: ReaperSettings { check_interval_ms: 60_000, max_per_minute: 1, max_never_used_ms: None },
    }
}

fn at(ms: u64) -> Now {
    Now { mono: Instant(ms * 1000), wall: WallMs(1_700_000_000_000 + ms as i64) }
}

/// What the disk will answer.
#[derive(Debug)]
enum News {
    Landed(BatchId),
    SegmentReady(SegmentId),
    SnapshotReady,
    SnapshotWritten(Zxid),
}

const ORIGIN: Origin = Origin { shard: ShardId(0), conn: ConnId { slot: 0, generation: 1 } };

/// A replica on an invented disk, one step after another.
struct Rig {
    disk: Disk,
    replica: Replica,
    batches: VecDeque<News>,
    /// In the order the disk was asked.
    chores: VecDeque<News>,
    /// Steps until the power is cut.
    fuse: Option<u32>,
    steps: u32,
    dice: Rng,
    session: SessionId,
    ms: u64,
    name: &'static str,
    set_aside: usize,
}

impl Rig {
    fn on(disk: Disk, name: &'static str) -> Rig {
        let booted =
            boot(&Media { disk: &disk, hide: 0 }, settings(), 1, at(0)).unwrap_or_else(|error| panic!("{error}"));
        let mut rig = Rig {
            disk,
            replica: booted.replica,
            batches: VecDeque::new(),
            chores: VecDeque::new(),
            fuse: None,
            steps: 0,
            dice: Rng::new(1),
            session: SessionId::NONE,
            ms: 0,
            name,
            set_aside: 0,
        };
        rig.carry_out(booted.effects);
        rig
    }

    /// One step more: false if the power goes instead.
    fn burn(&mut self) -> bool {
        let alive = self.is_alive();
        self.steps += u32::from(alive);
        alive
    }

    fn is_alive(&self) -> bool {
        self.fuse.is_none_or(|fuse| self.steps < fuse)
    }

    fn carry_out(&mut self, out: Effects) {
        assert_eq!(out.halt, None);
        for effect in out.disk {
            if !self.burn() {
                return;
            }
            match effect {
                DiskEffect::WriteBatch(batch) => {
                    self.batches.push_back(News::Landed(batch.id));
                    self.disk.write(batch, false).unwrap();
                }
                DiskEffect::PrepareSegment { segment, bytes, recycle } => {
                    self.disk.prepare(Preparing { segment, bytes, recycle }).unwrap();
                    self.chores.push_back(News::SegmentReady(segment));
                }
                DiskEffect::DeleteSegment(segment) => self.disk.delete_segment(segment),
                DiskEffect::DeleteSnapshot(zxid) => self.disk.delete_snapshot(zxid),
                DiskEffect::SetAsideSegment(segment) => {
                    self.set_aside += 1;
                    self.disk.delete_segment(segment);
                }
                DiskEffect::SetAsideSnapshot(zxid) => {
                    self.set_aside += 1;
                    self.disk.delete_snapshot(zxid);
                }
                DiskEffect::SnapshotOpen { zxid } => {
                    self.disk.snapshot_open(zxid).unwrap();
                    self.chores.push_back(News::SnapshotReady);
                }
                DiskEffect::SnapshotChunk { bytes } => {
                    self.disk.snapshot_chunk(&bytes).unwrap();
                    self.chores.push_back(News::SnapshotReady);
                }
                DiskEffect::SnapshotClose { zxid } => {
                    self.disk.snapshot_close(zxid).unwrap();
                    self.chores.push_back(News::SnapshotWritten(zxid));
                }
                DiskEffect::SnapshotAbort { .. } => self.disk.snapshot_abort(),
            }
        }
        for (_, mail) in out.mail {
            let ToShard::Batch(entries) = mail else { continue };
            for answer in entries.iter().filter_map(|entry| entry.answer.as_ref()) {
                if let AnswerKind::Granted { session, .. } = answer.kind {
                    self.session = session;
                }
            }
        }
    }

    fn turn(&mut self, call: impl FnOnce(&mut Replica, Now, &mut Effects)) {
        if self.is_alive() {
            let mut out = Effects::default();
            call(&mut self.replica, at(self.ms), &mut out);
            self.replica.on_turn_end(at(self.ms), &mut out);
            self.carry_out(out);
        }
    }

    /// The next answer of the disk; which of its two queues is faster, the dice decide. False if there is none.
    fn answer(&mut self) -> bool {
        let batch_first = self.dice.chance(500);
        let (first, second) = match batch_first {
            true => (&mut self.batches, &mut self.chores),
            false => (&mut self.chores, &mut self.batches),
        };
        let Some(news) = first.pop_front().or_else(|| second.pop_front()) else { return false };
        if !self.burn() {
            return false;
        }
        match news {
            News::Landed(batch) => {
                self.batches.push_front(News::Landed(batch));
                self.land();
            }
            News::SegmentReady(segment) => {
                self.disk.prepared(segment);
                self.turn(|replica, now, out| replica.on_segment_ready(segment, now, out));
            }
            News::SnapshotReady => self.turn(|replica, _, out| replica.on_snapshot_ready(out)),
            News::SnapshotWritten(zxid) => {
                self.disk.snapshot_done();
                self.turn(|replica, now, _| replica.on_snapshot_written(zxid, now));
            }
        }
        true
    }

    /// The batch under way lands.
    fn land(&mut self) {
        if let Some(News::Landed(batch)) = self.batches.pop_front() {
            self.disk.land();
            self.turn(|replica, now, out| replica.on_batch_landed(batch, now, out));
        }
    }

    fn settle(&mut self) {
        while self.answer() {}
        assert!(!self.is_alive() || self.replica.is_drained() || !self.replica.rebase_is_durable());
    }

    fn connect(&mut self) {
        let connect = Connect { origin: ORIGIN, session: self.session, timeout_ms: 30_000, last_zxid_seen: Zxid::ZERO };
        self.turn(|replica, now, out| replica.on_mail(ToReplica::Connect(connect), now, out));
    }

    fn create(&mut self, number: usize, data_bytes: usize) {
        let mut body = Vec::new();
        let mut writer = Writer(&mut body);
        writer.string(&format!("/{}-{number}", self.name));
        writer.buffer(Some(&vec![number as u8; data_bytes]));
        writer.acl(&open_acl());
        writer.i32(i32::from(number % 4 == 1));
        let submit = Submit {
            origin: ORIGIN,
            session: self.session,
            xid: Xid(number as i32),
            op: OpCode::Create,
            body: body.into(),
            ids: Arc::new([]),
        };
        self.turn(|replica, now, out| replica.on_mail(ToReplica::Submit(submit), now, out));
    }

    /// Lets the replica purge and snapshot what is due.
    fn tick(&mut self) {
        self.ms += 60;
        self.turn(|replica, now, out| replica.on_tick(now, out));
    }

    fn rebase(&mut self, state: State) {
        self.turn(|replica, now, out| replica.rebase(state, now, out));
    }

    fn state_at(&self, zxid: i64) -> State {
        replica::reload(&Media { disk: &self.disk, hide: 0 }, &settings(), Zxid(zxid))
            .unwrap_or_else(|why| panic!("{why}"))
    }

    /// The whole of what is on disk: (zxid, digest, sessions), and that boot and reload agree about it.
    fn on_disk(&self) -> Seen {
        seen_on(&self.disk).unwrap_or_else(|error| panic!("{error}"))
    }
}

type Seen = (i64, i64, BTreeMap<SessionId, i32>);

fn seen(state: &State) -> Seen {
    (state.zxid.0, state.tree.digest(), state.sessions.clone())
}

fn seen_on(disk: &Disk) -> Result<Seen, String> {
    let media = Media { disk, hide: 0 };
    let booted = boot(&media, settings(), 1, at(0)).map_err(|error| error.to_string())?;
    if let Some(damage) = booted.damaged {
        return Err(damage);
    }
    let last = booted.replica.last_committed();
    let state = replica::reload(&media, &settings(), last).map_err(|error| error.to_string())?;
    assert_eq!(state.tree.digest(), booted.replica.tree().digest());
    Ok(seen(&state))
}

/// `count` creates behind a session, with a snapshot every four to eight.
fn history(name: &'static str, count: usize) -> Rig {
    history_with(name, count, &[])
}

/// As [`history`]; the creates in `large` have so much data that two of them nearly fill a segment.
fn history_with(name: &'static str, count: usize, large: &[usize]) -> Rig {
    let mut rig = Rig::on(Disk::default(), name);
    rig.settle();
    rig.connect();
    rig.settle();
    for number in 0..count {
        rig.create(number, if large.contains(&number) { 2_900_000 } else { 100 });
        rig.settle();
    }
    assert_eq!(rig.on_disk().0, count as i64 + 1);
    rig
}

fn cut_everywhere(before: &Rig, what: &str, state: impl Fn() -> State, appended: usize) {
    let old = before.on_disk();
    let (mut olds, mut news, mut halves) = (0, 0, 0);
    for fuse in 0.. {
        let mut whole = true;
        for seed in 0..3 {
            let mut rig = Rig::on(before.disk.clone(), "behind");
            rig.dice = Rng::new(u64::from(fuse) << 8 | seed);
            rig.settle();
            rig.session = before.session;
            rig.steps = 0;
            rig.fuse = Some(fuse);
            let new = state();
            let mut allowed = vec![seen(&new)];
            let sessions = allowed[0].2.clone();
            rig.session = *sessions.keys().next().unwrap_or(&SessionId::NONE);
            rig.rebase(new);
            if appended > 0 {
                rig.connect();
            }
            for number in 0..appended {
                rig.create(number, 100);
                let (zxid, _, _) = allowed[0];
                allowed.push((zxid + 1 + number as i64, rig.replica.tree().digest(), sessions.clone()));
                // Some of it while the snapshot is being written, some behind it.
                for _ in 0..rig.dice.below(4) {
                    rig.answer();
                }
            }
            rig.settle();
            let done = rig.is_alive();
            whole &= done;
            let must_be_new = rig.replica.rebase_is_durable() && rig.steps > 0;
            let story = rig.disk.cut(&mut rig.dice);
            let found =
                seen_on(&rig.disk).unwrap_or_else(|why| panic!("{what}, cut at {fuse}/{seed} ({story}): {why}"));
            let is_new = allowed.contains(&found);
            assert!(is_new || found == old, "{what}, cut at {fuse}/{seed}: neither old nor new ({story}): {found:?}");
            assert!(is_new || !must_be_new, "{what}, cut at {fuse}/{seed}: durable, but gone ({story})");
            assert!(!done || found == *allowed.last().unwrap(), "{what}: all of it was done");
            news += u32::from(is_new && found != old);
            olds += u32::from(found == old);
            halves += u32::from(is_new && !done);
            // It goes on from there, once and again, whatever comes back of deleted files.
            let mut again = Rig::on(rig.disk, "again");
            again.settle();
            again.session = *found.2.keys().next().unwrap_or(&SessionId::NONE);
            again.connect();
            again.create(0, 50);
            again.settle();
            let (zxid, digest) = (again.on_disk().0, again.replica.tree().digest());
            assert!(zxid > found.0);
            again.disk.cut(&mut rig.dice);
            let last = again.on_disk();
            assert_eq!((last.0, last.1), (zxid, digest), "{what}, cut at {fuse}/{seed}: the second boot");
        }
        if whole {
            break;
        }
    }
    assert!(olds > 3 && news > 3 && halves > 0, "{what}: {olds} old, {news} new, {halves} of them early");
}

#[test]
fn a_cut_tail_stays_cut_or_was_never_cut() {
    let before = history_with("old", 12, &[3, 5, 7]);
    assert!(before.replica.tree().get("/old-7").is_some() && before.disk.segment_ids().len() > 1);
    cut_everywhere(&before, "TRUNC", || before.state_at(4), 0);
    cut_everywhere(&before, "TRUNC and more", || before.state_at(5), 3);
}

#[test]
fn another_history_comes_whole_or_not_at_all() {
    let before = history("old", 9);
    let longer = history("other", 16);
    cut_everywhere(&before, "SNAP of a later zxid", || longer.state_at(17), 2);
    cut_everywhere(&before, "SNAP of an earlier zxid", || longer.state_at(4), 2);
    cut_everywhere(&before, "SNAP of the same zxid", || longer.state_at(10), 0);
}

#[test]
fn histories_replaced_one_after_another_keep_their_order() {
    let longer = history("other", 16);
    let mut before = history("old", 9);
    for zxid in [17, 4, 12] {
        before.rebase(longer.state_at(zxid));
        before.settle();
        assert_eq!(before.on_disk(), seen(&longer.state_at(zxid)));
    }
    cut_everywhere(&before, "the fourth", || longer.state_at(8), 1);
}

#[test]
fn a_rebase_given_up_leaves_the_old_history_unless_it_is_too_late() {
    let longer = history("other", 16);
    let (mut given_up, mut too_late) = (0, 0);
    for patience in 0..12 {
        let mut rig = history("old", 5);
        // An ordinary snapshot is in the way.
        while rig.chores.is_empty() {
            rig.create(50 + rig.steps as usize, 10);
            while !rig.batches.is_empty() {
                rig.land();
            }
        }
        let old = rig.on_disk();
        rig.rebase(longer.state_at(11));
        for _ in 0..patience {
            rig.answer();
        }
        let mut out = Effects::default();
        let is_old = rig.replica.abort_rebase(&mut out);
        rig.carry_out(out);
        if is_old {
            given_up += 1;
            let state = rig.state_at(rig.replica.last_durable().0);
            assert_eq!(seen(&state), old);
            rig.turn(|replica, _, out| replica.adopt(state, out));
            rig.connect();
            rig.create(90, 10);
            rig.settle();
            // Another attempt begins where the first would have.
            rig.rebase(longer.state_at(7));
        } else {
            too_late += 1;
        }
        rig.settle();
        assert!(rig.replica.rebase_is_durable());
        assert_eq!(rig.on_disk(), seen(&longer.state_at(if is_old { 7 } else { 11 })));
    }
    assert!(given_up > 2 && too_late > 2, "{given_up} given up, {too_late} too late");
}

#[test]
fn the_state_at_a_zxid_is_exact_or_an_error() {
    let mut rig = history("old", 12);
    let digests: Vec<i64> = (1..=13).map(|zxid| rig.state_at(zxid).tree.digest()).collect();
    rig.rebase(rig.state_at(8));
    rig.settle();
    rig.session = *rig.state_at(8).sessions.keys().next().unwrap();
    rig.connect();
    rig.create(40, 10);
    rig.create(41, 10);
    rig.settle();
    assert_eq!(rig.state_at(8).tree.digest(), digests[7]);
    assert_ne!(rig.state_at(9).tree.digest(), digests[8]);
    for zxid in [7, 11, 1 << 32] {
        let media = Media { disk: &rig.disk, hide: 0 };
        let reloaded = replica::reload(&media, &settings(), Zxid(zxid));
        assert!(matches!(reloaded, Err(BootError::NotInHistory { .. })), "{zxid}");
    }
}

/// What a learner that stands at `after` would be sent from this disk; `None` if that is a snapshot.
fn stretch(disk: &Disk, after: i64, through: i64, bytes_max: u64) -> Option<Vec<i64>> {
    let media = Media { disk, hide: 0 };
    let newest = *disk.snapshot_zxids().iter().max().unwrap();
    let journal = crate::snapshot::read_head(media.read_snapshot(newest).unwrap()).unwrap().journal;
    let link = crate::base::LinkId(1);
    let segments = disk.segment_ids();
    let mut stretch =
        Stretch::new(StretchOrder { link, journal, segments, after: Zxid(after), through: Zxid(through), bytes_max });
    let mut bytes = Vec::new();
    loop {
        match stretch.step(&media) {
            Some(StretchNews::Proven { .. }) => stretch.read_on(),
            Some(StretchNews::Chunk { bytes: chunk, is_last, .. }) => {
                bytes.extend_from_slice(&chunk);
                match is_last {
                    true => break,
                    false => stretch.read_on(),
                }
            }
            Some(StretchNews::Refused { .. }) => return None,
            Some(StretchNews::Broken { why, .. }) => panic!("{why}"),
            None => assert!(stretch.is_busy()),
        }
    }
    let mut found = Vec::new();
    while let Some((packet, length)) = cut(&bytes, 1 << 20).unwrap() {
        bytes.drain(..length);
        match packet.kind {
            PacketKind::Proposal => {
                let record = packet.data.unwrap();
                assert_eq!(crate::codec::txn::decode(&record).unwrap().header.zxid, packet.zxid);
                found.push(packet.zxid.0);
            }
            kind => assert_eq!((kind, packet.zxid.0), (PacketKind::Commit, *found.last().unwrap())),
        }
    }
    Some(found)
}

#[test]
fn records_are_handed_out_only_without_a_gap() {
    let rig = history("old", 12);
    let old = |after, through, bytes_max| stretch(&rig.disk, after, through, bytes_max);
    assert_eq!(old(1, 13, 1 << 30), Some((2..=13).collect()));
    assert_eq!(old(5, 9, 1 << 30), Some(vec![6, 7, 8, 9]));
    assert_eq!(old(9, 9, 0), Some(vec![]));
    assert_eq!(old(0, 13, 1 << 30), None, "as the reference, which finds nothing before the first");
    assert_eq!(old(5, 14, 1 << 30), None, "it ends before");
    assert_eq!(old(14, 14, 1 << 30), None, "never heard of");
    assert_eq!(old(5, 9, 300), None, "too much");
    let mut replaced = Rig::on(rig.disk.clone(), "replaced");
    replaced.settle();
    replaced.rebase(rig.state_at(8));
    replaced.settle();
    assert_eq!(stretch(&replaced.disk, 7, 8, 1 << 20), None, "of a history that was replaced");
    assert_eq!(stretch(&replaced.disk, 8, 8, 1 << 20), Some(vec![]), "where this one begins");
}

#[test]
fn a_member_whose_data_is_damaged_waits_for_another_history() {
    let longer = history("other", 16);
    let mut rig = history("old", 9);
    let first = rig.disk.segment_ids()[0];
    for offset in [4096 + 100, 2 * 4096 + 100] {
        let mut disk = rig.disk.clone();
        disk.toggle(super::disk::Flip::Segment { segment: first.0, offset, mask: 4 });
        let media = Media { disk: &disk, hide: 0 };
        let alone = replica::Settings { heal_from_peers: false, ..settings() };
        let Err(BootError::Damage(_)) = boot(&media, alone, 1, at(0)) else { continue };
        let booted = boot(&media, settings(), 1, at(0)).unwrap_or_else(|error| panic!("{error}"));
        assert!(booted.damaged.is_some() && booted.replica.last_durable() == Zxid::ZERO);
        let files = disk.segment_ids().len() + disk.snapshot_zxids().len();
        rig = Rig::on(disk, "healed");
        rig.tick();
        rig.settle();
        assert!(!rig.replica.rebase_is_durable());
        assert!(seen_on(&rig.disk).is_err(), "nothing was written, nothing is better");
        rig.rebase(longer.state_at(17));
        let mut out = Effects::default();
        assert!(rig.replica.abort_rebase(&mut out));
        rig.carry_out(out);
        rig.turn(|replica, _, out| replica.adopt(nothing(), out));
        rig.settle();
        assert!(!rig.replica.rebase_is_durable());
        rig.rebase(longer.state_at(17));
        rig.settle();
        assert!(rig.replica.rebase_is_durable());
        assert_eq!(rig.on_disk(), seen(&longer.state_at(17)));
        assert!(rig.set_aside >= files - 1, "{} of {files} set aside", rig.set_aside);
        return;
    }
    panic!("no flip was damage");
}

fn nothing() -> State {
    State::empty(crate::tree::OwnerRules { extended_types: true, ..Default::default() })
}
