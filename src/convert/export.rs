//! Our directory becomes Apache's: snapshot and journal are read, one exact snapshot is written, no log is needed.

use super::{ConvertError, Progress, Report, apache_snapshot, files, io_error};
use crate::base::{SessionId, Zxid};
use crate::codec::txn;
use crate::journal::{Recovery, SegmentId};
use crate::snapshot::{self, Loaded, SnapshotError};
use crate::tree::{Change, OwnerRules, Tree};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Exports `data_dir` (with its journal in `data_log_dir`, if that is elsewhere) to `apache_dir/version-2`, which
/// must not hold data yet. The server must be stopped. `say` gets a line every two seconds.
///
/// Errors: [`ConvertError`]; nothing was written then.
pub fn export(
    data_dir: &Path,
    data_log_dir: Option<&Path>,
    apache_dir: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<Report, ConvertError> {
    let progress = &mut Progress::new(say);
    let ours = data_dir.join(files::OURS);
    let target = apache_dir.join(files::APACHE);
    for kind in ["snapshot", "log"] {
        if let Some((_, path)) = files::apache_files(&target, kind)?.first() {
            return Err(ConvertError::Refused(format!(
                "{} is there already: export to an empty directory",
                path.display()
            )));
        }
    }
    if !ours.is_dir() {
        return Err(ConvertError::Refused(format!("{}: no data of ringkeeper's", data_dir.display())));
    }
    let _lock = files::lock(&ours)?;
    let mut notes = Vec::new();
    let (source, loaded) = newest(&ours, &mut notes)?;
    let snapshot_zxid = loaded.zxid;
    let (mut tree, mut sessions) = (loaded.tree, loaded.sessions.into_iter().collect::<BTreeMap<_, _>>());
    if tree.digest() != loaded.digest {
        return Err(ConvertError::Bad {
            path: source,
            offset: 0,
            what: format!("the tree's digest is {:x}, the snapshot says {:x}", tree.digest(), loaded.digest),
        });
    }
    let journal_dir = data_log_dir.unwrap_or(data_dir).join(files::OURS);
    let mut recovery = Recovery::new(snapshot_zxid, 0);
    for (id, path) in segments(&journal_dir)? {
        let bytes = std::fs::read(&path).map_err(io_error(&path))?;
        recovery
            .segment(id, &bytes, |zxid, body| {
                progress.step(|| format!("replayed up to zxid {zxid}"));
                apply(&mut tree, &mut sessions, body)
            })
            .map_err(|damage| damaged(&journal_dir, damage))?;
    }
    let position = recovery.finish().map_err(|damage| damaged(&journal_dir, damage))?;
    if let Some((segment, offset)) = position.torn {
        notes.push(format!("{} ends in a torn batch at offset {offset}, left out", segment.file_name()));
    }
    files::create_dir(&target)?;
    let mut file = files::NewFile::create(&target, &format!("snapshot.{:x}", position.last_zxid.0))?;
    apache_snapshot::write(&tree, position.last_zxid, &sessions, progress, &mut |bytes| file.write(bytes))?;
    let written = file.finish()?;
    Ok(Report {
        source_snapshot: source,
        snapshot_zxid,
        replayed: position.replayed,
        last_zxid: position.last_zxid,
        znodes: tree.znode_count(),
        sessions: sessions.len(),
        digest: tree.digest(),
        written,
        notes,
    })
}

/// Apache needs to be told whether TTL nodes are meant; we kept whatever the owner says.
const RULES: OwnerRules = OwnerRules { extended_types: true, emulate_353: false };

fn newest(dir: &Path, notes: &mut Vec<String>) -> Result<(PathBuf, Loaded), ConvertError> {
    let mut zxids: Vec<Zxid> = files::names(dir)?.iter().filter_map(|name| snapshot::zxid_of_file_name(name)).collect();
    zxids.sort();
    for zxid in zxids.iter().rev() {
        let path = dir.join(snapshot::file_name(*zxid));
        let file = File::open(&path).map_err(io_error(&path))?;
        match snapshot::load(std::io::BufReader::with_capacity(1 << 20, file), RULES, 0) {
            Ok(loaded) if loaded.zxid == *zxid => return Ok((path, loaded)),
            Ok(loaded) => notes.push(format!("{}: this is the snapshot of zxid {}", path.display(), loaded.zxid)),
            Err(SnapshotError::Io(error)) => return Err(ConvertError::Io { path, error }),
            Err(error) => notes.push(format!("{}: {error}; trying an older snapshot", path.display())),
        }
    }
    Err(ConvertError::Refused(match notes.is_empty() {
        true => format!("{}: no snapshot", dir.display()),
        false => format!("no snapshot is readable:\n  {}", notes.join("\n  ")),
    }))
}

fn segments(dir: &Path) -> Result<Vec<(SegmentId, PathBuf)>, ConvertError> {
    let names = files::names(dir)?;
    // Sorted by name is sorted by number: the digits are padded.
    Ok(names.iter().filter_map(|name| Some((SegmentId::from_file_name(name)?, dir.join(name)))).collect())
}

fn damaged(dir: &Path, damage: crate::journal::Damage) -> ConvertError {
    ConvertError::Bad {
        path: dir.join(damage.segment.file_name()),
        offset: damage.offset,
        what: format!("{}; {}", damage.what, damage.advice),
    }
}

fn apply(tree: &mut Tree, sessions: &mut BTreeMap<SessionId, i32>, body: &[u8]) -> Result<(), String> {
    let entry = txn::decode(body).map_err(|error| error.to_string())?;
    let mut changes = Default::default();
    // Our snapshots are exact, so replay meets what the transaction was judged by.
    tree.apply(&entry.header, &entry.txn, &mut changes).map_err(|code| format!("does not apply: {code:?}"))?;
    for change in changes {
        match change {
            Change::SessionOpened { session, timeout_ms } => {
                sessions.insert(session, timeout_ms);
            }
            Change::SessionClosed { session } => {
                sessions.remove(&session);
            }
            _ => {}
        }
    }
    Ok(())
}
