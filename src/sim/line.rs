//! One connection as a witness sees it: every byte the server puts into its output, judged the moment it is there.
//!
//! The tap sits before the invented network, so nothing is excused by delay or loss: replies in the order of the
//! requests (invariant 5), each equal to the model at its own zxid (2, 3, 6, 14), zxids that never go back (4, 7),
//! nothing that is not durable (33), each watch event exactly once and before any reply that could show its
//! cause (9, 10).

use std::collections::{BTreeMap, VecDeque};

use super::client::{Event, Hello, Op, Reply, Welcome, password};
use super::judge::{BAD_ARGUMENTS, MARSHALLING_ERROR, NO_WATCHER, UNIMPLEMENTED, valid};
use super::model::Model;
use super::reads;
use super::watches::Watches;
use crate::base::{ConnId, Id};
use crate::codec::txn::Txn;

/// A request on its way to an answer.
#[derive(Clone, Debug)]
pub struct Asked {
    pub xid: i32,
    pub op: Op,
    /// The newest zxid anybody had been shown when it was sent: its own must be later (invariant 1), and a sync
    /// must catch up with it (8).
    pub floor: i64,
    /// When, in microseconds.
    pub at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Greeting(Hello),
    Live,
    /// The server said its last word; nothing may follow.
    Over,
}

/// What the witness knows of the whole server while it judges one output.
pub struct Scene<'a> {
    pub model: &'a Model,
    /// (session, cxid) of every write in the commit order, to its zxid.
    pub ledger: &'a BTreeMap<(i64, i32), i64>,
    /// The last zxid whose batch is on the invented disk.
    pub durable: i64,
    /// What this shard had applied before and after the call that made the output.
    pub applied: (i64, i64),
    /// A grant may rest on the commit order up to here: one server's own state, or all that is committed anywhere.
    pub granted_through: i64,
    /// The newest zxid shown to anybody; raised here.
    pub shown: &'a mut i64,
    /// Sessions refused although the commit order has not ended them yet: their end must follow.
    pub doomed: &'a mut Vec<i64>,
    pub min_timeout_ms: i32,
    pub max_timeout_ms: i32,
}

pub struct Line {
    pub shard: u16,
    pub conn: ConnId,
    pub phase: Phase,
    pub session: i64,
    pub timeout_ms: i32,
    pub asked: VecDeque<Asked>,
    pub ids: Vec<Id>,
    /// Hostile connections may send what nobody can predict the answer to.
    pub hostile: bool,
    /// Bytes at the front of the shard's output that have been judged.
    pub judged: usize,
    partial: Vec<u8>,
    watches: Watches,
    /// Changes up to this zxid have been run past the watches.
    position: i64,
    expected: VecDeque<(i64, Event)>,
    /// Events of a setWatches whose reply is still to come.
    catching_up: Vec<Event>,
    last_zxid: i64,
    pub replies: u64,
    pub events: u64,
}

impl Line {
    pub fn new(shard: u16, conn: ConnId, hello: Hello, address: &str, hostile: bool) -> Line {
        let last_zxid = hello.last_zxid_seen;
        Line {
            shard,
            conn,
            phase: Phase::Greeting(hello),
            session: 0,
            timeout_ms: 0,
            asked: VecDeque::new(),
            ids: vec![Id::new("ip", address)],
            hostile,
            judged: 0,
            partial: Vec::new(),
            watches: Watches::default(),
            position: 0,
            expected: VecDeque::new(),
            catching_up: Vec::new(),
            last_zxid,
            replies: 0,
            events: 0,
        }
    }

    /// Judges new output.
    pub fn on_output(&mut self, bytes: &[u8], scene: &mut Scene<'_>) -> Result<(), String> {
        self.judged += bytes.len();
        if self.hostile {
            return Ok(());
        }
        self.partial.extend_from_slice(bytes);
        let mut buffer = std::mem::take(&mut self.partial);
        let mut at = 0;
        while let Some(word) = buffer.get(at..at + 4) {
            let length = i32::from_be_bytes([word[0], word[1], word[2], word[3]]);
            let length = usize::try_from(length).map_err(|_| format!("a frame of {length} bytes"))?;
            let Some(payload) = buffer.get(at + 4..at + 4 + length) else { break };
            self.on_frame(payload, scene)?;
            at += 4 + length;
        }
        buffer.drain(..at);
        self.partial = buffer;
        Ok(())
    }

    /// After a call into the shard: everything due by what it has applied must have been said.
    pub fn on_turn(&mut self, scene: &Scene<'_>) -> Result<(), String> {
        if self.phase == Phase::Live && !self.hostile {
            self.advance(scene.model, scene.applied.1);
            if let Some((zxid, event)) = self.expected.front() {
                let cause = scene.model.step(*zxid).map(|step| (&step.header, &step.txn, &step.triggers));
                return Err(format!(
                    "the watch event {event:?} of {zxid:#x} was not sent to {:?} (invariant 10); its cause is {cause:?}",
                    self.ids
                ));
            }
        }
        Ok(())
    }

    fn on_frame(&mut self, payload: &[u8], scene: &mut Scene<'_>) -> Result<(), String> {
        match std::mem::replace(&mut self.phase, Phase::Live) {
            Phase::Greeting(hello) => self.on_welcome(payload, &hello, scene),
            Phase::Over => Err("output after the last word".into()),
            Phase::Live => {
                let reply = Reply::decode(payload).map_err(|error| error.to_string())?;
                if reply.xid == -1 { self.on_event(&reply, scene) } else { self.on_reply(reply, scene) }
            }
        }
    }

    fn on_welcome(&mut self, payload: &[u8], hello: &Hello, scene: &mut Scene<'_>) -> Result<(), String> {
        let welcome = Welcome::decode(payload, hello.old).map_err(|error| error.to_string())?;
        if welcome.session == 0 {
            if welcome.timeout_ms != 0 || welcome.password != [0; 16] || hello.session == 0 {
                return Err(format!("refused {hello:?} with {welcome:?}"));
            }
            if hello.password == password(hello.session)
                && scene.model.session_at(hello.session, scene.durable).is_some()
            {
                scene.doomed.push(hello.session);
            }
            self.phase = Phase::Over;
            return Ok(());
        }
        let clamped = hello.timeout_ms.clamp(scene.min_timeout_ms, scene.max_timeout_ms);
        if welcome.timeout_ms != clamped || welcome.password != password(welcome.session) {
            return Err(format!("{hello:?} was granted {welcome:?}"));
        }
        if hello.session != 0 && (welcome.session != hello.session || hello.password != welcome.password) {
            return Err(format!("{hello:?} was granted {welcome:?} (invariant 18)"));
        }
        // At the zxid of the grant, which no byte of it tells. One batch may hold the grant and, behind it, the end:
        // a disk that stalls for a whole timeout.
        let (before, after) = (scene.applied.0, scene.granted_through);
        if !scene.model.session_lives_within(welcome.session, before, after) {
            return Err(format!("session {:#x} was granted but does not live (invariant 18, 33)", welcome.session));
        }
        if hello.last_zxid_seen > scene.applied.1 {
            return Err(format!("a client that saw {:#x} was let in at {:#x}", hello.last_zxid_seen, scene.applied.1));
        }
        self.session = welcome.session;
        self.timeout_ms = welcome.timeout_ms;
        // Not what the call ended with: it may have granted in the middle of a batch and served, right behind the
        // grant, requests that set watches for the rest of it. Until the first one nothing can be heard.
        self.position = scene.applied.0;
        Ok(())
    }

    fn on_event(&mut self, reply: &Reply<'_>, scene: &mut Scene<'_>) -> Result<(), String> {
        let event = reply.event().map_err(|error| error.to_string())?;
        self.events += 1;
        if reply.zxid == -1 {
            self.catching_up.push(event);
            return Ok(());
        }
        self.see_zxid(reply.zxid, scene)?;
        self.advance(scene.model, reply.zxid);
        match self.expected.pop_front() {
            Some((zxid, due)) if zxid == reply.zxid && due == event => Ok(()),
            due => {
                Err(format!("the watch event {event:?} of {:#x} came where {due:?} was due (invariant 10)", reply.zxid))
            }
        }
    }

    /// No zxid goes back, and none is shown that the disk does not hold.
    fn see_zxid(&mut self, zxid: i64, scene: &mut Scene<'_>) -> Result<(), String> {
        if zxid < self.last_zxid {
            return Err(format!("zxid {zxid:#x} after {:#x} (invariant 4)", self.last_zxid));
        }
        if zxid > scene.durable {
            return Err(format!("{zxid:#x} was shown, but only {:#x} is on disk (invariant 33)", scene.durable));
        }
        if zxid > scene.applied.1 {
            return Err(format!("{zxid:#x} was shown by a shard that has applied {:#x}", scene.applied.1));
        }
        self.last_zxid = zxid;
        *scene.shown = zxid.max(*scene.shown);
        Ok(())
    }

    /// Runs the committed changes up to `zxid` past the watches.
    fn advance(&mut self, model: &Model, zxid: i64) {
        while let Some(step) = model.step_after(self.position).filter(|step| step.header.zxid.0 <= zxid) {
            self.position = step.header.zxid.0;
            for trigger in &step.triggers {
                let heard = self.watches.fire(trigger, &self.ids);
                self.expected.extend(heard.into_iter().map(|event| (self.position, event)));
            }
        }
    }

    fn on_reply(&mut self, mut reply: Reply<'_>, scene: &mut Scene<'_>) -> Result<(), String> {
        self.replies += 1;
        let Some(asked) = self.asked.pop_front() else {
            return Err(format!("a reply to nothing: xid {}", reply.xid));
        };
        let wanted_xid = if asked.op == Op::Ping { -2 } else { asked.xid };
        if reply.xid != wanted_xid {
            return Err(format!("the reply to xid {} came where {asked:?} was due (invariant 5)", reply.xid));
        }
        self.judge(&asked, &mut reply, scene).map_err(|why| format!("{asked:?} answered by {reply:?}: {why}"))
    }

    fn judge(&mut self, asked: &Asked, reply: &mut Reply<'_>, scene: &mut Scene<'_>) -> Result<(), String> {
        match &asked.op {
            Op::Auth { scheme, credential } => return self.on_auth(scheme, credential, reply, scene),
            Op::Unknown { .. } => {
                self.phase = Phase::Over;
                let as_told = reply.zxid == -1 && reply.error == UNIMPLEMENTED && reply.body.is_empty();
                return if as_told { Ok(()) } else { Err("wanted zxid -1 and -6".into()) };
            }
            _ => {}
        }
        self.see_zxid(reply.zxid, scene)?;
        let zxid = reply.zxid;
        self.advance(scene.model, zxid);
        if let Some((at, event)) = self.expected.front() {
            return Err(format!("the watch event {event:?} of {at:#x} was not sent before it (invariant 9)"));
        }
        if let Op::SetWatches { relative, lists, .. } = &asked.op {
            let due = self.watches.set(lists, *relative, scene.model, zxid, &self.ids);
            let told = std::mem::take(&mut self.catching_up);
            if due != told || reply.error != 0 {
                return Err(format!("told {told:?}, due was {due:?} at {zxid:#x} (invariant 10)"));
            }
        } else if !self.catching_up.is_empty() {
            return Err(format!("events without a cause before it: {:?}", self.catching_up));
        }
        match &asked.op {
            op if op.is_write() => self.on_written(asked, reply, scene),
            Op::Broken { .. } => expect_error(reply, MARSHALLING_ERROR),
            Op::AddWatch { path, mode } => {
                if !matches!(mode, 0 | 1) {
                    return expect_error(reply, MARSHALLING_ERROR);
                }
                if !valid(path) {
                    return expect_error(reply, BAD_ARGUMENTS);
                }
                self.watches.add(path, *mode == 1);
                expect_error(reply, 0)
            }
            Op::CheckWatches { kind, .. } | Op::RemoveWatches { kind, .. } if !(1..=5).contains(kind) => {
                expect_error(reply, MARSHALLING_ERROR)
            }
            Op::CheckWatches { path, kind } => {
                expect_error(reply, if self.watches.any_of_kind(path, *kind) { 0 } else { NO_WATCHER })
            }
            Op::RemoveWatches { path, kind } => {
                expect_error(reply, if self.watches.remove(path, *kind) { 0 } else { NO_WATCHER })
            }
            Op::SetWatches { .. } | Op::Ping => expect_error(reply, 0),
            Op::Sync { path } => {
                if zxid < asked.floor {
                    return Err(format!("sync ended at {zxid:#x}, before {:#x} (invariant 8)", asked.floor));
                }
                expect_error(reply, 0)?;
                let echo = reply.body.string().map_err(|error| error.to_string())?;
                if echo == path.as_str() { Ok(()) } else { Err("another path".into()) }
            }
            op => {
                if zxid < scene.applied.0 {
                    return Err(format!("read at {zxid:#x} by a shard at {:#x} (invariant 2)", scene.applied.0));
                }
                let viewer = reads::Viewer { model: scene.model, zxid, ids: &self.ids, session: self.session };
                reads::check(&viewer, op, reply)?;
                reads::arm(&mut self.watches, op, reply.error);
                Ok(())
            }
        }
    }

    fn on_written(&mut self, asked: &Asked, reply: &mut Reply<'_>, scene: &Scene<'_>) -> Result<(), String> {
        let Some(&own) = scene.ledger.get(&(self.session, asked.xid)) else {
            return Err("answered, but no transaction carries it (invariant 1)".into());
        };
        if own > reply.zxid {
            return Err(format!("its own transaction is {own:#x} (invariant 33)"));
        }
        if own <= asked.floor {
            return Err(format!(
                "its transaction {own:#x} is not after {:#x}, shown before (invariant 1)",
                asked.floor
            ));
        }
        let step = scene.model.step(own).ok_or("its transaction is gone")?;
        if let Txn::CloseSession { .. } = step.txn {
            self.phase = Phase::Over;
        }
        reads::check_written(scene.model, step, &asked.op, reply)
    }

    fn on_auth(&mut self, scheme: &str, credential: &[u8], reply: &Reply<'_>, scene: &Scene<'_>) -> Result<(), String> {
        if reply.zxid != 0 || !reply.body.is_empty() {
            return Err("wanted zxid 0 and no body".into());
        }
        // What was applied before is filtered by the identities of before. In the middle of a batch a proof is
        // read right behind the reply that let the connection be read again, so at that reply's zxid.
        self.advance(scene.model, scene.applied.0.max(self.last_zxid));
        let known = KNOWN_DIGESTS.iter().find(|(bytes, _)| bytes.as_bytes() == credential);
        match (scheme, known) {
            ("digest", Some((_, id))) => {
                let id = Id::new("digest", id);
                if !self.ids.contains(&id) {
                    self.ids.push(id);
                }
                expect_error(reply, 0)
            }
            ("ip", _) => expect_error(reply, 0),
            _ => {
                self.phase = Phase::Over;
                expect_error(reply, -115)
            }
        }
    }
}

/// Credentials the workload uses, with the ids the protocol's documented vectors give them (parity A-26).
pub const KNOWN_DIGESTS: [(&str, &str); 2] =
    [("user:pass", "user:smGaoVKd/cQkjm7b88GyorAUz20="), ("a:b:c", "a:cLzgnoJ6mP5qz3w+mwvPE2vDgu0=")];

pub fn expect_error(reply: &Reply<'_>, code: i32) -> Result<(), String> {
    if reply.error == code { Ok(()) } else { Err(format!("wanted error {code}")) }
}
