//! What the tests drive: one shard, and the tree its changes come from.

use std::borrow::Cow;
use std::sync::Arc;

use crate::admin::Whitelist;
use crate::base::{Acl, ConnId, ErrorCode, Instant, Now, Origin, SessionId, ShardId, WallMs, Xid, Zxid, open_acl};
use crate::codec::Writer;
use crate::codec::opcode::OpCode;
use crate::codec::reply::framed;
use crate::codec::txn::{CreateKind, Txn, TxnHeader};
use crate::mail::{Answer, AnswerKind, Body, Changes, Entry, Service, ToReplica, ToShard};
use crate::session;
use crate::shard::{Effects, Settings, Shard};
use crate::tree::{OwnerRules, Tree};

pub const SHARD: ShardId = ShardId(0);

pub struct Rig {
    pub shard: Shard,
    pub out: Effects,
    pub now: Now,
    pub zxid: Zxid,
    master: Tree,
    next_session: i64,
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Rig {
        let master = Tree::new(OwnerRules { extended_types: true, emulate_353: false });
        let mut settings = Settings::defaults(SHARD, 1, 2000);
        settings.words = Whitelist::parse(Some("*"), false);
        change(&mut settings);
        let now = Now { mono: Instant(1_000_000_000), wall: WallMs(1_700_000_000_000) };
        Rig {
            shard: Shard::new(settings, master.replicate(), Zxid::ZERO, now.mono),
            out: Effects::default(),
            now,
            zxid: Zxid::ZERO,
            master,
            next_session: 0x0100_0000_0000_0001,
        }
    }

    pub fn accept(&mut self) -> ConnId {
        self.shard.on_accept("127.0.0.1:4000".parse().unwrap(), self.now, &mut self.out)
    }

    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.shard.on_bytes(conn, bytes, self.now, &mut self.out);
    }

    pub fn output(&mut self, conn: ConnId) -> Vec<u8> {
        std::mem::take(self.shard.output(conn))
    }

    pub fn mail(&mut self) -> Vec<ToReplica> {
        std::mem::take(&mut self.out.mail)
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus_ms(ms);
        self.now.wall.0 += ms as i64;
    }

    pub fn tick(&mut self) {
        self.shard.on_tick(self.now, &mut self.out);
    }

    pub fn is_closed(&self, conn: ConnId) -> bool {
        self.out.close.iter().any(|close| close.conn == conn)
    }

    /// A connection with a session, its handshake answered and read.
    pub fn connect(&mut self) -> ConnId {
        let conn = self.accept();
        self.mail();
        self.send(conn, &handshake(SessionId::NONE, &[0; 16], 10_000));
        assert!(matches!(self.mail()[..], [ToReplica::Connect(_)]));
        self.grant(conn);
        assert_eq!(self.output(conn).len(), 41);
        conn
    }

    pub fn grant(&mut self, conn: ConnId) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.answer(conn, AnswerKind::Granted { session, timeout_ms: 10_000 });
        session
    }

    /// An entry that only answers.
    pub fn answer(&mut self, conn: ConnId, kind: AnswerKind) {
        let answer = Some(Answer { to: Origin { shard: SHARD, conn }, kind });
        let entry = Entry { zxid: self.zxid, changes: Changes::new(), answer };
        self.deliver(vec![entry]);
    }

    /// What one transaction does, for whoever waits for it.
    pub fn entry(&mut self, session: SessionId, txn: &Txn<'_>, answer: Option<(ConnId, AnswerKind)>) -> Entry {
        self.zxid = self.zxid.next();
        let header = TxnHeader { session, cxid: Xid(0), zxid: self.zxid, time: self.now.wall };
        let mut changes = Changes::new();
        self.master.apply(&header, txn, &mut changes).unwrap();
        let answer = answer.map(|(conn, kind)| Answer { to: Origin { shard: SHARD, conn }, kind });
        Entry { zxid: self.zxid, changes, answer }
    }

    /// Other clients are let in from now on.
    pub fn serve(&mut self, service: Service) {
        self.shard.on_mail(ToShard::Serve(service), self.now, &mut self.out);
    }

    pub fn deliver(&mut self, entries: Vec<Entry>) {
        self.shard.on_mail(ToShard::Batch(Arc::from(entries)), self.now, &mut self.out);
    }

    /// Somebody else's transaction.
    pub fn commit(&mut self, txn: &Txn<'_>) {
        let entry = self.entry(SessionId(0x77), txn, None);
        self.deliver(vec![entry]);
    }
}

pub fn create(path: &str, data: &[u8]) -> Txn<'static> {
    create_with(path, data, &open_acl(), false)
}

pub fn create_with(path: &str, data: &[u8], acl: &[Acl], ephemeral: bool) -> Txn<'static> {
    Txn::Create {
        kind: CreateKind::Plain { two: false, ephemeral },
        path: Cow::Owned(path.to_owned()),
        data: Some(Cow::Owned(data.to_vec())),
        acl: Cow::Owned(acl.to_vec()),
        parent_cversion: -1,
    }
}

pub fn delete(path: &str) -> Txn<'static> {
    Txn::Delete { path: Cow::Owned(path.to_owned()), container: false }
}

pub fn set_data(path: &str, data: &[u8], version: i32) -> Txn<'static> {
    Txn::SetData { path: Cow::Owned(path.to_owned()), data: Some(Cow::Owned(data.to_vec())), version }
}

pub fn ok(xid: i32) -> AnswerKind {
    AnswerKind::Reply { xid: Xid(xid), error: None, body: Body::None }
}

pub fn failed(xid: i32, error: ErrorCode) -> AnswerKind {
    AnswerKind::Reply { xid: Xid(xid), error: Some(error), body: Body::None }
}

pub fn handshake(session: SessionId, password: &[u8], timeout_ms: i32) -> Vec<u8> {
    handshake_of(session, password, timeout_ms, Some(false))
}

/// `read_only`: whether the client puts up with a read-only server; old ones do not know the field.
pub fn handshake_of(session: SessionId, password: &[u8], timeout_ms: i32, read_only: Option<bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    framed(&mut bytes, |w| {
        w.i32(0);
        w.i64(0);
        w.i32(timeout_ms);
        w.i64(session.0);
        w.buffer(Some(password));
        read_only.into_iter().for_each(|flag| w.bool(flag));
    });
    bytes
}

pub fn renewal(session: SessionId) -> Vec<u8> {
    handshake(session, &session::password(session), 10_000)
}

pub fn request(xid: i32, op: OpCode, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    raw_request(xid, op.code(), body)
}

pub fn raw_request(xid: i32, op: i32, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    framed(&mut bytes, |w| {
        w.i32(xid);
        w.i32(op);
        body(w);
    });
    bytes
}

pub fn get_data(xid: i32, path: &str, watch: bool) -> Vec<u8> {
    request(xid, OpCode::GetData, |w| {
        w.string(path);
        w.bool(watch);
    })
}

pub fn exists(xid: i32, path: &str, watch: bool) -> Vec<u8> {
    request(xid, OpCode::Exists, |w| {
        w.string(path);
        w.bool(watch);
    })
}

pub fn children(xid: i32, path: &str, watch: bool) -> Vec<u8> {
    request(xid, OpCode::GetChildren, |w| {
        w.string(path);
        w.bool(watch);
    })
}

pub fn delete_request(xid: i32, path: &str) -> Vec<u8> {
    request(xid, OpCode::Delete, |w| {
        w.string(path);
        w.i32(-1);
    })
}

pub fn ping() -> Vec<u8> {
    request(-2, OpCode::Ping, |_| {})
}

pub fn auth(scheme: &str, proof: &str) -> Vec<u8> {
    request(-4, OpCode::Auth, |w| {
        w.i32(0);
        w.string(scheme);
        w.buffer(Some(proof.as_bytes()));
    })
}

/// One reply or event, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub xid: i32,
    pub zxid: i64,
    pub error: i32,
    pub body: Vec<u8>,
}

impl Frame {
    /// (type, path) of an event.
    pub fn event(&self) -> (i32, String) {
        assert_eq!(self.xid, -1);
        let mut reader = crate::codec::Reader::new(&self.body);
        let kind = reader.i32().unwrap();
        assert_eq!(reader.i32(), Ok(3));
        (kind, reader.string().unwrap().into_owned())
    }
}

pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut rest = bytes;
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (payload, used) = crate::codec::frame::cut(rest, usize::MAX).unwrap().expect("whole frames only");
        let mut reader = crate::codec::Reader::new(payload);
        let (xid, zxid, error) = (reader.i32().unwrap(), reader.i64().unwrap(), reader.i32().unwrap());
        frames.push(Frame { xid, zxid, error, body: reader.rest().to_vec() });
        rest = &rest[used..];
    }
    frames
}

/// (xid, error) of each reply or event.
pub fn heads(bytes: &[u8]) -> Vec<(i32, i32)> {
    frames(bytes).iter().map(|frame| (frame.xid, frame.error)).collect()
}
