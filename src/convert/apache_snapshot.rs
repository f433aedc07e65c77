//! Apache's snapshot file, read in all its forms and written in the newest (spec: disk formats 3).

use super::{ConvertError, Progress, compression};
use crate::base::{SessionId, WallMs, Zxid};
use crate::codec::Writer;
use crate::codec::txn::DIGEST_VERSION;
use crate::snapshot::{SnapshotError, StreamReader, stream};
use crate::tree::{OwnerRules, SnapshotNode, Tree};
use adler2::Adler32;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

const MAGIC: i32 = 0x5a4b_534e;
const VERSION: i32 = 2;
const DBID: i64 = -1;
/// Longer strings and buffers than this are damage: no server could have taken them off the wire.
const FIELD_BYTES_MAX: usize = 256 << 20;
const FIELD_BYTES_STEP: usize = 1 << 20;

/// A snapshot as read: the tree may still be fuzzy.
pub(super) struct ApacheSnapshot {
    pub tree: Tree,
    pub sessions: BTreeMap<SessionId, i32>,
    /// The zxid up to which it may hold changes, and the version 2 digest at that zxid.
    pub digest: Option<(Zxid, i64)>,
}

/// Reads a snapshot file.
pub(super) fn read(path: &Path, rules: OwnerRules, progress: &mut Progress) -> Result<ApacheSnapshot, ConvertError> {
    let source = compression::open(path).map_err(super::io_error(path))?;
    let mut input = Input { source: BufReader::with_capacity(1 << 16, source), adler: Adler32::new(), offset: 0 };
    read_all(&mut input, rules, progress).map_err(|fault| match fault {
        Fault::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            ConvertError::Bad { path: path.into(), offset: input.offset, what: "the file ends early".into() }
        }
        Fault::Io(error) => ConvertError::Io { path: path.into(), error },
        Fault::Bad(what) => ConvertError::Bad { path: path.into(), offset: input.offset, what },
    })
}

enum Fault {
    Io(std::io::Error),
    Bad(String),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault::Io(error)
    }
}

fn bad<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Bad(what.into()))
}

fn read_all<R: Read>(
    input: &mut Input<R>,
    rules: OwnerRules,
    progress: &mut Progress,
) -> Result<ApacheSnapshot, Fault> {
    if input.i32()? != MAGIC {
        return bad("this is not a snapshot of Apache ZooKeeper's");
    }
    let (version, _dbid) = (input.i32()?, input.i64()?);
    if version != VERSION {
        return bad(format!("snapshot version {version}"));
    }
    let state = read_state(input, rules, progress)?;
    input.seal()?;
    let digest = read_trailers(input)?;
    // The head of our snapshot is made by whoever knows the last zxid.
    let loaded = state.into_loaded(Zxid::ZERO, WallMs(0)).map_err(fault)?;
    Ok(ApacheSnapshot { tree: loaded.tree, sessions: loaded.sessions.into_iter().collect(), digest })
}

/// Everything between the header and the first seal.
fn read_state<R: Read>(
    input: &mut Input<R>,
    rules: OwnerRules,
    progress: &mut Progress,
) -> Result<StreamReader, Fault> {
    let (mut state, start) = (StreamReader::within_file(rules, FIELD_BYTES_MAX), input.offset);
    loop {
        let bytes = match input.source.fill_buf() {
            Ok([]) => return Err(Fault::Io(ErrorKind::UnexpectedEof.into())),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        let end = match state.push(bytes) {
            Ok(end) => end,
            Err(SnapshotError::Bad { offset, what }) => {
                input.offset = start + offset;
                return bad(what);
            }
            Err(error) => return Err(fault(error)),
        };
        let used = end.unwrap_or(bytes.len());
        input.adler.write_slice(&bytes[..used]);
        input.source.consume(used);
        input.offset += used as u64;
        if end.is_some() {
            return Ok(state);
        }
        progress.step(|| format!("read {} znodes", state.znode_count()));
    }
}

fn fault(error: SnapshotError) -> Fault {
    match error {
        SnapshotError::Io(error) => Fault::Io(error),
        SnapshotError::Bad { what, .. } => Fault::Bad(what),
    }
}

/// What comes behind the first seal tells its form by its length (spec: disk formats 3.6).
fn read_trailers<R: Read>(input: &mut Input<R>) -> Result<Option<(Zxid, i64)>, Fault> {
    const SEAL: usize = 13;
    let mut rest = Vec::new();
    (&mut input.source).take(4096).read_to_end(&mut rest)?;
    let mut tail = Input { source: BufReader::new(&rest[..]), adler: input.adler, offset: input.offset };
    let digest = match rest.len() {
        0 => return Ok(None),
        len if len == 8 + SEAL => None,
        _ => {
            let (zxid, version) = (Zxid(tail.i64()?), tail.i32()?);
            if version < 2 {
                // Before version 2 it was text, of another function: nothing to compare with.
                tail.buffer(&mut Vec::new())?;
                tail.seal()?;
                None
            } else {
                let digest = tail.i64()?;
                tail.seal()?;
                (version == DIGEST_VERSION).then_some((zxid, digest))
            }
        }
    };
    if tail.offset - input.offset < rest.len() as u64 {
        tail.i64()?;
        tail.seal()?;
    }
    let used = tail.offset - input.offset;
    input.offset = tail.offset;
    if used != rest.len() as u64 {
        return bad(format!("{} bytes behind the end", rest.len() as u64 - used));
    }
    Ok(digest)
}

/// Jute from a stream, with the running checksum of everything taken.
struct Input<R: Read> {
    source: BufReader<R>,
    adler: Adler32,
    offset: u64,
}

impl<R: Read> Input<R> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Fault> {
        self.source.read_exact(buffer)?;
        self.adler.write_slice(buffer);
        self.offset += buffer.len() as u64;
        Ok(())
    }

    fn i32(&mut self) -> Result<i32, Fault> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(i32::from_be_bytes(bytes))
    }

    fn i64(&mut self) -> Result<i64, Fault> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(i64::from_be_bytes(bytes))
    }

    /// Reads a buffer or string; false if it is null.
    fn buffer(&mut self, into: &mut Vec<u8>) -> Result<bool, Fault> {
        into.clear();
        let length = match self.i32()? {
            -1 => return Ok(false),
            length => usize::try_from(length).unwrap_or(usize::MAX),
        };
        if length > FIELD_BYTES_MAX {
            return bad(format!("a field of {length} bytes"));
        }
        // In steps: memory is taken for what is there, not for what a damaged length claims.
        while into.len() < length {
            let start = into.len();
            into.resize(length.min(start + FIELD_BYTES_STEP), 0);
            self.fill(&mut into[start..])?;
        }
        Ok(true)
    }

    fn string(&mut self) -> Result<String, Fault> {
        let mut bytes = Vec::new();
        self.buffer(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The checksum of everything before it, and "/".
    fn seal(&mut self) -> Result<(), Fault> {
        let computed = i64::from(self.adler.checksum());
        let stored = self.i64()?;
        if stored != computed {
            return bad(format!("the checksum is {computed:x}, the file says {stored:x}"));
        }
        match self.string()?.as_str() {
            "/" => Ok(()),
            _ => bad("a seal does not end in \"/\""),
        }
    }
}

/// Writes a whole snapshot, in the form with all trailers: 3.5 to trunk read it. `write` takes the pieces.
pub(super) fn write(
    tree: &Tree,
    zxid: Zxid,
    sessions: &BTreeMap<SessionId, i32>,
    progress: &mut Progress,
    write: &mut dyn FnMut(&[u8]) -> Result<(), ConvertError>,
) -> Result<(), ConvertError> {
    let mut out = Output { buffer: Vec::new(), adler: Adler32::new(), write };
    let w = &mut Writer(&mut out.buffer);
    w.i32(MAGIC);
    w.i32(VERSION);
    w.i64(DBID);
    stream::put_sessions(&mut out.buffer, sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms)));
    stream::put_acls(&mut out.buffer, tree.acls());
    // Parents before children; a stack of paths, for names are all a tree tells of children.
    let mut stack = vec![String::from("/")];
    let mut count = 0u64;
    while let Some(path) = stack.pop() {
        let node = tree.get(&path).expect("the tree just named it");
        let (znode, pzxid, cversion) = (node.znode(), node.pzxid(), node.stored_cversion());
        stream::put_node(&mut out.buffer, SnapshotNode { znode, pzxid, cversion });
        out.flush_if_full()?;
        let prefix = if path == "/" { "" } else { &path[..] };
        let start = stack.len();
        stack.extend(tree.children(&node).map(|name| format!("{prefix}/{name}")));
        // By name, so that the same tree is always the same file; reversed, for the last is taken first.
        stack[start..].sort_unstable_by(|one, other| other.cmp(one));
        count += 1;
        progress.step(|| format!("wrote {count} znodes"));
    }
    stream::put_end(&mut out.buffer);
    out.seal()?;
    let w = &mut Writer(&mut out.buffer);
    w.i64(zxid.0);
    w.i32(DIGEST_VERSION);
    w.i64(tree.digest());
    out.seal()?;
    Writer(&mut out.buffer).i64(zxid.0);
    out.seal()?;
    out.flush()
}

struct Output<'a> {
    buffer: Vec<u8>,
    adler: Adler32,
    write: &'a mut dyn FnMut(&[u8]) -> Result<(), ConvertError>,
}

impl Output<'_> {
    fn flush_if_full(&mut self) -> Result<(), ConvertError> {
        if self.buffer.len() >= 1 << 18 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ConvertError> {
        self.adler.write_slice(&self.buffer);
        (self.write)(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn seal(&mut self) -> Result<(), ConvertError> {
        self.flush()?;
        let w = &mut Writer(&mut self.buffer);
        w.i64(i64::from(self.adler.checksum()));
        w.string("/");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn snapshot_of(tree: &Tree, sessions: &BTreeMap<SessionId, i32>) -> Vec<u8> {
        let mut file = Vec::new();
        let mut silent = |_: &str| {};
        write(tree, Zxid::ZERO, sessions, &mut Progress::new(&mut silent), &mut |bytes| {
            file.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        file
    }

    fn read_bytes(bytes: &[u8]) -> Result<ApacheSnapshot, Fault> {
        let mut input = Input { source: BufReader::new(bytes), adler: Adler32::new(), offset: 0 };
        read_all(&mut input, OwnerRules::default(), &mut Progress::new(&mut |_| {}))
    }

    /// The checksum is that of the file Apache 3.8.0 accepted (spec: disk formats 9).
    #[test]
    fn the_fresh_tree_is_apaches_to_the_byte() {
        let file = snapshot_of(&Tree::new(OwnerRules::default()), &BTreeMap::new());
        assert_eq!(file.len(), 411 + 13 + 20 + 13 + 8 + 13);
        assert_eq!(file[411..419], 0xb8a2_3b49_i64.to_be_bytes());
    }

    #[test]
    fn all_four_forms_of_the_end_are_read_and_every_cut_and_flip_refused() {
        let sessions = BTreeMap::from([(SessionId(9), 4000)]);
        let file = snapshot_of(&Tree::new(OwnerRules::default()), &sessions);
        let seal_1 = file.len() - 54;
        assert!(matches!(read_bytes(&file), Ok(ApacheSnapshot { digest: Some((Zxid::ZERO, 1_371_985_504)), .. })));
        assert!(read_bytes(&file[..file.len() - 21]).is_ok_and(|read| read.digest.is_some()));
        assert!(read_bytes(&file[..seal_1]).is_ok_and(|read| read.digest.is_none() && read.sessions == sessions));
        let mut last_zxid_only = file[..seal_1].to_vec();
        last_zxid_only.write_all(&5_i64.to_be_bytes()).unwrap();
        let seal = i64::from(adler2::adler32_slice(&last_zxid_only));
        last_zxid_only.write_all(&seal.to_be_bytes()).unwrap();
        last_zxid_only.write_all(&[0, 0, 0, 1, b'/']).unwrap();
        assert!(read_bytes(&last_zxid_only).is_ok_and(|read| read.digest.is_none()));
        for at in 0..file.len() {
            let is_form = at == seal_1 || at == file.len() - 21;
            assert!(is_form || read_bytes(&file[..at]).is_err(), "cut at {at}");
            let mut bad = file.clone();
            bad[at] ^= 2;
            // The dbid is anybody's guess, but every seal covers it.
            assert!(read_bytes(&bad).is_err(), "flip at {at}");
        }
    }
}
