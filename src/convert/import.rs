//! Apache's directory becomes ours: newest good snapshot, logs replayed over it, one exact snapshot written.

use super::apache_snapshot::{self, ApacheSnapshot};
use super::{ConvertError, Progress, Report, apache_log, files};
use crate::base::{SessionId, WallMs, Zxid};
use crate::codec::txn::{DIGEST_VERSION, Entry, Txn};
use crate::journal::SegmentId;
use crate::snapshot::{self, SnapshotHead, SnapshotWriter};
use crate::tree::{Change, OwnerRules, Tree};
use std::path::{Path, PathBuf};

/// What an operator may say about an import.
#[derive(Clone, Copy, Debug)]
pub struct ImportOptions {
    /// How owners are read. Extended types are on unless told otherwise: with them off a TTL node is refused.
    pub rules: OwnerRules,
    /// Go on when the tree's digest is not the one Apache computed. Such a tree differs from Apache's.
    pub ignore_digest: bool,
    /// Logs without a snapshot are replayed over the empty tree (`snapshot.trust.empty`).
    pub trust_empty: bool,
}

impl Default for ImportOptions {
    fn default() -> ImportOptions {
        ImportOptions {
            rules: OwnerRules { extended_types: true, emulate_353: false },
            ignore_digest: false,
            trust_empty: false,
        }
    }
}

/// Imports `apache_dir` (a dataDir or its `version-2`; logs from `apache_log_dir` if they lie elsewhere) into
/// `data_dir`, which must not hold data yet. `data_log_dir` is where the server will keep its journal, if that is
/// elsewhere. `say` gets a line every two seconds.
///
/// Errors: [`ConvertError`]; nothing was written then.
pub fn import(
    apache_dir: &Path,
    apache_log_dir: Option<&Path>,
    data_dir: &Path,
    data_log_dir: Option<&Path>,
    options: &ImportOptions,
    say: &mut dyn FnMut(&str),
) -> Result<Report, ConvertError> {
    let progress = &mut Progress::new(say);
    let ours = data_dir.join(files::OURS);
    refuse_if_used(&ours, &data_log_dir.unwrap_or(data_dir).join(files::OURS))?;
    let snapshots = files::apache_files(&files::apache_dir(apache_dir), "snapshot")?;
    let log_dir = files::apache_dir(apache_log_dir.unwrap_or(apache_dir));
    let logs = files::apache_files(&log_dir, "log")?;
    let mut notes = Vec::new();
    let found = newest(&snapshots, options, progress, &mut notes)?;
    let (snapshot_zxid, source, snapshot) = match found {
        Some(found) => found,
        None if logs.is_empty() => {
            return Err(ConvertError::Refused(format!("{}: neither snapshots nor logs", apache_dir.display())));
        }
        None if !options.trust_empty => {
            return Err(ConvertError::Refused(format!(
                "{}: there are logs but no snapshot they could continue",
                apache_dir.display()
            )));
        }
        None => {
            let tree = Tree::new(options.rules);
            (Zxid::ZERO, log_dir, ApacheSnapshot { tree, sessions: Default::default(), digest: None })
        }
    };
    let mut state = State::new(snapshot_zxid, snapshot, options.ignore_digest);
    state.compare_if_exact(snapshot_zxid).map_err(ConvertError::Refused)?;
    let replayed = apache_log::replay(&logs, snapshot_zxid, |entry| {
        progress.step(|| format!("replayed up to zxid {}", entry.header.zxid));
        state.apply(entry)
    })?;
    notes.extend(replayed.notes);
    notes.append(&mut state.notes);
    if let Some((zxid, _)) = state.awaited {
        notes.push(format!("the logs end before zxid {zxid}, up to which the snapshot may hold changes"));
        if !options.ignore_digest {
            return Err(ConvertError::Refused(format!(
                "{}: taken while zxid {zxid} was applied, but the logs end at {}: its state is of no one moment; \
                 copy the missing logs too",
                source.display(),
                replayed.last_zxid
            )));
        }
    }
    let written = state.write(&ours, replayed.last_zxid, progress)?;
    Ok(Report {
        source_snapshot: source,
        snapshot_zxid,
        replayed: replayed.count,
        last_zxid: replayed.last_zxid,
        znodes: state.tree.znode_count(),
        sessions: state.sessions.len(),
        digest: state.tree.digest(),
        written,
        notes,
    })
}

fn refuse_if_used(snapshots: &Path, journal: &Path) -> Result<(), ConvertError> {
    let has_snapshots = files::names(snapshots)?.iter().any(|name| snapshot::zxid_of_file_name(name).is_some());
    let has_journal = files::names(journal)?.iter().any(|name| SegmentId::from_file_name(name).is_some());
    for (used, dir) in [(has_snapshots, snapshots), (has_journal, journal)] {
        if used {
            return Err(ConvertError::Refused(format!(
                "{} holds data already: import into an empty data directory",
                dir.display()
            )));
        }
    }
    Ok(())
}

type Found = (Zxid, PathBuf, ApacheSnapshot);

/// The newest snapshot that reads well. A crash leaves half of one, so an older one will do: whether the logs
/// continue it is checked when they are read.
fn newest(
    snapshots: &[(i64, PathBuf)],
    options: &ImportOptions,
    progress: &mut Progress,
    notes: &mut Vec<String>,
) -> Result<Option<Found>, ConvertError> {
    for (zxid, path) in snapshots.iter().rev() {
        match apache_snapshot::read(path, options.rules, progress) {
            Ok(snapshot) => return Ok(Some((Zxid(*zxid), path.clone(), snapshot))),
            Err(error) => notes.push(format!("{error}; trying an older snapshot")),
        }
    }
    match snapshots.is_empty() {
        true => Ok(None),
        false => Err(ConvertError::Refused(format!("no snapshot is readable:\n  {}", notes.join("\n  ")))),
    }
}

struct State {
    tree: Tree,
    sessions: std::collections::BTreeMap<SessionId, i32>,
    max_session: SessionId,
    last_time: WallMs,
    /// The zxid the fuzzy snapshot may reach to, with the digest there; until then no digest means anything.
    awaited: Option<(Zxid, i64)>,
    /// There was one, so the tree is exact once it is not awaited any more.
    is_comparable: bool,
    ignore_digest: bool,
    notes: Vec<String>,
}

impl State {
    fn new(zxid: Zxid, snapshot: ApacheSnapshot, ignore_digest: bool) -> State {
        // ZK: a digest of an earlier zxid than the file's name says nothing.
        let awaited = snapshot.digest.filter(|(at, _)| at.0 > 0 && *at >= zxid);
        State {
            max_session: snapshot.sessions.keys().copied().max().unwrap_or(SessionId::NONE),
            tree: snapshot.tree,
            sessions: snapshot.sessions,
            last_time: WallMs(0),
            awaited,
            is_comparable: awaited.is_some(),
            ignore_digest,
            notes: Vec::new(),
        }
    }

    fn apply(&mut self, entry: &Entry<'_>) -> Result<(), String> {
        let mut changes = Default::default();
        // NoNode and NodeExists are how a snapshot shows that it was ahead of its log.
        let _ = self.tree.apply(&entry.header, &entry.txn, &mut changes);
        for change in changes {
            match change {
                Change::SessionOpened { session, timeout_ms } => {
                    self.sessions.insert(session, timeout_ms);
                }
                Change::SessionClosed { session } => {
                    self.sessions.remove(&session);
                }
                _ => {}
            }
        }
        if matches!(entry.txn, Txn::CreateSession { .. }) {
            self.max_session = self.max_session.max(entry.header.session);
        }
        self.last_time = self.last_time.max(entry.header.time);
        let was_exact = self.is_comparable && self.awaited.is_none();
        self.compare_if_exact(entry.header.zxid)?;
        match entry.digest {
            Some(digest) if was_exact && digest.version == DIGEST_VERSION => self.compare(digest.tree),
            _ => Ok(()),
        }
    }

    /// Compares with the snapshot's digest when `zxid` is the one it was taken at.
    fn compare_if_exact(&mut self, zxid: Zxid) -> Result<(), String> {
        match self.awaited {
            Some((at, digest)) if at == zxid => {
                self.awaited = None;
                self.compare(digest)
            }
            _ => Ok(()),
        }
    }

    fn compare(&mut self, expected: i64) -> Result<(), String> {
        let digest = self.tree.digest();
        if digest == expected {
            return Ok(());
        }
        let what = format!("the tree's digest is {digest:x}, Apache's was {expected:x}");
        if !self.ignore_digest {
            return Err(what);
        }
        if self.is_comparable {
            self.notes.push(format!("{what}; digests are not compared any further"));
            self.is_comparable = false;
        }
        Ok(())
    }

    fn write(&mut self, dir: &Path, zxid: Zxid, progress: &mut Progress) -> Result<PathBuf, ConvertError> {
        files::create_dir(dir)?;
        let _lock = files::lock(dir)?;
        let head = SnapshotHead {
            zxid,
            wall: self.last_time,
            digest: self.tree.digest(),
            max_session: self.max_session,
            floor: SegmentId(0),
            journal: 0,
            epoch: 0,
        };
        let sessions = self.sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms));
        let mut writer = SnapshotWriter::begin(&head, sessions, self.tree.acls());
        let mut file = files::NewFile::create(dir, &snapshot::file_name(zxid))?;
        self.tree.snapshot_begin();
        while self.tree.snapshot_next(1024, &mut |node| writer.node(node)) {
            if writer.is_chunk_full() {
                file.write(&writer.take())?;
            }
            progress.step(|| format!("wrote {} znodes", writer.node_count()));
        }
        file.write(&writer.finish())?;
        file.finish()
    }
}
