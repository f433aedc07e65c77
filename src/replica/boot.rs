//! From what is on disk to a running replica: the newest whole snapshot, then every journal record after it.

use std::io::{self, Read};

use super::{Effects, Replica, Settings, hearing::Hearing, reaper::Reaper, snapshots, survey};
use crate::base::{Now, SessionId, Zxid};
use crate::codec::txn::{self, DIGEST_VERSION, Txn};
use crate::journal::{Damage, Journal, JournalPosition, Recovery, SegmentId};
use crate::mail::Changes;
use crate::session::{SessionIds, SessionTable};
use crate::snapshot;
use crate::tree::{OwnerRules, Tree, looks_like_ttl};

/// Where the driver keeps snapshots and segments; read once, before anything runs.
pub trait BootMedia {
    /// Complete snapshots, in any order.
    fn snapshots(&self) -> io::Result<Vec<Zxid>>;
    fn read_snapshot(&self, zxid: Zxid) -> io::Result<Box<dyn Read>>;
    /// Segment files, in any order.
    fn segments(&self) -> io::Result<Vec<SegmentId>>;
    /// Replaces what is in `bytes`, whose memory serves one segment after the other.
    fn read_segment(&self, segment: SegmentId, bytes: &mut Vec<u8>) -> io::Result<()>;
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
}

/// Rebuilds a replica from `media`, or starts an empty one if there is nothing.
///
/// `seed` decides the small draws (when snapshots are due). Errors: [`BootError`], each saying what to do.
pub fn boot(media: &dyn BootMedia, settings: Settings, seed: u64, now: Now) -> Result<Booted, BootError> {
    let io = |what: io::Error| BootError::Io(what.to_string());
    let rules = OwnerRules { extended_types: settings.rules.extended_types, ..OwnerRules::default() };
    let mut on_disk = media.snapshots().map_err(io)?;
    on_disk.sort();
    let mut segments = media.segments().map_err(io)?;
    segments.sort();
    let mut state = match newest_snapshot(media, rules, &on_disk, &settings)? {
        Some(state) => state,
        None => State::empty(rules, &settings),
    };
    let first_start = on_disk.is_empty();
    let mut recovery = Recovery::new(state.zxid, now.wall.0 as u64);
    let mut bytes = Vec::new();
    for segment in segments {
        media.read_segment(segment, &mut bytes).map_err(io)?;
        recovery.segment(segment, &bytes, |zxid, record| state.replay(zxid, record, now)).map_err(BootError::Damage)?;
    }
    drop(bytes);
    let position = recovery.finish().map_err(BootError::Damage)?;
    if !settings.rules.extended_types && state.tree.sessions_with_ephemerals().any(|owner| looks_like_ttl(owner.0)) {
        return Err(BootError::TtlNodesWithoutFeature);
    }
    let (replayed, torn) = (position.replayed, position.torn);
    let replica = assemble(state, position, settings, on_disk, seed, now);
    let mut booted = Booted { replica, effects: Effects::default(), replayed, torn };
    if first_start {
        // Not needed to start again (a journal from the first transaction on is the whole state), but by tools that
        // read a snapshot first.
        booted.replica.start_snapshot(now, &mut booted.effects);
    }
    booted.replica.write_next(now, &mut booted.effects);
    Ok(booted)
}

/// A server's state while it is being rebuilt.
struct State {
    tree: Tree,
    sessions: SessionTable,
    max_session: SessionId,
    zxid: Zxid,
}

impl State {
    fn empty(rules: OwnerRules, settings: &Settings) -> State {
        State {
            tree: Tree::new(rules),
            sessions: SessionTable::new(settings.tick_ms),
            max_session: SessionId::NONE,
            zxid: Zxid::ZERO,
        }
    }

    /// One journal record. What it says is checked against what it does: the digest it carries.
    fn replay(&mut self, zxid: Zxid, record: &[u8], now: Now) -> Result<(), String> {
        let entry = txn::decode(record).map_err(|what| what.to_string())?;
        let mut changes = Changes::new();
        self.tree
            .apply(&entry.header, &entry.txn, &mut changes)
            .map_err(|code| format!("it does not apply to the state before it ({code:?})"))?;
        match entry.txn {
            Txn::CreateSession { timeout_ms } => {
                self.max_session = self.max_session.max(entry.header.session);
                self.sessions.open(entry.header.session, timeout_ms, now.mono);
            }
            Txn::CloseSession { .. } => {
                self.sessions.close(entry.header.session);
            }
            _ => {}
        }
        match entry.digest {
            Some(digest) if digest.version == DIGEST_VERSION && digest.tree != self.tree.digest() => {
                Err(format!("the tree's digest is {}, the transaction promised {}", self.tree.digest(), digest.tree))
            }
            _ => {
                self.zxid = zxid;
                Ok(())
            }
        }
    }
}

/// The newest snapshot that can be read whole. Older ones are tried too: the journal behind them is longer.
fn newest_snapshot(
    media: &dyn BootMedia,
    rules: OwnerRules,
    on_disk: &[Zxid],
    settings: &Settings,
) -> Result<Option<State>, BootError> {
    let mut unusable = Vec::new();
    for zxid in on_disk.iter().rev() {
        let loaded = media
            .read_snapshot(*zxid)
            .map_err(|what| what.to_string())
            .and_then(|file| snapshot::load(file, rules).map_err(|what| what.to_string()));
        match loaded {
            Ok(loaded) if loaded.tree.digest() != loaded.digest => {
                tracing::error!(%zxid, "a snapshot's tree has another digest than the one it was taken of");
                unusable.push(format!("snapshot of {zxid}: its digest does not fit its znodes"));
            }
            Ok(loaded) => {
                let mut sessions = SessionTable::new(settings.tick_ms);
                for (session, timeout_ms) in loaded.sessions {
                    sessions.open(session, timeout_ms, Default::default());
                }
                return Ok(Some(State {
                    tree: loaded.tree,
                    sessions,
                    max_session: loaded.max_session,
                    zxid: loaded.zxid,
                }));
            }
            Err(what) => {
                tracing::error!(%zxid, what, "a snapshot cannot be used; trying the one before it");
                unusable.push(format!("snapshot of {zxid}: {what}"));
            }
        }
    }
    if unusable.is_empty() { Ok(None) } else { Err(BootError::NoUsableSnapshot(unusable)) }
}

fn assemble(
    state: State,
    position: JournalPosition,
    settings: Settings,
    on_disk: Vec<Zxid>,
    seed: u64,
    now: Now,
) -> Replica {
    let hearing = Hearing::new(2 * Replica::TICK_MS, settings.shard_count, now.mono);
    // Every session that was alive gets its whole timeout from now (parity SE-15).
    let mut sessions = SessionTable::new(settings.tick_ms);
    for (session, timeout_ms) in state.sessions.iter() {
        sessions.open(session, timeout_ms, hearing.now());
    }
    let floor = (state.max_session != SessionId::NONE).then_some(state.max_session);
    Replica {
        sessions,
        max_session: state.max_session,
        session_ids: SessionIds::new(now.wall.0, settings.server_id, floor),
        last_proposed: position.last_zxid,
        last_committed: position.last_zxid,
        journal: Journal::new(position, settings.segment_bytes),
        waiting: Default::default(),
        hearing,
        snapshots: snapshots::Snapshots::new(settings.snapshots.clone(), on_disk, seed, now.mono),
        reaper: Reaper::new(settings.reaper.clone(), now.mono),
        watch: survey::Watch::new(settings.shard_count, now),
        failed: false,
        tree: state.tree,
        settings,
    }
}
