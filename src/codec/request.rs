//! What a client asks: headers, the handshake, and one record per operation (parity 1.3 to 1.7).

use std::borrow::Cow;

use super::opcode::OpCode;
use super::{Malformed, Reader};
use crate::base::{Acl, SessionId, Xid, Zxid};

type Str<'a> = Cow<'a, str>;

/// The first frame of a connection (parity H-01..H-03).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectRequest {
    pub last_zxid_seen: Zxid,
    pub timeout_ms: i32,
    pub session: SessionId,
    pub password: Vec<u8>,
    /// `None` when the client is so old that it sends no such byte, and expects none back.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    pub fn decode(payload: &[u8]) -> Result<ConnectRequest, Malformed> {
        let mut reader = Reader::new(payload);
        reader.i32()?; // protocolVersion: every value is served alike (H-05)
        Ok(ConnectRequest {
            last_zxid_seen: reader.zxid()?,
            timeout_ms: reader.i32()?,
            session: SessionId(reader.i64()?),
            password: reader.buffer()?.unwrap_or_default().to_vec(),
            read_only: if reader.is_empty() { None } else { Some(reader.bool()?) },
        })
    }
}

/// In front of every request but the handshake (parity X-01). The operation stays a number: an unknown one
/// is answered, not refused as malformed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    pub xid: Xid,
    pub op: i32,
}

impl RequestHeader {
    pub const BYTES: usize = 8;

    pub fn decode(reader: &mut Reader<'_>) -> Result<RequestHeader, Malformed> {
        Ok(RequestHeader { xid: Xid(reader.i32()?), op: reader.i32()? })
    }
}

/// An ACL as it arrives: the list may be null, an entry may lack its scheme or id. Judged in `prep/`.
pub type RawAcl = Option<Vec<Option<Acl>>>;

/// create, create2, createContainer and createTTL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateRequest<'a> {
    /// Which of the four operations asked: it decides the shape of the reply.
    pub op: OpCode,
    pub path: Str<'a>,
    pub data: Option<&'a [u8]>,
    pub acl: RawAcl,
    pub flags: i32,
    /// Milliseconds; only createTTL carries it.
    pub ttl: Option<i64>,
}

impl CreateRequest<'_> {
    /// Whether the flags ask for a znode that ends with its session (ZK: CreateMode.isEphemeral).
    pub fn is_ephemeral(&self) -> bool {
        matches!(self.flags, 1 | 3)
    }
}

/// One operation inside a multi transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiOp<'a> {
    Create(CreateRequest<'a>),
    Delete { path: Str<'a>, version: i32 },
    SetData { path: Str<'a>, data: Option<&'a [u8]>, version: i32 },
    Check { path: Str<'a>, version: i32 },
}

/// One operation inside a multiRead. Their watch flags are ignored (parity MU-05).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadOp<'a> {
    GetData { path: Str<'a> },
    GetChildren { path: Str<'a> },
}

/// The five lists of setWatches2; setWatches fills the first three.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SetWatches<'a> {
    pub relative_zxid: Zxid,
    pub data: Vec<Str<'a>>,
    pub exist: Vec<Str<'a>>,
    pub child: Vec<Str<'a>>,
    pub persistent: Vec<Str<'a>>,
    pub persistent_recursive: Vec<Str<'a>>,
}

/// A decoded request, borrowing from its frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    Create(CreateRequest<'a>),
    Delete {
        path: Str<'a>,
        version: i32,
    },
    Exists {
        path: Str<'a>,
        watch: bool,
    },
    GetData {
        path: Str<'a>,
        watch: bool,
    },
    SetData {
        path: Str<'a>,
        data: Option<&'a [u8]>,
        version: i32,
    },
    GetAcl {
        path: Str<'a>,
    },
    SetAcl {
        path: Str<'a>,
        acl: RawAcl,
        version: i32,
    },
    /// `with_stat` tells getChildren2 from getChildren.
    GetChildren {
        path: Str<'a>,
        watch: bool,
        with_stat: bool,
    },
    Sync {
        path: Option<Str<'a>>,
    },
    Ping,
    Multi(Vec<MultiOp<'a>>),
    MultiRead(Vec<ReadOp<'a>>),
    Reconfig,
    CheckWatches {
        path: Str<'a>,
        kind: i32,
    },
    RemoveWatches {
        path: Str<'a>,
        kind: i32,
    },
    /// Either may be null, which no scheme accepts.
    Auth {
        scheme: Option<Str<'a>>,
        auth: Option<&'a [u8]>,
    },
    Sasl {
        token: Option<&'a [u8]>,
    },
    SetWatches(SetWatches<'a>),
    GetEphemerals {
        prefix: Option<Str<'a>>,
    },
    GetAllChildrenNumber {
        path: Str<'a>,
    },
    AddWatch {
        path: Str<'a>,
        mode: i32,
    },
    WhoAmI,
    CloseSession,
}

/// Whether a request of `op` that is malformed like this is answered only after it got a zxid: the reference
/// numbers a multi before it reads it, and trips over a null path or ACL id when it prepares the request.
pub fn fails_in_order(op: OpCode, malformed: Malformed) -> bool {
    op.goes_to_replica()
        && (op == OpCode::Multi || matches!(malformed, Malformed::NULL_STRING | Malformed::NULL_ACL_ID))
}

impl<'a> Request<'a> {
    /// Decodes the record of `op`. Bytes behind it are ignored (parity W-08).
    ///
    /// Errors: [`Malformed`] when the record is not one of that operation, or the operation is not one that
    /// clients may ask for (the caller refuses those by number before).
    pub fn decode(op: OpCode, mut reader: Reader<'a>) -> Result<Request<'a>, Malformed> {
        let r = &mut reader;
        Ok(match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Request::Create(create(op, r)?)
            }
            OpCode::Delete => Request::Delete { path: r.string()?, version: r.i32()? },
            OpCode::Exists => Request::Exists { path: r.string()?, watch: r.bool()? },
            OpCode::GetData => Request::GetData { path: r.string()?, watch: r.bool()? },
            OpCode::SetData => Request::SetData { path: r.string()?, data: r.buffer()?, version: r.i32()? },
            OpCode::GetAcl => Request::GetAcl { path: r.string()? },
            OpCode::SetAcl => Request::SetAcl { path: r.string()?, acl: r.acl()?, version: r.i32()? },
            OpCode::GetChildren => Request::GetChildren { path: r.string()?, watch: r.bool()?, with_stat: false },
            OpCode::GetChildren2 => Request::GetChildren { path: r.string()?, watch: r.bool()?, with_stat: true },
            OpCode::Sync => Request::Sync { path: r.string_or_null()? },
            OpCode::Ping => Request::Ping,
            OpCode::Multi => Request::Multi(multi(r)?),
            OpCode::MultiRead => Request::MultiRead(multi_read(r)?),
            OpCode::Reconfig => {
                for _ in 0..3 {
                    r.string_or_null()?;
                }
                r.i64()?;
                Request::Reconfig
            }
            OpCode::CheckWatches => Request::CheckWatches { path: r.string()?, kind: r.i32()? },
            OpCode::RemoveWatches => Request::RemoveWatches { path: r.string()?, kind: r.i32()? },
            OpCode::Auth => {
                r.i32()?; // type: ignored by every server
                Request::Auth { scheme: r.string_or_null()?, auth: r.buffer()? }
            }
            OpCode::Sasl => Request::Sasl { token: r.buffer()? },
            OpCode::SetWatches | OpCode::SetWatches2 => Request::SetWatches(set_watches(op, r)?),
            OpCode::GetEphemerals => Request::GetEphemerals { prefix: r.string_or_null()? },
            OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber { path: r.string()? },
            OpCode::AddWatch => Request::AddWatch { path: r.string()?, mode: r.i32()? },
            OpCode::WhoAmI => Request::WhoAmI,
            OpCode::CloseSession => Request::CloseSession,
            OpCode::Check | OpCode::DeleteContainer | OpCode::CreateSession | OpCode::Error => {
                return Err(Malformed("operation is not for clients"));
            }
        })
    }
}

fn create<'a>(op: OpCode, r: &mut Reader<'a>) -> Result<CreateRequest<'a>, Malformed> {
    Ok(CreateRequest {
        op,
        path: r.string()?,
        data: r.buffer()?,
        acl: r.acl()?,
        flags: r.i32()?,
        ttl: if op == OpCode::CreateTtl { Some(r.i64()?) } else { None },
    })
}

fn set_watches<'a>(op: OpCode, r: &mut Reader<'a>) -> Result<SetWatches<'a>, Malformed> {
    let mut lists = SetWatches {
        relative_zxid: r.zxid()?,
        data: r.strings()?,
        exist: r.strings()?,
        child: r.strings()?,
        ..SetWatches::default()
    };
    if op == OpCode::SetWatches2 {
        lists.persistent = r.strings()?;
        lists.persistent_recursive = r.strings()?;
    }
    Ok(lists)
}

/// MultiHeader: type, done, err (parity MU-01). `None` at the terminator.
fn multi_header(r: &mut Reader<'_>) -> Result<Option<i32>, Malformed> {
    let op = r.i32()?;
    let done = r.bool()?;
    r.i32()?;
    Ok(if done { None } else { Some(op) })
}

fn multi<'a>(r: &mut Reader<'a>) -> Result<Vec<MultiOp<'a>>, Malformed> {
    let mut ops = Vec::new();
    while let Some(code) = multi_header(r)? {
        ops.push(match OpCode::from_i32(code) {
            Some(op @ (OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl)) => {
                MultiOp::Create(multi_create(create(op, r)?)?)
            }
            Some(OpCode::Delete) => MultiOp::Delete { path: r.string()?, version: r.i32()? },
            Some(OpCode::SetData) => MultiOp::SetData { path: r.string()?, data: r.buffer()?, version: r.i32()? },
            Some(OpCode::Check) => MultiOp::Check { path: r.string()?, version: r.i32()? },
            _ => return Err(Malformed("operation is not allowed in a multi")),
        });
    }
    Ok(ops)
}

/// Inside a multi the flags decide what a create is, and bad ones spoil the whole frame (parity MU-17).
/// ZK: MultiOperationRecord.deserialize, Op.create.
fn multi_create(mut request: CreateRequest<'_>) -> Result<CreateRequest<'_>, Malformed> {
    match (request.op, request.flags) {
        (OpCode::CreateTtl, 5 | 6) => {}
        (OpCode::CreateTtl, _) => (request.op, request.ttl) = (OpCode::Create, None),
        (_, 4) => request.op = OpCode::CreateContainer,
        (_, 0..=3) => {}
        _ => return Err(Malformed("bad create flag in a multi")),
    }
    Ok(request)
}

fn multi_read<'a>(r: &mut Reader<'a>) -> Result<Vec<ReadOp<'a>>, Malformed> {
    let mut ops = Vec::new();
    while let Some(code) = multi_header(r)? {
        let op = OpCode::from_i32(code);
        let path = match op {
            Some(OpCode::GetData | OpCode::GetChildren) => r.string()?,
            _ => return Err(Malformed("operation is not allowed in a multiRead")),
        };
        r.bool()?;
        ops.push(if op == Some(OpCode::GetData) { ReadOp::GetData { path } } else { ReadOp::GetChildren { path } });
    }
    Ok(ops)
}
