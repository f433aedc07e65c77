//! Apache's transaction logs, read more strictly than Apache does (spec: disk formats 2.4, "RK reading rules").
//!
//! Apache takes much damage for an end of file and goes on with the next file: a hole in history. Here the
//! records must count on by one, across files too, and a bad record is only a torn tail if no good one follows it.

use super::{ConvertError, io_error};
use crate::base::Zxid;
use crate::codec::txn::{self, Entry};
use std::path::{Path, PathBuf};

const MAGIC: u32 = 0x5a4b_4c47;
const VERSION: u32 = 2;
const FILE_HEADER_BYTES: usize = 16;
const RECORD_HEADER_BYTES: usize = 12;
const RECORD_END: u8 = b'B';

/// What replaying came to.
pub(super) struct Replayed {
    pub count: u64,
    pub last_zxid: Zxid,
    pub notes: Vec<String>,
}

/// Reads every record newer than `snapshot`, in order. `files` with the zxids in their names, oldest first.
pub(super) fn replay(
    files: &[(i64, PathBuf)],
    snapshot: Zxid,
    mut apply: impl FnMut(&Entry<'_>) -> Result<(), String>,
) -> Result<Replayed, ConvertError> {
    // The newest file that begins at or below the snapshot may continue it; older ones cannot.
    let first = files.iter().rposition(|(zxid, _)| *zxid <= snapshot.0.saturating_add(1)).unwrap_or(0);
    let mut replayed = Replayed { count: 0, last_zxid: snapshot, notes: Vec::new() };
    let mut previous: Option<(Zxid, Vec<u8>)> = None;
    for (index, (_, path)) in files.iter().enumerate().skip(first) {
        let is_newest = index + 1 == files.len();
        let bytes = std::fs::read(path).map_err(io_error(path))?;
        if bytes.is_empty() && is_newest {
            replayed.notes.push(format!("{} is empty, as a crash right after its creation leaves it", path.display()));
            continue;
        }
        check_header(path, &bytes)?;
        let mut at = FILE_HEADER_BYTES;
        while let Some((payload, end)) = record(&bytes, at) {
            let fault = |what: String| ConvertError::Bad { path: path.clone(), offset: at as u64, what };
            let entry = txn::decode(payload).map_err(|error| fault(error.to_string()))?;
            let zxid = entry.header.zxid;
            match &previous {
                // Apache writes a record twice after some restarts.
                Some((last, same)) if *last == zxid && same == payload => {
                    at = end;
                    continue;
                }
                Some((last, _)) if !last.is_logged_before(zxid) => {
                    return Err(fault(format!("zxid {zxid} follows {last}: transactions are missing or damaged")));
                }
                None if zxid > snapshot && !starts_after(snapshot, zxid) => {
                    return Err(fault(format!("the log begins at zxid {zxid}, the snapshot ends at {snapshot}")));
                }
                _ => {}
            }
            if zxid > snapshot {
                apply(&entry).map_err(|what| fault(format!("transaction {zxid}: {what}")))?;
                replayed.count += 1;
                replayed.last_zxid = zxid;
            }
            previous = Some((zxid, payload.to_vec()));
            at = end;
        }
        if let Some(note) = check_end(path, &bytes, at)? {
            replayed.notes.push(note);
        }
    }
    Ok(replayed)
}

fn check_header(path: &Path, bytes: &[u8]) -> Result<(), ConvertError> {
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    if bytes.len() < FILE_HEADER_BYTES || word(0) != Some(MAGIC) || word(4) != Some(VERSION) {
        return Err(ConvertError::Bad {
            path: path.into(),
            offset: 0,
            what: "this does not begin like a transaction log".into(),
        });
    }
    Ok(())
}

/// The payload of the record at `at` and where the next one begins; `None` if there is no good record.
fn record(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (head, rest) = bytes.get(at..)?.split_first_chunk::<RECORD_HEADER_BYTES>()?;
    let checksum = u64::from_be_bytes(*head.first_chunk()?);
    let length = u32::from_be_bytes(*head.last_chunk()?) as usize;
    if length == 0 || rest.get(length) != Some(&RECORD_END) {
        return None;
    }
    let payload = &rest[..length];
    (u64::from(adler2::adler32_slice(payload)) == checksum).then_some((payload, at + RECORD_HEADER_BYTES + length + 1))
}

/// Nothing good at `at`: the zeros Apache fills its files up with, a torn record, or damage. What follows in the
/// next file must still count on, so a torn record is only ever one that was never acknowledged.
fn check_end(path: &Path, bytes: &[u8], at: usize) -> Result<Option<String>, ConvertError> {
    let tail = &bytes[at..];
    if tail.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    // A checksum has four zero bytes in front; that alone rules out most places.
    let later = (at + 1..bytes.len().saturating_sub(RECORD_HEADER_BYTES))
        .find(|later| bytes[*later..][..4] == [0; 4] && record(bytes, *later).is_some());
    match later {
        Some(later) => Err(ConvertError::Bad {
            path: path.into(),
            offset: at as u64,
            what: format!("the record here is damaged, though a good one follows at {later}"),
        }),
        None => Ok(Some(format!("{} ends in a torn record at offset {at}, left out", path.display()))),
    }
}

fn starts_after(snapshot: Zxid, first: Zxid) -> bool {
    snapshot.is_right_before(first) || first.epoch() > snapshot.epoch() && first.counter() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{OwnerRules, Tree};

    /// Records Apache 3.8.0 accepted (spec: disk formats 9).
    const HEADER: &str = "5a4b4c47000000020000000000000000";
    const CREATE_SESSION: &str = "00000000e8440b60000000301000abcd12340000000000000000000100000001\
        0000018bcfe56800fffffff600007530000000020000000051c6d66042";
    const ERROR: &str = "000000007ec60c0a000000241000abcd123400000000000200000001000000030000018bcfe56802\
        ffffffffffffff9242";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// Zxids, notes and the error of replaying files with these contents.
    fn replayed(contents: &[Vec<u8>], snapshot: Zxid) -> Result<(Vec<i64>, usize), String> {
        let dir = std::env::temp_dir().join(format!("ringkeeper-log-{}-{:p}", std::process::id(), contents));
        std::fs::create_dir_all(&dir).unwrap();
        let files: Vec<(i64, PathBuf)> = (1..)
            .zip(contents)
            .map(|(n, bytes)| {
                let path = dir.join(format!("log.{n}"));
                std::fs::write(&path, bytes).unwrap();
                (n, path)
            })
            .collect();
        let mut zxids = Vec::new();
        let result = replay(&files, snapshot, |entry| {
            zxids.push(entry.header.zxid.0);
            Ok(())
        });
        std::fs::remove_dir_all(&dir).unwrap();
        result.map(|replayed| (zxids, replayed.notes.len())).map_err(|error| error.to_string())
    }

    #[test]
    fn apaches_own_records_are_read() {
        let file = bytes(&(HEADER.to_owned() + CREATE_SESSION));
        let (payload, end) = record(&file, FILE_HEADER_BYTES).unwrap();
        assert_eq!(end, file.len());
        let entry = txn::decode(payload).unwrap();
        assert_eq!(entry.digest.unwrap().tree, Tree::new(OwnerRules::default()).digest());
        let mut zeros = file.clone();
        zeros.resize(5000, 0);
        assert_eq!(replayed(&[zeros], Zxid::ZERO), Ok((vec![0x1_0000_0001], 0)));
    }

    #[test]
    fn holes_damage_and_torn_tails_are_told_apart() {
        let first = bytes(&(HEADER.to_owned() + CREATE_SESSION));
        let both = bytes(&(HEADER.to_owned() + CREATE_SESSION + ERROR));
        assert!(
            replayed(std::slice::from_ref(&both), Zxid::ZERO).unwrap_err().contains("missing"),
            "zxid 2 is not there"
        );
        // Behind a snapshot of 2 the third record is the next one.
        let third = bytes(&(HEADER.to_owned() + ERROR));
        assert_eq!(replayed(std::slice::from_ref(&third), Zxid(0x1_0000_0002)), Ok((vec![0x1_0000_0003], 0)));
        assert!(replayed(&[third], Zxid(0x1_0000_0001)).unwrap_err().contains("the snapshot ends at"));
        let twice = bytes(&(HEADER.to_owned() + CREATE_SESSION + CREATE_SESSION));
        assert_eq!(replayed(std::slice::from_ref(&twice), Zxid::ZERO), Ok((vec![0x1_0000_0001], 0)));
        let second_record = first.len();
        for at in FILE_HEADER_BYTES..second_record {
            let mut bad = twice.clone();
            bad[at] ^= 1;
            assert!(replayed(&[bad], Zxid::ZERO).is_err(), "flip at {at} of an inner record");
        }
        for at in second_record + 1..twice.len() {
            // Its first four bytes are zeros: until then it looks like the padding.
            let notes = usize::from(at > second_record + 4);
            let expected = Ok((vec![0x1_0000_0001], notes));
            assert_eq!(replayed(&[twice[..at].to_vec()], Zxid::ZERO), expected, "cut at {at}");
        }
    }
}
