//! The invented client's tongue: requests as bytes, replies from bytes.
//!
//! Written against the protocol, not against `codec/`'s request decoder and reply encoder: a mistake made there
//! must not cancel itself out here. Only the primitives ([`Reader`], [`Writer`]) are shared.

use crate::base::{Acl, Stat};
use crate::codec::{Malformed, Reader, Writer};

/// One request, before its xid.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `code` is 1, 15, 19 or 21; `ttl` goes out with 21 alone. `acl: None` is a null vector.
    Create {
        code: i32,
        path: String,
        data: Option<Vec<u8>>,
        acl: Option<Vec<Acl>>,
        flags: i32,
        ttl: i64,
    },
    Delete {
        path: String,
        version: i32,
    },
    SetData {
        path: String,
        data: Option<Vec<u8>>,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: Option<Vec<Acl>>,
        version: i32,
    },
    /// Only inside a multi.
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Op>),
    Sync {
        path: String,
    },
    CloseSession,
    Exists {
        path: String,
        watch: bool,
    },
    GetData {
        path: String,
        watch: bool,
    },
    GetAcl {
        path: String,
    },
    GetChildren {
        path: String,
        watch: bool,
        with_stat: bool,
    },
    MultiRead(Vec<Op>),
    GetEphemerals {
        prefix: Option<String>,
    },
    GetAllChildrenNumber {
        path: String,
    },
    WhoAmI,
    Ping,
    Auth {
        scheme: &'static str,
        credential: &'static [u8],
    },
    AddWatch {
        path: String,
        mode: i32,
    },
    CheckWatches {
        path: String,
        kind: i32,
    },
    RemoveWatches {
        path: String,
        kind: i32,
    },
    /// Data, exist, child, persistent, persistent recursive. `two` tells 105 from 101.
    SetWatches {
        two: bool,
        relative: i64,
        lists: [Vec<String>; 5],
    },
    /// A known operation whose record breaks off; answered with -5.
    Broken {
        code: i32,
        body: Vec<u8>,
    },
    /// A number that is no operation; answered with -6 and the end of the connection.
    Unknown {
        code: i32,
    },
}

impl Op {
    pub fn code(&self) -> i32 {
        match self {
            Op::Create { code, .. } | Op::Broken { code, .. } | Op::Unknown { code } => *code,
            Op::Delete { .. } => 2,
            Op::Exists { .. } => 3,
            Op::GetData { .. } => 4,
            Op::SetData { .. } => 5,
            Op::GetAcl { .. } => 6,
            Op::SetAcl { .. } => 7,
            Op::GetChildren { with_stat: false, .. } => 8,
            Op::Sync { .. } => 9,
            Op::Ping => 11,
            Op::GetChildren { .. } => 12,
            Op::Check { .. } => 13,
            Op::Multi(_) => 14,
            Op::CheckWatches { .. } => 17,
            Op::RemoveWatches { .. } => 18,
            Op::MultiRead(_) => 22,
            Op::Auth { .. } => 100,
            Op::SetWatches { two: false, .. } => 101,
            Op::GetEphemerals { .. } => 103,
            Op::GetAllChildrenNumber { .. } => 104,
            Op::SetWatches { .. } => 105,
            Op::AddWatch { .. } => 106,
            Op::WhoAmI => 107,
            Op::CloseSession => -11,
        }
    }

    /// Whether it must leave a transaction behind.
    ///
    /// A multi is numbered before it is read, so one that breaks off leaves an error in the commit order.
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Op::Broken { code: 14, .. }
                | Op::Create { .. }
                | Op::Delete { .. }
                | Op::SetData { .. }
                | Op::SetAcl { .. }
                | Op::Multi(_)
                | Op::CloseSession
        )
    }

    fn body(&self, w: &mut Writer<'_>) {
        match self {
            Op::Create { code, path, data, acl, flags, ttl } => {
                w.string(path);
                w.buffer(data.as_deref());
                put_acl(w, acl.as_deref());
                w.i32(*flags);
                if *code == 21 {
                    w.i64(*ttl);
                }
            }
            Op::Delete { path, version } | Op::Check { path, version } => {
                w.string(path);
                w.i32(*version);
            }
            Op::SetData { path, data, version } => {
                w.string(path);
                w.buffer(data.as_deref());
                w.i32(*version);
            }
            Op::SetAcl { path, acl, version } => {
                w.string(path);
                put_acl(w, acl.as_deref());
                w.i32(*version);
            }
            Op::Multi(ops) | Op::MultiRead(ops) => {
                for op in ops {
                    w.i32(op.code());
                    w.bool(false);
                    w.i32(-1);
                    op.body(w);
                }
                w.i32(-1);
                w.bool(true);
                w.i32(-1);
            }
            Op::Sync { path } | Op::GetAcl { path } | Op::GetAllChildrenNumber { path } => w.string(path),
            Op::Exists { path, watch } | Op::GetData { path, watch } | Op::GetChildren { path, watch, .. } => {
                w.string(path);
                w.bool(*watch);
            }
            Op::GetEphemerals { prefix } => match prefix {
                Some(prefix) => w.string(prefix),
                None => w.i32(-1),
            },
            Op::Auth { scheme, credential } => {
                w.i32(0);
                w.string(scheme);
                w.buffer(Some(credential));
            }
            Op::AddWatch { path, mode: number }
            | Op::CheckWatches { path, kind: number }
            | Op::RemoveWatches { path, kind: number } => {
                w.string(path);
                w.i32(*number);
            }
            Op::SetWatches { two, relative, lists } => {
                w.i64(*relative);
                for list in &lists[..if *two { 5 } else { 3 }] {
                    w.i32(list.len() as i32);
                    list.iter().for_each(|path| w.string(path));
                }
            }
            Op::Broken { body, .. } => w.0.extend_from_slice(body),
            Op::WhoAmI | Op::Ping | Op::CloseSession | Op::Unknown { .. } => {}
        }
    }

    /// The whole frame.
    pub fn frame(&self, xid: i32) -> Vec<u8> {
        let mut payload = Vec::new();
        let mut w = Writer(&mut payload);
        w.i32(xid);
        w.i32(self.code());
        self.body(&mut w);
        framed(&payload)
    }
}

fn put_acl(w: &mut Writer<'_>, acl: Option<&[Acl]>) {
    match acl {
        Some(list) => w.acl(list),
        None => w.i32(-1),
    }
}

/// `payload` with its length in front.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(payload);
    frame
}

/// The handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub last_zxid_seen: i64,
    pub timeout_ms: i32,
    pub session: i64,
    pub password: [u8; 16],
    /// A client of old: no byte for read-only, and none expected back.
    pub old: bool,
}

impl Hello {
    pub fn frame(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        let mut w = Writer(&mut payload);
        w.i32(0);
        w.i64(self.last_zxid_seen);
        w.i32(self.timeout_ms);
        w.i64(self.session);
        w.buffer(Some(&self.password));
        if !self.old {
            w.bool(false);
        }
        framed(&payload)
    }
}

/// The handshake's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub timeout_ms: i32,
    pub session: i64,
    pub password: [u8; 16],
}

impl Welcome {
    pub fn decode(payload: &[u8], old: bool) -> Result<Welcome, Malformed> {
        let mut r = Reader::new(payload);
        if r.i32()? != 0 {
            return Err(Malformed("protocol version"));
        }
        let (timeout_ms, session) = (r.i32()?, r.i64()?);
        let password = r.buffer()?.and_then(|bytes| bytes.try_into().ok()).ok_or(Malformed("password"))?;
        if !old && r.bool()? {
            return Err(Malformed("a read-only server"));
        }
        if r.is_empty() { Ok(Welcome { timeout_ms, session, password }) } else { Err(Malformed("welcome too long")) }
    }
}

/// The password of a session (parity SE-04, SE-05): Java's `Random`, seeded with the id.
pub fn password(session: i64) -> [u8; 16] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (session as u64 ^ 0xB341_5C00 ^ MULTIPLIER) & MASK;
    let mut bytes = [0; 16];
    for chunk in bytes.chunks_exact_mut(4) {
        state = (state.wrapping_mul(MULTIPLIER) + 0xB) & MASK;
        chunk.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    bytes
}

/// A reply's or notification's header, and what follows it.
#[derive(Clone, Debug)]
pub struct Reply<'a> {
    pub xid: i32,
    pub zxid: i64,
    pub error: i32,
    pub body: Reader<'a>,
}

impl<'a> Reply<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Reply<'a>, Malformed> {
        let mut r = Reader::new(payload);
        Ok(Reply { xid: r.i32()?, zxid: r.i64()?, error: r.i32()?, body: r })
    }

    /// As a notification: kind and path.
    pub fn event(&self) -> Result<Event, Malformed> {
        let mut r = self.body.clone();
        let (kind, state) = (r.i32()?, r.i32()?);
        let path = r.string()?.into_owned();
        if state != 3 || !r.is_empty() || self.error != 0 {
            return Err(Malformed("notification"));
        }
        Ok(Event { kind, path })
    }
}

/// What a notification says; `kind` as parity WA-01 numbers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: i32,
    pub path: String,
}

pub const NODE_CREATED: i32 = 1;
pub const NODE_DELETED: i32 = 2;
pub const NODE_DATA_CHANGED: i32 = 3;
pub const NODE_CHILDREN_CHANGED: i32 = 4;

/// One slot of a multi's or multiRead's reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    Path(String),
    PathStat(String, Stat),
    Stat(Stat),
    Done(i32),
    Data(Option<Vec<u8>>, Stat),
    Children(Vec<String>),
    Error(i32),
}

/// The slots of a multi's or multiRead's reply.
pub fn slots(r: &mut Reader<'_>) -> Result<Vec<Slot>, Malformed> {
    let mut slots = Vec::new();
    loop {
        let (kind, done, error) = (r.i32()?, r.bool()?, r.i32()?);
        if done {
            return if r.is_empty() { Ok(slots) } else { Err(Malformed("bytes behind a multi's end")) };
        }
        slots.push(match kind {
            1 => Slot::Path(r.string()?.into_owned()),
            15 => Slot::PathStat(r.string()?.into_owned(), r.stat()?),
            5 => Slot::Stat(r.stat()?),
            2 | 13 => Slot::Done(kind),
            4 => Slot::Data(r.buffer()?.map(<[u8]>::to_vec), r.stat()?),
            8 => Slot::Children(r.strings()?.into_iter().map(|name| name.into_owned()).collect()),
            -1 if r.i32()? == error => Slot::Error(error),
            _ => return Err(Malformed("a slot of an unknown kind")),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_match_the_documented_vectors() {
        assert_eq!(password(0x1)[..4], [0x05, 0x4c, 0xc7, 0x4a]);
        assert_eq!(password(-1)[12..], [0x24, 0x86, 0xa9, 0xee]);
        assert_eq!(password(0x100000000000000)[..4], [0xf2, 0x2a, 0xcd, 0x4a]);
    }
}
