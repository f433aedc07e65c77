//! From what is on disk to a running replica: the newest whole snapshot, then every journal record after it.

use std::collections::VecDeque;
use std::io::{self, Read};

use bytes::Bytes;

use super::ensemble::Ensemble;
use super::history::{Inventory, Rebuilt, State, owner_rules, rebuild};
use super::rebase::Remains;
use super::{
    Effects, EpochError, Epochs, PeerEffect, Replica, Settings, hearing::Hearing, judge_epochs, reaper::Reaper,
    snapshots, survey,
};
use crate::base::{Now, Zxid};
use crate::codec::Chunks;
use crate::journal::{Damage, DiskEffect, Journal, JournalPosition, SegmentId};
use crate::session::{LocalSessions, SessionIds, SessionTable};
use crate::tree::looks_like_ttl;

/// Where the driver keeps snapshots and segments; read before anything runs, and again when the disk must say
/// what a history was ([`reload`](super::reload), [`Stretch`](super::Stretch)).
pub trait BootMedia {
    /// Complete snapshots, in any order.
    fn snapshots(&self) -> io::Result<Vec<Zxid>>;
    /// From its start. Boots open each snapshot once more than they read one, for its header alone.
    fn read_snapshot(&self, zxid: Zxid) -> io::Result<Box<dyn Read>>;
    /// Segment files, in any order.
    fn segments(&self) -> io::Result<Vec<SegmentId>>;
    /// Replaces what is in `bytes`, whose memory serves one segment after the other.
    fn read_segment(&self, segment: SegmentId, bytes: &mut Vec<u8>) -> io::Result<()>;
    /// As [`BootMedia::read_segment`], at most `length` bytes from `offset` on; fewer at the file's end.
    fn read_segment_at(&self, segment: SegmentId, offset: u64, length: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.read_segment(segment, bytes)?;
        bytes.drain(..bytes.len().min(offset as usize));
        bytes.truncate(length);
        Ok(())
    }
    /// The epoch files of a member; a lone server has none.
    fn epochs(&self) -> io::Result<Epochs> {
        Ok(Epochs::default())
    }
}

/// A disk on which there is nothing yet.
pub struct NoMedia;

impl BootMedia for NoMedia {
    fn snapshots(&self) -> io::Result<Vec<Zxid>> {
        Ok(Vec::new())
    }

    fn read_snapshot(&self, _: Zxid) -> io::Result<Box<dyn Read>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn segments(&self) -> io::Result<Vec<SegmentId>> {
        Ok(Vec::new())
    }

    fn read_segment(&self, _: SegmentId, _: &mut Vec<u8>) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Why a server cannot start from its data.
#[derive(Debug)]
pub enum BootError {
    Io(String),
    Damage(Damage),
    /// No snapshot could be read, though there are some.
    NoUsableSnapshot(Vec<String>),
    /// TTL nodes exist while the feature is off: they would be taken for ephemerals and deleted (UB-17).
    TtlNodesWithoutFeature,
    Epochs(EpochError),
    /// No transaction and no snapshot on this disk has exactly the zxid asked for; `last` is the one before it.
    NotInHistory {
        wanted: Zxid,
        last: Zxid,
    },
}

impl BootError {
    pub(super) fn io(what: io::Error) -> BootError {
        BootError::Io(what.to_string())
    }
}

impl std::fmt::Display for BootError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BootError::Io(what) => write!(f, "the data directory cannot be read: {what}"),
            BootError::Damage(damage) => write!(f, "the journal is damaged: {damage}"),
            BootError::NoUsableSnapshot(why) => write!(
                f,
                "no snapshot can be read ({}); restore one from a backup, nothing was changed",
                why.join("; ")
            ),
            BootError::TtlNodesWithoutFeature => f.write_str(
                "there are TTL nodes but extendedTypesEnabled=false: they would be deleted as ephemerals of a dead \
                 session; set extendedTypesEnabled=true",
            ),
            BootError::Epochs(error) => error.fmt(f),
            BootError::NotInHistory { wanted, last } => {
                write!(f, "this server's history has no zxid {wanted}; the last before it is {last}")
            }
        }
    }
}

impl std::error::Error for BootError {}

/// A replica that has read its data, and what its driver must know to go on.
pub struct Booted {
    pub replica: Replica,
    /// To be carried out before anything else.
    pub effects: Effects,
    /// Transactions replayed behind the snapshot.
    pub replayed: u64,
    /// Where a write that was never acknowledged was cut off.
    pub torn: Option<(SegmentId, u64)>,
    /// With [`Settings::heal_from_peers`]: why the data cannot be read. The replica is empty, writes nothing, and
    /// must not vote with this "history"; [`Replica::rebase`] gives it one, and sets the unreadable files aside.
    pub damaged: Option<String>,
}

/// Rebuilds a replica from `media`, or starts an empty one if there is nothing.
///
/// `seed` decides the small draws (when snapshots are due). Errors: [`BootError`], each saying what to do.
pub fn boot(media: &dyn BootMedia, settings: Settings, seed: u64, now: Now) -> Result<Booted, BootError> {
    let rules = owner_rules(&settings);
    let fresh_journal = now.wall.0 as u64;
    let inventory = Inventory::take(media)?;
    let mut recent = Recent::new(settings.commit_log_count);
    let rebuilt = rebuild(media, &inventory, rules, None, fresh_journal, |zxid, record| recent.push(zxid, record));
    let (Rebuilt { state, position }, damaged) = match rebuilt {
        Ok(rebuilt) => (rebuilt, None),
        Err(error @ (BootError::Damage(_) | BootError::NoUsableSnapshot(_))) if settings.heal_from_peers => {
            recent = Recent::new(0);
            let position = beyond(&inventory, fresh_journal);
            (Rebuilt { state: State::empty(rules), position }, Some(error.to_string()))
        }
        Err(error) => return Err(error),
    };
    if !settings.rules.extended_types && state.tree.sessions_with_ephemerals().any(|owner| looks_like_ttl(owner.0)) {
        return Err(BootError::TtlNodesWithoutFeature);
    }
    let (replayed, torn, vouched_epoch) = (position.replayed, position.torn, inventory.epoch);
    let first_start = inventory.snapshots.is_empty();
    let mut effects = Effects::default();
    let mut kept = inventory.snapshots;
    let mut remains = None;
    if damaged.is_some() {
        kept.extend(inventory.superfluous);
        remains = Some(Remains { segments: inventory.segments, snapshots: std::mem::take(&mut kept) });
    } else {
        // The history that replaced theirs is on disk: this is the rest of what the last run had begun.
        effects.disk.extend(inventory.superfluous.into_iter().map(DiskEffect::DeleteSnapshot));
    }
    let replica = assemble(state, position, settings, kept, remains, seed, now);
    let mut booted = Booted { replica, effects, replayed, torn, damaged };
    booted.join_ensemble(media, vouched_epoch, recent.records.into(), seed, now)?;
    if booted.damaged.is_some() {
        booted.replica.journal.restart(Zxid::ZERO);
    } else if first_start && !booted.replica.is_dataless() {
        // Not needed to start again (a journal from the first transaction on is the whole state), but by tools that
        // read a snapshot first. Nor may a disk that lost its data look, at the next start, as if it never had any.
        booted.replica.start_snapshot(now, &mut booted.effects);
    }
    booted.replica.write_next(now, &mut booted.effects);
    Ok(booted)
}

impl Booted {
    /// A member votes with its epochs and remembers the end of its journal for learners that lack it.
    fn join_ensemble(
        &mut self,
        media: &dyn BootMedia,
        vouched_epoch: i64,
        recent: Vec<(Zxid, Bytes)>,
        seed: u64,
        now: Now,
    ) -> Result<(), BootError> {
        let Some(settings) = self.replica.settings.ensemble.clone() else { return Ok(()) };
        let last = self.replica.last_proposed;
        let judged =
            judge_epochs(&media.epochs().map_err(BootError::io)?, vouched_epoch, last).map_err(BootError::Epochs)?;
        let is_empty = last == Zxid::ZERO && media.snapshots().map_err(BootError::io)?.is_empty();
        let dataless = self.damaged.is_some() || (is_empty && !settings.trust_empty);
        let mut ensemble =
            Ensemble::new(settings, (judged.accepted, judged.current), last, recent, dataless, seed, now);
        for (file, epoch) in judged.write {
            ensemble.await_epoch();
            self.effects.peer.push(PeerEffect::WriteEpoch { file, epoch });
        }
        self.replica.ensemble = Some(Box::new(ensemble));
        self.replica.show_membership(now);
        Ok(())
    }
}

/// A journal whose first segment is none of those on disk, and above every floor there.
fn beyond(inventory: &Inventory, journal: u64) -> JournalPosition {
    let last = inventory.segments.last().copied().unwrap_or_default().max(inventory.floor);
    JournalPosition {
        next_segment: SegmentId(last.0 + 1),
        floor: inventory.floor,
        ..JournalPosition::fresh(journal.max(1), Zxid::ZERO)
    }
}

/// The end of the journal, as much of it as may be kept in memory.
struct Recent {
    count_max: usize,
    bytes: usize,
    records: VecDeque<(Zxid, Bytes)>,
}

/// Java bounds only the count, and that by default at 500.
const RECENT_BYTES_MAX: usize = 32 << 20;

impl Recent {
    fn new(count_max: usize) -> Recent {
        Recent { count_max, bytes: 0, records: VecDeque::new() }
    }

    fn push(&mut self, zxid: Zxid, record: &[u8]) {
        if self.count_max == 0 {
            return;
        }
        self.bytes += record.len();
        self.records.push_back((zxid, Bytes::copy_from_slice(record)));
        while self.records.len() > self.count_max || self.bytes > RECENT_BYTES_MAX {
            let (_, oldest) = self.records.pop_front().expect("there is more than nothing");
            self.bytes -= oldest.len();
        }
    }
}

fn assemble(
    state: State,
    position: JournalPosition,
    settings: Settings,
    kept: Vec<Zxid>,
    remains: Option<Remains>,
    seed: u64,
    now: Now,
) -> Replica {
    let hearing = Hearing::new(2 * Replica::TICK_MS, settings.shard_count, now.mono);
    // Every session that was alive gets its whole timeout from now (parity SE-15).
    let mut sessions = SessionTable::new(settings.tick_ms);
    for (session, timeout_ms) in &state.sessions {
        sessions.open(*session, *timeout_ms, hearing.now());
    }
    Replica {
        sessions,
        local: LocalSessions::new(settings.tick_ms),
        session_ids: SessionIds::new(now.wall.0, settings.server_id, &state.highest_ids),
        last_proposed: position.last_zxid,
        last_committed: position.last_zxid,
        last_released: position.last_zxid,
        journal: Journal::new(position, settings.segment_bytes),
        waiting: Default::default(),
        records: Chunks::default(),
        proposals: Vec::new(),
        ensemble: None,
        hearing,
        snapshots: snapshots::Snapshots::new(settings.snapshots.clone(), kept, seed, now.mono),
        rebase: None,
        remains,
        reaper: Reaper::new(settings.reaper.clone(), now.mono),
        watch: survey::Watch::new(settings.shard_count, now),
        settled: false,
        failed: false,
        tree: state.tree,
        settings,
    }
}
