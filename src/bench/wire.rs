//! The generator's own jute: just enough to write requests and read reply headers.
//!
//! It deliberately shares nothing with the server's codec. A mistake made twice would cancel out and
//! stay unseen; a generator that encodes for itself judges the server from outside, as any client does.

/// Operation codes of the requests the generator sends (ZK: ZooDefs.OpCode).
pub mod op {
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_CHILDREN: i32 = 8;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const MULTI_READ: i32 = 22;
    pub const CLOSE_SESSION: i32 = -11;
}

/// The xid of a watch event (ZK: ClientCnxn.NOTIFICATION_XID).
pub const XID_EVENT: i32 = -1;
/// The xid of a ping and of its answer (ZK: ClientCnxn.PING_XID).
pub const XID_PING: i32 = -2;
/// `NodeDataChanged` in a watch event (ZK: Watcher.Event.EventType).
pub const EVENT_DATA_CHANGED: i32 = 3;

/// Bytes of a reply header: xid, zxid, err.
pub const HEADER_BYTES: usize = 16;
/// Where the xid lies in a frame, after its length.
pub const XID_AT: usize = 4;
/// A frame longer than this is not a reply but a broken stream.
pub const FRAME_BYTES_MAX: usize = 256 << 20;

/// Builds one frame at the end of a buffer and fills in its length when it is finished.
pub struct FrameWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> FrameWriter<'a> {
    /// Starts a frame with nothing in it but room for its length.
    pub fn bare(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        FrameWriter { out, start }
    }

    /// Starts a request frame with its header (xid, type).
    pub fn request(out: &'a mut Vec<u8>, xid: i32, op: i32) -> Self {
        FrameWriter::bare(out).int(xid).int(op)
    }

    pub fn int(self, value: i32) -> Self {
        self.out.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn long(self, value: i64) -> Self {
        self.out.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn flag(self, value: bool) -> Self {
        self.out.push(value.into());
        self
    }

    /// A jute buffer or string: length, bytes.
    pub fn buffer(mut self, value: &[u8]) -> Self {
        self = self.int(i32::try_from(value.len()).expect("values are far below 2 GiB"));
        self.out.extend_from_slice(value);
        self
    }

    /// The ACL list `world:anyone` with all permissions.
    pub fn open_acl(self) -> Self {
        self.int(1).int(0x1f).buffer(b"world").buffer(b"anyone")
    }

    /// One operation of a multi: its header (ZK: MultiHeader), then what it would be alone.
    pub fn part(self, ask: &Ask<'_>) -> Self {
        ask.write(self.int(ask.op()).flag(false).int(-1))
    }

    /// The header behind the last operation of a multi.
    pub fn end_of_parts(self) -> Self {
        self.int(-1).flag(true).int(-1)
    }

    pub fn finish(self) {
        let length = i32::try_from(self.out.len() - self.start - 4).expect("frames are far below 2 GiB");
        self.out[self.start..self.start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// `ConnectRequest` for a new session (ZK: ConnectRequest in zookeeper.jute, with `readOnly`).
pub fn connect_request(out: &mut Vec<u8>, timeout_ms: i32) {
    FrameWriter::bare(out).int(0).long(0).int(timeout_ms).long(0).buffer(&[0; 16]).flag(false).finish();
}

/// An operation on a znode, alone or as a part of a multi.
pub enum Ask<'a> {
    Create {
        path: &'a [u8],
        data: &'a [u8],
    },
    Delete {
        path: &'a [u8],
    },
    SetData {
        path: &'a [u8],
        data: &'a [u8],
    },
    Check {
        path: &'a [u8],
    },
    /// exists, getData, getChildren, getChildren2: all encoded alike, but that inside a multi none has a watch flag
    /// that counts.
    Read {
        op: i32,
        path: &'a [u8],
        watch: bool,
    },
}

impl Ask<'_> {
    pub fn op(&self) -> i32 {
        match self {
            Ask::Create { .. } => op::CREATE,
            Ask::Delete { .. } => op::DELETE,
            Ask::SetData { .. } => op::SET_DATA,
            Ask::Check { .. } => op::CHECK,
            Ask::Read { op, .. } => *op,
        }
    }

    /// The operation's record; every version is "any".
    fn write<'w>(&self, frame: FrameWriter<'w>) -> FrameWriter<'w> {
        match *self {
            Ask::Create { path, data } => frame.buffer(path).buffer(data).open_acl().int(0),
            Ask::Delete { path } | Ask::Check { path } => frame.buffer(path).int(-1),
            Ask::SetData { path, data } => frame.buffer(path).buffer(data).int(-1),
            Ask::Read { path, watch, .. } => frame.buffer(path).flag(watch),
        }
    }

    /// The operation as a request of its own.
    pub fn request(&self, out: &mut Vec<u8>, xid: i32) {
        self.write(FrameWriter::request(out, xid, self.op())).finish();
    }
}

pub fn create(out: &mut Vec<u8>, xid: i32, path: &str, data: &[u8]) {
    Ask::Create { path: path.as_bytes(), data }.request(out, xid);
}

pub fn delete(out: &mut Vec<u8>, xid: i32, path: &str) {
    Ask::Delete { path: path.as_bytes() }.request(out, xid);
}

pub fn set_data(out: &mut Vec<u8>, xid: i32, path: &str, data: &[u8]) {
    Ask::SetData { path: path.as_bytes(), data }.request(out, xid);
}

/// A read of `path` by `op`: exists, getData, getChildren, getChildren2.
pub fn read(out: &mut Vec<u8>, xid: i32, op: i32, path: &str, watch: bool) {
    Ask::Read { op, path: path.as_bytes(), watch }.request(out, xid);
}

/// A request that is only a header: ping, closeSession.
pub fn header_only(out: &mut Vec<u8>, xid: i32, op: i32) {
    FrameWriter::request(out, xid, op).finish();
}

/// One setData on `set`, guarded by a check of `check`, as one multi.
pub fn multi(out: &mut Vec<u8>, xid: i32, check: &str, set: &str, data: &[u8]) {
    FrameWriter::request(out, xid, op::MULTI)
        .part(&Ask::Check { path: check.as_bytes() })
        .part(&Ask::SetData { path: set.as_bytes(), data })
        .end_of_parts()
        .finish();
}

/// The big-endian int at `at`; the caller has checked the length.
#[inline]
pub fn int_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The error a reply to a multi carries in its first result, if it failed: a failed multi has err 0 in
/// its header and an error result (type -1) for each of its operations (ZK: MultiResponse).
/// `RuntimeInconsistency` (-2) stands for the operations that were not the cause.
pub fn multi_error(body: &[u8]) -> Option<i32> {
    let mut at = 0;
    let mut seen = None;
    while body.len() >= at + 9 {
        let (kind, done, err) = (int_at(body, at), body[at + 4] != 0, int_at(body, at + 5));
        if done || kind != -1 {
            break;
        }
        if err != 0 && err != -2 {
            return Some(err);
        }
        seen = Some(-2);
        at += 9 + 4;
    }
    if body.len() < 9 { Some(-5) } else { seen }
}

/// ZooKeeper's name of an error code, for reports (ZK: KeeperException.Code).
pub fn error_name(code: i32) -> &'static str {
    match code {
        -1 => "SystemError",
        -2 => "RuntimeInconsistency",
        -4 => "ConnectionLoss",
        -5 => "MarshallingError",
        -6 => "Unimplemented",
        -7 => "OperationTimeout",
        -8 => "BadArguments",
        -101 => "NoNode",
        -102 => "NoAuth",
        -103 => "BadVersion",
        -108 => "NoChildrenForEphemerals",
        -110 => "NodeExists",
        -111 => "NotEmpty",
        -112 => "SessionExpired",
        -118 => "SessionMoved",
        -119 => "NotReadOnly",
        -125 => "QuotaExceeded",
        -127 => "ThrottledOp",
        _ => "unnamed",
    }
}
