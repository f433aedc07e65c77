//! What the disk holds: which history counts, and its state at some zxid.
//!
//! A disk may hold files of more than one history: a member's history is replaced by publishing a snapshot whose
//! floor hides the journal before it ([`rebase`](super::rebase)), and the files of the one before are deleted
//! later, in any order. So the first question is always the [`Inventory`]: the highest floor of any snapshot
//! decides; what has a lower one is superfluous, never damage.

use std::collections::BTreeMap;
use std::io;

use super::{BootError, BootMedia, Settings, ahead::Ahead};
use crate::base::{SessionId, Zxid, limits};
use crate::codec::txn::{self, DIGEST_VERSION, Txn};
use crate::journal::{self, JournalPosition, Recovery, SegmentId, Walk};
use crate::mail::Changes;
use crate::session::HighestIds;
use crate::snapshot::{self, Loaded, SnapshotError};
use crate::tree::{OwnerRules, Tree};

/// A server's state at one zxid.
pub struct State {
    pub tree: Tree,
    /// With their timeouts in milliseconds.
    pub sessions: BTreeMap<SessionId, i32>,
    /// Also of sessions that have ended since.
    pub highest_ids: HighestIds,
    pub zxid: Zxid,
}

impl From<Loaded> for State {
    fn from(loaded: Loaded) -> State {
        let mut highest_ids = HighestIds::default();
        highest_ids.note(loaded.max_session);
        loaded.sessions.iter().for_each(|(session, _)| highest_ids.note(*session));
        State { tree: loaded.tree, sessions: loaded.sessions.into_iter().collect(), highest_ids, zxid: loaded.zxid }
    }
}

impl State {
    /// That of a server that has never heard of anything.
    pub fn empty(rules: OwnerRules) -> State {
        State {
            tree: Tree::new(rules),
            sessions: BTreeMap::new(),
            highest_ids: HighestIds::default(),
            zxid: Zxid::ZERO,
        }
    }

    /// One journal record. What it says is checked against what it does: the digest it carries.
    fn replay(&mut self, zxid: Zxid, record: &[u8]) -> Result<(), String> {
        let entry = txn::decode(record).map_err(|what| what.to_string())?;
        let mut changes = Changes::new();
        self.tree
            .apply(&entry.header, &entry.txn, &mut changes)
            .map_err(|code| format!("it does not apply to the state before it ({code:?})"))?;
        match entry.txn {
            Txn::CreateSession { timeout_ms } => {
                self.highest_ids.note(entry.header.session);
                self.sessions.insert(entry.header.session, timeout_ms);
            }
            Txn::CloseSession { .. } => {
                self.sessions.remove(&entry.header.session);
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

/// How the settings read a znode's owner.
pub(super) fn owner_rules(settings: &Settings) -> OwnerRules {
    OwnerRules { extended_types: settings.rules.extended_types, ..OwnerRules::default() }
}

/// The files on disk, sorted by what they are good for.
pub(super) struct Inventory {
    pub floor: SegmentId,
    /// Oldest first: those of the history that counts, and those whose header cannot be read.
    pub snapshots: Vec<Zxid>,
    /// Snapshots of histories that have been replaced.
    pub superfluous: Vec<Zxid>,
    /// All of them, oldest first.
    pub segments: Vec<SegmentId>,
    /// The highest epoch that a snapshot of this history vouches for.
    pub epoch: i64,
}

impl Inventory {
    pub fn take(media: &dyn BootMedia) -> Result<Inventory, BootError> {
        let mut segments = media.segments().map_err(BootError::io)?;
        segments.sort();
        let mut on_disk = media.snapshots().map_err(BootError::io)?;
        on_disk.sort();
        let mut heads = Vec::new();
        for zxid in on_disk {
            let read = media.read_snapshot(zxid).map_err(SnapshotError::Io).and_then(snapshot::read_head);
            match read {
                Ok(head) => heads.push((zxid, Some(head))),
                Err(SnapshotError::Bad { .. }) => heads.push((zxid, None)),
                // Of a running server: deleted since.
                Err(SnapshotError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                // It may be readable again tomorrow, and say that it is all that counts.
                Err(error) => return Err(BootError::Io(format!("{}: {error}", snapshot::file_name(zxid)))),
            }
        }
        let floor = heads.iter().filter_map(|(_, head)| head.map(|head| head.floor)).max().unwrap_or_default();
        let (ours, superfluous): (Vec<_>, Vec<_>) =
            heads.into_iter().partition(|(_, head)| head.is_none_or(|head| head.floor == floor));
        Ok(Inventory {
            floor,
            epoch: ours.iter().filter_map(|(_, head)| head.map(|head| head.epoch)).max().unwrap_or(0),
            snapshots: ours.iter().map(|(zxid, _)| *zxid).collect(),
            superfluous: superfluous.into_iter().map(|(zxid, _)| zxid).collect(),
            segments,
        })
    }
}

/// A state, and where the journal stands that leads to it.
pub(super) struct Rebuilt {
    pub state: State,
    pub position: JournalPosition,
}

/// The newest snapshot that can be read whole and does not lie behind `through`, then every record up to
/// `through` (`None`: to the end), each shown to `on_record` as it stands in the journal.
///
/// `fresh_journal` is the identity to take if there is no journal yet.
pub(super) fn rebuild(
    media: &dyn BootMedia,
    inventory: &Inventory,
    rules: OwnerRules,
    through: Option<Zxid>,
    fresh_journal: u64,
    mut on_record: impl FnMut(Zxid, &[u8]),
) -> Result<Rebuilt, BootError> {
    let last = through.unwrap_or(Zxid(i64::MAX));
    let usable = &inventory.snapshots[..inventory.snapshots.partition_point(|zxid| *zxid <= last)];
    let (mut state, journal) = match newest_snapshot(media, rules, usable, &inventory.segments)? {
        Some(found) => found,
        // A history that replaced another starts with its first snapshot, not with nothing.
        None if inventory.floor > SegmentId(0) => {
            return Err(BootError::NotInHistory { wanted: last, last: Zxid::ZERO });
        }
        None => (State::empty(rules), 0),
    };
    let mut recovery = Recovery::of_history(state.zxid, inventory.floor, journal, fresh_journal.max(1));
    let covered = covered(media, inventory, state.zxid, journal);
    covered.iter().for_each(|(segment, through)| recovery.covered(*segment, *through));
    let mut bytes = Vec::new();
    let read = &inventory.segments[covered.len()..];
    for (number, segment) in read.iter().enumerate() {
        match media.read_segment(*segment, &mut bytes) {
            Ok(()) => {}
            // Of a running server: deleted or made into another since. It had nothing of this history.
            Err(error) if through.is_some() && error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(BootError::io(error)),
        }
        // The next ones are likely to be like this one.
        state.tree.expect(births_in(*segment, &bytes) * (read.len() - number));
        let mut ahead = Ahead::new(&bytes, journal::glance(*segment, &bytes));
        let replay = |zxid, record: &[u8]| {
            if zxid > last {
                return Ok(());
            }
            ahead.at(record, &state.tree);
            state.replay(zxid, record)?;
            on_record(zxid, record);
            Ok(())
        };
        recovery.segment(*segment, &bytes, replay).map_err(BootError::Damage)?;
    }
    state.tree.expect_no_more();
    let position = recovery.finish().map_err(BootError::Damage)?;
    Ok(Rebuilt { state, position })
}

/// The segments, oldest first, that need not be read because a later one begins with something the snapshot has: with
/// many of them kept, a start would take as long as it takes to read them all. Each with a zxid that it holds nothing
/// newer than. None if a file of another journal is among them: the reading that follows names it.
fn covered(media: &dyn BootMedia, inventory: &Inventory, snapshot: Zxid, journal: u64) -> Vec<(SegmentId, Zxid)> {
    let mut read = |segment, offset, bytes, into: &mut Vec<u8>| media.read_segment_at(segment, offset, bytes, into);
    // The names of the newest may have been given to files that are still empty, or full of another segment's past.
    let mut through = None;
    let mut covered = Vec::new();
    for segment in inventory.segments.iter().rev() {
        covered.extend(through.map(|through| (*segment, through)));
        match Walk::new(journal, vec![*segment]).next(&mut read) {
            Ok(Some(batch)) if batch.starts_after() <= snapshot => through = Some(batch.starts_after()),
            Ok(None) if *segment >= inventory.floor && is_foreign(media, *segment, journal) => return Vec::new(),
            _ => {}
        }
    }
    covered.reverse();
    covered
}

/// Whether a file says itself that it is this segment, of another journal.
fn is_foreign(media: &dyn BootMedia, segment: SegmentId, journal: u64) -> bool {
    let mut front = Vec::new();
    media.read_segment_at(segment, 0, limits::BLOCK_BYTES, &mut front).is_ok()
        && journal::identity_in(segment, &front).is_some_and(|identity| identity != journal)
}

/// About how many znodes a segment makes if it goes on as it begins.
fn births_in(segment: SegmentId, bytes: &[u8]) -> usize {
    let front = &bytes[..bytes.len().min(limits::BATCH_BYTES_MAX)];
    let births: i64 = journal::glance(segment, front).map(txn::births).sum();
    usize::try_from(births).unwrap_or(0) * (bytes.len() / front.len().max(1))
}

/// About how many znodes the journal makes behind a snapshot, by a look at its newest segment that holds anything.
fn births_behind(media: &dyn BootMedia, segments: &[SegmentId], snapshot: Zxid) -> usize {
    let mut bytes = Vec::new();
    for segment in segments.iter().rev() {
        if media.read_segment_at(*segment, 0, limits::BATCH_BYTES_MAX, &mut bytes).is_err() {
            continue;
        }
        let mut records = journal::glance(*segment, &bytes).peekable();
        let Some(first) = records.peek().and_then(|record| journal::record_zxid(record)) else { continue };
        let (count, births) = records.fold((0, 0), |(count, births), record| (count + 1, births + txn::births(record)));
        // Zxids are counted within an epoch; how many there were in those between is not known.
        let since = if first.epoch() == snapshot.epoch() { snapshot.counter() } else { 0 };
        let behind = i64::from(first.counter()) - i64::from(since);
        return usize::try_from(behind * births / count).unwrap_or(0);
    }
    0
}

/// The newest snapshot that can be read whole, and the journal it names. Older ones are tried too: the journal
/// behind them is longer.
fn newest_snapshot(
    media: &dyn BootMedia,
    rules: OwnerRules,
    usable: &[Zxid],
    segments: &[SegmentId],
) -> Result<Option<(State, u64)>, BootError> {
    let mut unusable = Vec::new();
    for zxid in usable.iter().rev() {
        let loaded = media.read_snapshot(*zxid).map_err(|what| what.to_string()).and_then(|file| {
            let births = births_behind(media, segments, *zxid);
            snapshot::load(file, rules, births).map_err(|what| what.to_string())
        });
        match loaded {
            Ok(loaded) if loaded.tree.digest() != loaded.digest => {
                tracing::error!(%zxid, "a snapshot's tree has another digest than the one it was taken of");
                unusable.push(format!("snapshot of {zxid}: its digest does not fit its znodes"));
            }
            Ok(loaded) => {
                let journal = loaded.journal;
                return Ok(Some((loaded.into(), journal)));
            }
            Err(what) => {
                tracing::error!(%zxid, what, "a snapshot cannot be used; trying the one before it");
                unusable.push(format!("snapshot of {zxid}: {what}"));
            }
        }
    }
    if unusable.is_empty() { Ok(None) } else { Err(BootError::NoUsableSnapshot(unusable)) }
}

/// The state at exactly `through`, from a disk nothing is on its way to (the server's own, its journal idle).
///
/// Errors: [`BootError`]; [`BootError::NotInHistory`] if no transaction or snapshot here has that zxid.
pub fn reload(media: &dyn BootMedia, settings: &Settings, through: Zxid) -> Result<State, BootError> {
    let inventory = Inventory::take(media)?;
    let state = rebuild(media, &inventory, owner_rules(settings), Some(through), 1, |_, _| {})?.state;
    match state.zxid == through {
        true => Ok(state),
        false => Err(BootError::NotInHistory { wanted: through, last: state.zxid }),
    }
}

/// The last state at or below `bound`, from a disk nothing is on its way to.
///
/// Errors: [`BootError`], also if what is left of the disk's history begins above `bound`.
pub(super) fn reload_below(media: &dyn BootMedia, settings: &Settings, bound: Zxid) -> Result<State, BootError> {
    let inventory = Inventory::take(media)?;
    Ok(rebuild(media, &inventory, owner_rules(settings), Some(bound), 1, |_, _| {})?.state)
}

#[cfg(test)]
mod tests {
    use super::super::stretch_tests::Disk;
    use super::*;
    use crate::base::WallMs;
    use crate::journal::written::Written;
    use crate::session::SessionIds;

    /// What a start makes of a journal behind a snapshot: the zxids replayed, and how many files were not read.
    fn start(disk: &Disk, snapshot: Zxid) -> (Vec<i64>, usize) {
        let inventory = Inventory::take(disk).unwrap();
        let segments = &inventory.segments;
        let journal = disk.0.journal.identity();
        let covered = covered(disk, &inventory, snapshot, journal);
        let mut recovery = Recovery::of_history(snapshot, SegmentId(0), journal, 1);
        covered.iter().for_each(|(segment, through)| recovery.covered(*segment, *through));
        let mut replayed = Vec::new();
        for segment in &segments[covered.len()..] {
            let replay = |zxid: Zxid, _: &[u8]| {
                replayed.push(zxid.0);
                Ok(())
            };
            recovery.segment(*segment, &disk.0.files[segment], replay).unwrap();
        }
        let position = recovery.finish().unwrap();
        let known = disk.0.journal.segments();
        assert!(position.segments.iter().map(|segment| segment.id).eq(known.map(|segment| segment.id)));
        (replayed, covered.len())
    }

    #[test]
    fn only_the_segments_that_lead_on_from_the_snapshot_are_read() {
        let mut disk = Disk::with(Zxid(0), 1..=60);
        for snapshot in 0..=60 {
            assert_eq!(start(&disk, Zxid(snapshot)).0, (snapshot + 1..=60).collect::<Vec<_>>());
        }
        let (_, skipped) = start(&disk, Zxid(60));
        assert!(skipped > 2 && start(&disk, Zxid(0)).1 == 0);
        // Nobody needs what a covered file holds; one whose beginning is bad cannot be where the reading starts.
        let segments: Vec<SegmentId> = disk.0.files.keys().copied().collect();
        disk.0.files.get_mut(&segments[0]).unwrap()[4096 + 100] ^= 1;
        assert_eq!(start(&disk, Zxid(60)), (vec![], skipped));
        disk.0.files.get_mut(&segments[skipped]).unwrap().fill(0);
        let inventory = Inventory::take(&disk).unwrap();
        let journal = disk.0.journal.identity();
        assert_eq!(covered(&disk, &inventory, Zxid(60), journal).len(), skipped - 1);
        // A file that belongs to another journal is no reason to read less: it is refused.
        assert_eq!(covered(&disk, &inventory, Zxid(60), journal + 1), []);
        let mut other = Disk(Written::with_identity(journal + 1, Zxid(0), 16 << 10));
        other.0.flush();
        disk.0.files.insert(segments[0], other.0.files[&segments[0]].clone());
        assert_eq!(covered(&disk, &inventory, Zxid(60), journal), []);
    }

    /// A snapshot of this server's own names the highest id it gave; one that came from a leader only those that live.
    #[test]
    fn ids_go_on_above_all_that_a_snapshot_tells_of() {
        let loaded = |max_session, sessions| Loaded {
            tree: Tree::new(OwnerRules::default()),
            sessions,
            zxid: Zxid(1),
            max_session,
            digest: 0,
            wall: WallMs(1),
            floor: SegmentId::default(),
            journal: 0,
        };
        let last = |loaded: Loaded| SessionIds::new(0, 0, &State::from(loaded).highest_ids).last();
        assert_eq!(last(loaded(SessionId::NONE, vec![(SessionId(3), 100), (SessionId(7), 100)])), SessionId(7));
        assert_eq!(last(loaded(SessionId(9), vec![(SessionId(7), 100)])), SessionId(9));
        assert_eq!(last(loaded(SessionId::NONE, Vec::new())), SessionId::NONE);
    }
}
