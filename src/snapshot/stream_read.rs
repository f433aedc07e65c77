//! The reading end of [`stream`](super::stream): bytes come in any pieces, a tree comes out.

use std::collections::BTreeSet;

use super::read::{Loaded, SnapshotError};
use super::stream::{END_PATH, OPEN_ACL_ID, SIGNATURE};
use crate::base::{Acl, Id, OPEN_ACL, SessionId, WallMs, Zxid};
use crate::codec::Malformed;
use crate::codec::jute::decode_utf8;
use crate::codec::partial::{Lack, Partial};
use crate::journal::SegmentId;
use crate::tree::{AclId, Meta, OwnerRules, Tree, TreeLoader, Znode};

/// Reads a state that Apache wrote; it may be fuzzy (spec: disk formats 4).
///
/// Push what comes until it says that this was all of it, then take [`StreamReader::into_loaded`]. After an error
/// there is nothing to be had from it.
///
/// Every byte is looked at once and copied at most twice: only an item whose bytes came in several pieces is put
/// together first. Memory is taken for what came, not for what a length claims.
pub struct StreamReader {
    stage: Stage,
    loader: TreeLoader,
    sessions: Vec<(SessionId, i32)>,
    /// Ids that turned out to mean the open list: Apache numbers it like any other when a client spelt it out.
    open_ids: BTreeSet<i64>,
    znode_count: u64,
    field_bytes_max: usize,
    is_signed: bool,
    /// The start of an item, and how many bytes it takes to get on with it.
    pending: Vec<u8>,
    pending_need: usize,
    /// Of all whole items.
    offset: u64,
}

/// What comes next; the numbers are how many still do.
enum Stage {
    SessionCount,
    Sessions(i32),
    AclCount,
    Acls(i32),
    AclEntries { acls: i32, id: i64, entries: i32, list: Vec<Acl> },
    Nodes,
    Signature,
    End,
}

impl StreamReader {
    /// What a leader sends behind SNAP. Paths, data and names longer than `field_bytes_max` (jute.maxbuffer and its
    /// extra size) are refused.
    pub fn new(rules: OwnerRules, field_bytes_max: usize) -> StreamReader {
        StreamReader {
            stage: Stage::SessionCount,
            loader: Tree::loader(rules),
            sessions: Vec::new(),
            open_ids: BTreeSet::new(),
            znode_count: 0,
            field_bytes_max,
            is_signed: true,
            pending: Vec::new(),
            pending_need: 0,
            offset: 0,
        }
    }

    /// The middle of a snapshot file: from behind its header to the "/" behind the last znode.
    pub fn within_file(rules: OwnerRules, field_bytes_max: usize) -> StreamReader {
        StreamReader { is_signed: false, ..StreamReader::new(rules, field_bytes_max) }
    }

    /// Takes the next bytes. `Some(n)`: the state ended with the first `n` of them. `None`: all were taken, there is
    /// more to come.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<usize>, SnapshotError> {
        let mut at = 0;
        while !self.is_finished() {
            let mut pending = std::mem::take(&mut self.pending);
            let is_pieced = !pending.is_empty();
            if is_pieced {
                let piece = (self.pending_need - pending.len()).min(bytes.len() - at);
                pending.extend_from_slice(&bytes[at..at + piece]);
                at += piece;
                if pending.len() < self.pending_need {
                    self.pending = pending;
                    return Ok(None);
                }
            }
            let mut item = Partial::new(if is_pieced { &pending } else { &bytes[at..] }, self.field_bytes_max);
            match self.take(&mut item) {
                Ok(()) => {
                    let taken = item.taken();
                    self.offset += taken as u64;
                    if is_pieced {
                        // It was given no more than it asked for; its memory is used again.
                        pending.clear();
                        self.pending = pending;
                    } else {
                        at += taken;
                    }
                }
                Err(Lack::Bytes(need)) => {
                    self.pending_need = need;
                    if !is_pieced {
                        pending.extend_from_slice(&bytes[at..]);
                        at = bytes.len();
                    }
                    self.pending = pending;
                    if at == bytes.len() {
                        return Ok(None);
                    }
                }
                Err(Lack::Malformed(Malformed(what))) => {
                    return Err(SnapshotError::Bad { offset: self.offset, what: what.into() });
                }
            }
        }
        Ok(Some(at))
    }

    /// Whether all of it was there.
    pub fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::End)
    }

    /// Znodes so far.
    pub fn znode_count(&self) -> u64 {
        self.znode_count
    }

    /// The state; `zxid` is what came with SNAP, `wall` is now. Takes time in proportion to the tree.
    ///
    /// Errors: the stream has not ended, or the znodes make no tree (see [`TreeLoader::finish`]).
    pub fn into_loaded(self, zxid: Zxid, wall: WallMs) -> Result<Loaded, SnapshotError> {
        let bad = |what: String| SnapshotError::Bad { offset: self.offset, what };
        if !self.is_finished() {
            return Err(bad("the state has not ended".into()));
        }
        let tree = self.loader.finish(0).map_err(bad)?;
        let digest = tree.digest();
        Ok(Loaded {
            tree,
            sessions: self.sessions,
            zxid,
            max_session: SessionId::NONE,
            digest,
            wall,
            floor: SegmentId::default(),
            journal: 0,
        })
    }

    /// Takes one item. Items are small enough that trying again with more bytes costs nothing to speak of: a table
    /// entry, an entry of a list, a znode (whose two long fields are stepped over until all is there).
    fn take(&mut self, item: &mut Partial<'_>) -> Result<(), Lack> {
        match &mut self.stage {
            Stage::SessionCount => self.stage = Stage::Sessions(count(item)?),
            Stage::Sessions(0) => self.stage = Stage::AclCount,
            Stage::Sessions(left) => {
                let session = (SessionId(item.i64()?), item.i32()?);
                *left -= 1;
                self.sessions.push(session);
            }
            Stage::AclCount => self.stage = Stage::Acls(count(item)?),
            Stage::Acls(0) => self.stage = Stage::Nodes,
            Stage::Acls(left) => {
                let (acls, id) = (*left - 1, item.i64()?);
                // A null list reads as an empty one.
                let entries = item.i32()?.max(0);
                self.stage = Stage::AclEntries { acls, id, entries, list: Vec::new() };
            }
            Stage::AclEntries { acls, id, entries: 0, list } => {
                let (acls, id, list) = (*acls, *id, std::mem::take(list));
                self.stage = Stage::Acls(acls);
                if *list == OPEN_ACL {
                    self.open_ids.insert(id);
                } else {
                    self.loader.acl(acl_id(id)?, list.into());
                }
            }
            Stage::AclEntries { entries, list, .. } => {
                let (perms, scheme, id) = (item.i32()?, item.text()?, item.text()?);
                list.push(Acl { perms, id: Id::new(&decode_utf8(scheme), &decode_utf8(id)) });
                *entries -= 1;
            }
            Stage::Nodes => return self.take_node(item),
            Stage::Signature => {
                if item.text()? != SIGNATURE.as_bytes() {
                    return Err(Malformed("the state does not end in \"BenWasHere\"").into());
                }
                self.stage = Stage::End;
            }
            Stage::End => {}
        }
        Ok(())
    }

    fn take_node(&mut self, item: &mut Partial<'_>) -> Result<(), Lack> {
        let path = item.text()?;
        if path == END_PATH.as_bytes() {
            self.stage = if self.is_signed { Stage::Signature } else { Stage::End };
            return Ok(());
        }
        let data = item.buffer()?;
        let acl = item.i64()?;
        let (czxid, mzxid) = (Zxid(item.i64()?), Zxid(item.i64()?));
        let (ctime, mtime) = (WallMs(item.i64()?), WallMs(item.i64()?));
        let (version, cversion, aversion) = (item.i32()?, item.i32()?, item.i32()?);
        let (owner, pzxid) = (item.i64()?, Zxid(item.i64()?));
        // An id that is not in the table was given after the table was captured: a transaction to come gives the
        // znode its list again.
        let is_open = acl == OPEN_ACL_ID || self.open_ids.contains(&acl);
        let acl = if is_open { AclId::OPEN } else { acl_id(acl)? };
        let meta = Meta { czxid, mzxid, ctime, mtime, owner, version, aversion, acl };
        self.loader.node(Znode::new(&meta, &decode_utf8(path), data), pzxid, cversion);
        self.znode_count += 1;
        Ok(())
    }
}

fn count(item: &mut Partial<'_>) -> Result<i32, Lack> {
    match item.i32()? {
        count if count < 0 => Err(Malformed("a negative count").into()),
        count => Ok(count),
    }
}

fn acl_id(id: i64) -> Result<AclId, Malformed> {
    match u32::try_from(id) {
        Ok(id) if id != 0 => Ok(AclId(id)),
        _ => Err(Malformed("an ACL id out of range")),
    }
}
