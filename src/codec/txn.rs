//! Transactions: what a leader proposes, every journal keeps and every tree applies (spec: disk formats 2.1, 2.2).
//!
//! One encoding, Apache's own jute records, serves journal, import and export, and later the learners.

use std::borrow::Cow;

use super::opcode::OpCode;
use super::{Malformed, Reader, Writer};
use crate::base::{Acl, OPEN_ACL, SessionId, WallMs, Xid, Zxid};

/// In front of every transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnHeader {
    pub session: SessionId,
    pub cxid: Xid,
    pub zxid: Zxid,
    /// The leader's wall clock when the request was prepared.
    pub time: WallMs,
}

/// What kind of znode a create makes, with the number its transaction carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateKind {
    /// `two` tells create2 (15) from create (1): same record, other number.
    Plain {
        two: bool,
        ephemeral: bool,
    },
    Container,
    Ttl {
        ttl_ms: i64,
    },
}

/// A transaction's body, borrowed from wherever it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Txn<'a> {
    Create {
        kind: CreateKind,
        path: Cow<'a, str>,
        data: Option<Cow<'a, [u8]>>,
        acl: Cow<'a, [Acl]>,
        /// The parent's stored cversion afterwards; -1 in very old logs means "one more".
        parent_cversion: i32,
    },
    /// `container` tells deleteContainer (20) from delete (2).
    Delete {
        path: Cow<'a, str>,
        container: bool,
    },
    /// `version` is the one afterwards.
    SetData {
        path: Cow<'a, str>,
        data: Option<Cow<'a, [u8]>>,
        version: i32,
    },
    /// As `SetData`, on the configuration node.
    Reconfig {
        path: Cow<'a, str>,
        data: Option<Cow<'a, [u8]>>,
        version: i32,
    },
    SetAcl {
        path: Cow<'a, str>,
        acl: Cow<'a, [Acl]>,
        version: i32,
    },
    /// Only inside a multi.
    Check {
        path: Cow<'a, str>,
        version: i32,
    },
    Multi(Vec<Txn<'a>>),
    CreateSession {
        timeout_ms: i32,
    },
    /// `None` in logs older than 3.6: the ephemerals are whatever the session still owns.
    CloseSession {
        ephemerals: Option<Vec<Cow<'a, str>>>,
    },
    /// A failed request; inside a multi, a failed slot.
    Error {
        code: i32,
    },
}

/// The tree digest a transaction will produce (spec: disk formats 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnDigest {
    pub version: i32,
    pub tree: i64,
}

/// The digest version this server computes.
pub const DIGEST_VERSION: i32 = 2;

/// As [`Writer::acl`], for readers that must get back what was written.
fn put_acl(w: &mut Writer<'_>, list: &[Acl]) {
    w.i32(list.len() as i32);
    for acl in list {
        w.i32(acl.perms);
        w.text(&acl.id.scheme);
        w.text(&acl.id.id);
    }
}

impl Txn<'_> {
    /// The number in the header.
    pub fn type_code(&self) -> i32 {
        match self {
            Txn::Create { kind: CreateKind::Plain { two: false, .. }, .. } => 1,
            Txn::Create { kind: CreateKind::Plain { two: true, .. }, .. } => 15,
            Txn::Create { kind: CreateKind::Container, .. } => 19,
            Txn::Create { kind: CreateKind::Ttl { .. }, .. } => 21,
            Txn::Delete { container: false, .. } => 2,
            Txn::Delete { container: true, .. } => 20,
            Txn::SetData { .. } => 5,
            Txn::Reconfig { .. } => 16,
            Txn::SetAcl { .. } => 7,
            Txn::Check { .. } => 13,
            Txn::Multi(_) => 14,
            Txn::CreateSession { .. } => -10,
            Txn::CloseSession { .. } => -11,
            Txn::Error { .. } => -1,
        }
    }

    /// Whether this is a multi in which some operation failed, so that nothing of it applies.
    pub fn is_failed_multi(&self) -> bool {
        matches!(self, Txn::Multi(ops) if ops.iter().any(|op| matches!(op, Txn::Error { .. })))
    }

    fn encode_body(&self, w: &mut Writer<'_>) {
        match self {
            Txn::Create { kind, path, data, acl, parent_cversion } => {
                w.text(path);
                w.buffer(data.as_deref());
                put_acl(w, acl);
                if let CreateKind::Plain { ephemeral, .. } = kind {
                    w.bool(*ephemeral);
                }
                w.i32(*parent_cversion);
                if let CreateKind::Ttl { ttl_ms } = kind {
                    w.i64(*ttl_ms);
                }
            }
            Txn::Delete { path, .. } => w.text(path),
            Txn::SetData { path, data, version } | Txn::Reconfig { path, data, version } => {
                w.text(path);
                w.buffer(data.as_deref());
                w.i32(*version);
            }
            Txn::SetAcl { path, acl, version } => {
                w.text(path);
                put_acl(w, acl);
                w.i32(*version);
            }
            Txn::Check { path, version } => {
                w.text(path);
                w.i32(*version);
            }
            Txn::Multi(ops) => {
                w.i32(ops.len() as i32);
                let mut body = Vec::new();
                for op in ops {
                    body.clear();
                    op.encode_body(&mut Writer(&mut body));
                    w.i32(op.type_code());
                    w.buffer(Some(&body));
                }
            }
            Txn::CreateSession { timeout_ms } => w.i32(*timeout_ms),
            Txn::CloseSession { ephemerals } => {
                let paths = ephemerals.as_deref().unwrap_or_default();
                w.i32(paths.len() as i32);
                for path in paths {
                    w.text(path);
                }
            }
            Txn::Error { code } => w.i32(*code),
        }
    }

    fn decode_borrowed<'b>(code: i32, r: &mut Reader<'b>) -> Result<Txn<'b>, Malformed> {
        Ok(match OpCode::from_i32(code) {
            Some(OpCode::Create | OpCode::Create2) => {
                let (path, data, acl) = (r.string()?, data(r)?, acl(r)?);
                let kind = CreateKind::Plain { two: code == 15, ephemeral: r.bool()? };
                // Logs of 3.3 and older end here (CreateTxnV0).
                let parent_cversion = if r.is_empty() { -1 } else { r.i32()? };
                Txn::Create { kind, path, data, acl, parent_cversion }
            }
            Some(OpCode::CreateContainer) => Txn::Create {
                kind: CreateKind::Container,
                path: r.string()?,
                data: data(r)?,
                acl: acl(r)?,
                parent_cversion: r.i32()?,
            },
            Some(OpCode::CreateTtl) => {
                let (path, data, acl, parent_cversion) = (r.string()?, data(r)?, acl(r)?, r.i32()?);
                Txn::Create { kind: CreateKind::Ttl { ttl_ms: r.i64()? }, path, data, acl, parent_cversion }
            }
            Some(op @ (OpCode::Delete | OpCode::DeleteContainer)) => {
                Txn::Delete { path: r.string()?, container: op == OpCode::DeleteContainer }
            }
            Some(OpCode::SetData) => Txn::SetData { path: r.string()?, data: data(r)?, version: r.i32()? },
            Some(OpCode::Reconfig) => Txn::Reconfig { path: r.string()?, data: data(r)?, version: r.i32()? },
            Some(OpCode::SetAcl) => Txn::SetAcl { path: r.string()?, acl: acl(r)?, version: r.i32()? },
            Some(OpCode::Check) => Txn::Check { path: r.string()?, version: r.i32()? },
            Some(OpCode::Multi) => {
                let count = r.count()?.unwrap_or(0);
                let mut ops = Vec::with_capacity(count.min(r.rest().len() / 8));
                for _ in 0..count {
                    let code = r.i32()?;
                    let body = r.buffer()?.unwrap_or_default();
                    ops.push(match code {
                        // A failed slot may still hold the bytes of what it was (ZOOKEEPER-4607).
                        -1 => Txn::Error { code: Reader::new(body).i32().unwrap_or(0) },
                        14 => return Err(Malformed("multi inside a multi")),
                        _ => Txn::decode_borrowed(code, &mut Reader::new(body))?,
                    });
                }
                Txn::Multi(ops)
            }
            Some(OpCode::CreateSession) => Txn::CreateSession { timeout_ms: r.i32()? },
            Some(OpCode::CloseSession) => {
                // Either a path list, or nothing, or (a writer without closeSession bodies) only a digest.
                let digest_only = r.rest().len() == DIGEST_BYTES && r.rest()[..4] == DIGEST_VERSION.to_be_bytes();
                let ephemerals = if r.is_empty() || digest_only { None } else { Some(r.strings()?) };
                Txn::CloseSession { ephemerals }
            }
            Some(OpCode::Error) => Txn::Error { code: r.i32()? },
            _ => return Err(Malformed("unknown transaction type")),
        })
    }

    /// The same transaction, owning its parts.
    pub fn into_owned(self) -> Txn<'static> {
        fn own(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        fn own_data(data: Option<Cow<'_, [u8]>>) -> Option<Cow<'static, [u8]>> {
            data.map(|bytes| Cow::Owned(bytes.into_owned()))
        }
        match self {
            Txn::Create { kind, path, data, acl, parent_cversion } => Txn::Create {
                kind,
                path: own(path),
                data: own_data(data),
                acl: Cow::Owned(acl.into_owned()),
                parent_cversion,
            },
            Txn::Delete { path, container } => Txn::Delete { path: own(path), container },
            Txn::SetData { path, data, version } => Txn::SetData { path: own(path), data: own_data(data), version },
            Txn::Reconfig { path, data, version } => Txn::Reconfig { path: own(path), data: own_data(data), version },
            Txn::SetAcl { path, acl, version } => {
                Txn::SetAcl { path: own(path), acl: Cow::Owned(acl.into_owned()), version }
            }
            Txn::Check { path, version } => Txn::Check { path: own(path), version },
            Txn::Multi(ops) => Txn::Multi(ops.into_iter().map(Txn::into_owned).collect()),
            Txn::CreateSession { timeout_ms } => Txn::CreateSession { timeout_ms },
            Txn::CloseSession { ephemerals } => {
                Txn::CloseSession { ephemerals: ephemerals.map(|paths| paths.into_iter().map(own).collect()) }
            }
            Txn::Error { code } => Txn::Error { code },
        }
    }
}

const DIGEST_BYTES: usize = 12;

fn data<'a>(r: &mut Reader<'a>) -> Result<Option<Cow<'a, [u8]>>, Malformed> {
    Ok(r.buffer()?.map(Cow::Borrowed))
}

/// [`OPEN_ACL`] as a transaction has it, and most have no other: it is known by its bytes, so that no list is made.
const OPEN: &[u8; 27] = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone";

fn acl<'a>(r: &mut Reader<'a>) -> Result<Cow<'a, [Acl]>, Malformed> {
    if r.skip(OPEN) {
        return Ok(Cow::Borrowed(&OPEN_ACL));
    }
    let entries = r.acl()?.unwrap_or_default();
    entries.into_iter().collect::<Option<Vec<Acl>>>().map(Cow::Owned).ok_or(Malformed("ACL entry without an id"))
}

/// Appends header, body and (when there is one) digest: a log entry's payload.
pub fn encode(out: &mut Vec<u8>, header: &TxnHeader, txn: &Txn<'_>, digest: Option<TxnDigest>) {
    let w = &mut Writer(out);
    w.i64(header.session.0);
    w.i32(header.cxid.0);
    w.i64(header.zxid.0);
    w.i64(header.time.0);
    w.i32(txn.type_code());
    txn.encode_body(w);
    if let Some(digest) = digest {
        w.i32(digest.version);
        w.i64(digest.tree);
    }
}

/// A log entry's payload, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    pub header: TxnHeader,
    pub txn: Txn<'a>,
    pub digest: Option<TxnDigest>,
}

/// By how many an encoded entry changes the number of znodes, by its type alone: an estimate, to which multis and sessions that end
/// with ephemerals do not contribute.
pub fn births(payload: &[u8]) -> i64 {
    const TYPE_AT: usize = 28;
    let op = payload.get(TYPE_AT..).and_then(|rest| rest.first_chunk()).map(|code| i32::from_be_bytes(*code));
    match op.and_then(OpCode::from_i32) {
        Some(OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl) => 1,
        Some(OpCode::Delete | OpCode::DeleteContainer) => -1,
        _ => 0,
    }
}

/// The path that an encoded entry begins with, as most do. Nothing is checked: what comes of another entry means nothing.
pub fn first_path(payload: &[u8]) -> Option<&[u8]> {
    const PATH_AT: usize = 32;
    let (length, rest) = payload.get(PATH_AT..)?.split_first_chunk()?;
    rest.get(..usize::try_from(i32::from_be_bytes(*length)).ok()?)
}

/// Decodes a log entry's payload. The digest is there if bytes are left for it behind the body.
///
/// Errors: [`Malformed`] for types no reader knows; a log that holds one cannot be loaded by anybody.
pub fn decode(payload: &[u8]) -> Result<Entry<'_>, Malformed> {
    let r = &mut Reader::new(payload);
    let (session, cxid) = (SessionId(r.i64()?), Xid(r.i32()?));
    let (zxid, time) = (r.zxid()?, WallMs(r.i64()?));
    let code = r.i32()?;
    if code == OpCode::Check.code() {
        return Err(Malformed("check outside a multi"));
    }
    let txn = Txn::decode_borrowed(code, r)?;
    let digest =
        if r.rest().len() >= DIGEST_BYTES { Some(TxnDigest { version: r.i32()?, tree: r.i64()? }) } else { None };
    Ok(Entry { header: TxnHeader { session, cxid, zxid, time }, txn, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_list_is_known_by_its_bytes() {
        let mut bytes = Vec::new();
        put_acl(&mut Writer(&mut bytes), &OPEN_ACL);
        assert_eq!(bytes, OPEN);
        assert_eq!(Reader::new(&bytes).acl().unwrap().unwrap(), [Some(OPEN_ACL[0].clone())]);
        assert!(matches!(acl(&mut Reader::new(&bytes)), Ok(Cow::Borrowed([open])) if *open == OPEN_ACL[0]));
        bytes[7] = 1;
        assert!(matches!(acl(&mut Reader::new(&bytes)), Ok(Cow::Owned(list)) if list[0].perms == 1));
    }

    #[test]
    fn every_character_is_read_back_from_a_journal_as_it_was() {
        let header = TxnHeader { session: SessionId(1), cxid: Xid(1), zxid: Zxid(1), time: WallMs(1) };
        let acl = Acl { perms: 31, id: crate::base::Id::new("digest", "\u{1f600}:x") };
        let txn = Txn::SetAcl { path: "/\u{1f600}".into(), acl: vec![acl].into(), version: 1 };
        let mut record = Vec::new();
        encode(&mut record, &header, &txn, None);
        assert_eq!(decode(&record).unwrap().txn, txn);
        assert_eq!(first_path(&record), Some("/\u{1f600}".as_bytes()));
        assert_eq!(first_path(&record[..38]), None);
    }
}
