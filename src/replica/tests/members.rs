//! Two members in a row, with disks that land at once and wires that can be cut or held back: what a test of a role
//! needs. Member 1 leads as long as both are there, member 0 follows. The only shard of each is the test.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::*;
use crate::base::{ErrorCode, Id, LinkId, PeerAddress, SessionId, Xid};
use crate::codec::opcode::OpCode;
use crate::codec::peer::{self, Packet};
use crate::codec::{Writer, txn};
use crate::journal::DiskEffect;
use crate::mail::{Body, Service, Submit};

/// What a member hears next.
enum News {
    Landed(BatchId),
    SegmentReady(SegmentId),
    SnapshotReady,
    SnapshotWritten(Zxid),
    Epoch(EpochFile, i64),
    Accepted(LinkId, PeerPort),
    Connected(LinkId),
    Bytes(LinkId, Bytes),
    Closed(LinkId),
    Drained(LinkId),
}

/// Bytes to a member, over its end of a wire.
type Held = (usize, LinkId, Vec<u8>);

struct Wire {
    port: PeerPort,
    ends: [(usize, LinkId); 2],
    /// What either end has sent.
    sent: [Vec<u8>; 2],
}

pub struct Members {
    pub replicas: Vec<Replica>,
    pub now_ms: u64,
    /// What the shard of each was told.
    told: Vec<Vec<ToShard>>,
    /// Sessions whose clients are heard at each.
    pub alive: Vec<BTreeSet<SessionId>>,
    news: VecDeque<(usize, News)>,
    wires: Vec<Wire>,
    accepted: u64,
    parted: bool,
    /// What either sends over the quorum port waits, if it is held.
    held: [Option<Vec<Held>>; 2],
}

pub const FOLLOWER: usize = 0;
pub const LEADER: usize = 1;
const NAMES: [&str; 2] = ["a", "b"];

impl Members {
    pub fn new(change: impl Fn(&mut EnsembleSettings)) -> Members {
        let mut members = Members {
            replicas: Vec::new(),
            now_ms: 1000,
            told: vec![Vec::new(), Vec::new()],
            alive: vec![BTreeSet::new(), BTreeSet::new()],
            news: VecDeque::new(),
            wires: Vec::new(),
            accepted: 0,
            parted: false,
            held: [None, None],
        };
        for number in 1..=2 {
            let mut settings = member();
            settings.me = ServerId(number);
            settings.view =
                View::parse("server.1=a:1:2:participant\nserver.2=b:1:2:participant\nversion=0").unwrap().into();
            change(&mut settings);
            let settings = Settings { server_id: number as u8, ..settings_of(Some(settings)) };
            let mut booted = boot(&NoMedia, settings, 1, members.now()).unwrap_or_else(|error| panic!("{error}"));
            let effects = std::mem::take(&mut booted.effects);
            members.replicas.push(booted.replica);
            members.carry_out(number as usize - 1, effects);
        }
        members
    }

    /// Two members that serve everybody.
    pub fn serving(change: impl Fn(&mut EnsembleSettings)) -> Members {
        let mut members = Members::new(change);
        members.run(3000);
        assert_eq!(members.services(), [Service::Everybody; 2]);
        assert!(members.replicas[LEADER].orders() && !members.replicas[FOLLOWER].orders());
        members
    }

    pub fn services(&self) -> [Service; 2] {
        [self.replicas[0].service(), self.replicas[1].service()]
    }

    pub fn now(&self) -> Now {
        at(self.now_ms)
    }

    /// Time passes; whatever can happen does.
    pub fn run(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.tick();
            self.settle();
        }
    }

    /// Time passes until something is so; what is under way then is still under way.
    pub fn run_until(&mut self, is_so: impl Fn(&Members) -> bool) {
        let end = self.now_ms + 60_000;
        while !is_so(self) {
            assert!(self.now_ms < end, "it does not come to that");
            if !self.step() {
                self.tick();
            }
        }
    }

    fn tick(&mut self) {
        self.now_ms += Replica::TICK_MS;
        for at in 0..self.replicas.len() {
            let through = self.now().mono;
            let sessions = self.alive[at].iter().map(|session| (*session, through)).collect();
            self.mail(at, ToReplica::Heard { shard: SHARD, sessions, through });
            self.turn(at, |replica, now, out| replica.on_tick(now, out));
        }
    }

    /// Everything under way arrives; no time passes.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// One thing arrives, if there is one under way.
    fn step(&mut self) -> bool {
        let Some((at, news)) = self.news.pop_front() else { return false };
        self.turn(at, |replica, now, out| match news {
            News::Landed(batch) => replica.on_batch_landed(batch, now, out),
            News::SegmentReady(segment) => replica.on_segment_ready(segment, now, out),
            News::SnapshotReady => replica.on_snapshot_ready(out),
            News::SnapshotWritten(zxid) => replica.on_snapshot_written(zxid, now),
            News::Epoch(file, epoch) => replica.on_peer(PeerNews::EpochWritten { file, epoch }, now, out),
            News::Accepted(link, port) => {
                let from = "127.0.0.1:9".parse().unwrap();
                replica.on_peer(PeerNews::Accepted { link, port, from }, now, out);
            }
            News::Connected(link) => replica.on_peer(PeerNews::Connected { link }, now, out),
            News::Bytes(link, bytes) => replica.on_peer(PeerNews::Bytes { link, bytes: &bytes }, now, out),
            News::Closed(link) => replica.on_peer(PeerNews::Closed { link }, now, out),
            News::Drained(link) => replica.on_peer(PeerNews::Drained { link }, now, out),
        });
        true
    }

    fn turn(&mut self, at: usize, call: impl FnOnce(&mut Replica, Now, &mut Effects)) {
        let (now, mut out) = (self.now(), Effects::default());
        call(&mut self.replicas[at], now, &mut out);
        self.replicas[at].on_turn_end(now, &mut out);
        self.carry_out(at, out);
    }

    fn mail(&mut self, at: usize, mail: ToReplica) {
        self.turn(at, |replica, now, out| replica.on_mail(mail, now, out));
    }

    fn carry_out(&mut self, at: usize, out: Effects) {
        assert!(out.halt.is_none() && out.reload.is_none(), "{:?} {:?}", out.halt, out.reload);
        for effect in out.disk {
            let news = match effect {
                DiskEffect::WriteBatch(batch) => News::Landed(batch.id),
                DiskEffect::PrepareSegment { segment, .. } => News::SegmentReady(segment),
                DiskEffect::SnapshotOpen { .. } | DiskEffect::SnapshotChunk { .. } => News::SnapshotReady,
                DiskEffect::SnapshotClose { zxid } => News::SnapshotWritten(zxid),
                _ => continue,
            };
            self.news.push_back((at, news));
        }
        for effect in out.peer {
            match effect {
                PeerEffect::Dial { link, to, .. } => self.dial(at, link, &to[0]),
                PeerEffect::Send { link, bytes } => self.send(at, link, &bytes),
                PeerEffect::TellDrained { link } => self.news.push_back((at, News::Drained(link))),
                PeerEffect::Close { link } => self.close(at, link),
                PeerEffect::WriteEpoch { file, epoch } => self.news.push_back((at, News::Epoch(file, epoch))),
                PeerEffect::AskOracle => panic!("there is no oracle"),
            }
        }
        self.told[at].extend(out.mail.into_iter().map(|(_, mail)| mail));
    }

    fn dial(&mut self, at: usize, link: LinkId, to: &PeerAddress) {
        if self.parted {
            return self.news.push_back((at, News::Closed(link)));
        }
        let other = NAMES.iter().position(|name| *name == to.host).unwrap();
        let port = if to.port == 2 { PeerPort::Election } else { PeerPort::Quorum };
        self.accepted += 1;
        let accepted = LinkId(2 * self.accepted + 1);
        self.wires.push(Wire { port, ends: [(at, link), (other, accepted)], sent: Default::default() });
        self.news.push_back((other, News::Accepted(accepted, port)));
        self.news.push_back((at, News::Connected(link)));
    }

    fn send(&mut self, at: usize, link: LinkId, bytes: &Bytes) {
        for wire in &mut self.wires {
            let Some(end) = wire.ends.iter().position(|end| *end == (at, link)) else { continue };
            wire.sent[end].extend_from_slice(bytes);
            let (other, its) = wire.ends[1 - end];
            match &mut self.held[at] {
                Some(held) if wire.port == PeerPort::Quorum => match held.last_mut() {
                    Some((_, link, chunk)) if *link == its => chunk.extend_from_slice(bytes),
                    _ => held.push((other, its, bytes.to_vec())),
                },
                _ => self.news.push_back((other, News::Bytes(its, bytes.clone()))),
            }
        }
    }

    fn close(&mut self, at: usize, link: LinkId) {
        let news = &mut self.news;
        self.wires.retain(|wire| {
            let Some(end) = wire.ends.iter().position(|end| *end == (at, link)) else { return true };
            let (other, its) = wire.ends[1 - end];
            news.push_back((other, News::Closed(its)));
            false
        });
    }

    /// No byte goes between the two from now on.
    pub fn part(&mut self) {
        self.parted = true;
        self.held = [None, None];
        self.news.retain(|(_, news)| !matches!(news, News::Bytes(..)));
        for wire in std::mem::take(&mut self.wires) {
            wire.ends.into_iter().for_each(|(at, link)| self.news.push_back((at, News::Closed(link))));
        }
        self.settle();
    }

    pub fn join(&mut self) {
        self.parted = false;
    }

    /// What this one sends the other over the quorum port waits from now on.
    pub fn hold(&mut self, at: usize) {
        self.held[at] = Some(Vec::new());
    }

    /// All of it arrives, in one piece.
    pub fn let_speak(&mut self, at: usize) {
        let held = self.held[at].take().unwrap_or_default();
        self.news.extend(held.into_iter().map(|(other, link, chunk)| (other, News::Bytes(link, chunk.into()))));
        self.settle();
    }

    /// Everything the follower has sent its leader over the link that stands.
    pub fn packets(&self) -> Vec<Packet> {
        let wire = self.wires.iter().rfind(|wire| wire.port == PeerPort::Quorum);
        let (mut rest, mut packets) = (wire.map_or(&[][..], |wire| &wire.sent[0]), Vec::new());
        while let Some((packet, used)) = crate::codec::peer_stream::cut(rest, 1 << 20).unwrap() {
            packets.push(packet);
            rest = &rest[used..];
        }
        packets
    }

    /// Types of what the follower asked the leader for, with the sessions.
    pub fn forwarded(&self) -> Vec<(OpCode, SessionId)> {
        let requests = self.packets().into_iter().filter(|packet| packet.kind == peer::PacketKind::Request);
        requests
            .map(|packet| peer::Forwarded::decode(packet.require_data().unwrap()).unwrap())
            .map(|request| (OpCode::from_i32(request.op).unwrap(), request.session))
            .collect()
    }

    /// What the leader has proposed, as type code and session.
    pub fn logged(&self) -> Vec<(i32, SessionId)> {
        let ensemble = self.replicas[LEADER].ensemble.as_ref().unwrap();
        let all = ensemble.history.above(Zxid::ZERO);
        all.map(|(_, record)| txn::decode(record).unwrap()).map(|it| (it.txn.type_code(), it.header.session)).collect()
    }

    // ---- clients

    /// A handshake; see [`Members::answers`].
    pub fn connect(&mut self, at: usize, slot: u32, session: SessionId, timeout_ms: i32) -> Origin {
        let origin = Origin { shard: SHARD, conn: ConnId { slot, generation: 1 } };
        let last_zxid_seen = Zxid::ZERO;
        self.mail(at, ToReplica::Connect(Connect { origin, session, timeout_ms, last_zxid_seen }));
        origin
    }

    /// A client with a new session, which it keeps alive.
    pub fn client(&mut self, at: usize, slot: u32, timeout_ms: i32) -> (Origin, SessionId) {
        let origin = self.connect(at, slot, SessionId::NONE, timeout_ms);
        self.settle();
        match self.answers(at, origin)[..] {
            [AnswerKind::Granted { session, .. }] => {
                self.alive[at].insert(session);
                (origin, session)
            }
            ref other => panic!("{other:?}"),
        }
    }

    pub fn submit(&mut self, at: usize, (origin, session): (Origin, SessionId), xid: i32, op: OpCode, body: Bytes) {
        let ids: crate::base::AuthIds = [Id::new("ip", "127.0.0.1")].into();
        self.mail(at, ToReplica::Submit(Submit { origin, session, xid: Xid(xid), op, body, ids }));
    }

    pub fn gone(&mut self, at: usize, (origin, session): (Origin, SessionId)) {
        self.alive[at].remove(&session);
        self.mail(at, ToReplica::Gone { origin, session });
    }

    /// What a connection was answered since it was last asked about.
    pub fn answers(&mut self, at: usize, to: Origin) -> Vec<AnswerKind> {
        let mut found = Vec::new();
        for mail in &mut self.told[at] {
            let ToShard::Batch(entries) = mail else { continue };
            let mine = |entry: &Entry| entry.answer.as_ref().is_some_and(|answer| answer.to == to);
            found.extend(entries.iter().filter(|entry| mine(entry)).map(|it| it.answer.clone().unwrap().kind));
            let rest: Vec<Entry> = entries.iter().filter(|entry| !mine(entry)).cloned().collect();
            *entries = rest.into();
        }
        found
    }

    /// Those, as texts: `3 ok`, `4 EphemeralOnLocalSession`, `granted`, `hangup`.
    pub fn texts(&mut self, at: usize, to: Origin) -> Vec<String> {
        let text = |kind: AnswerKind| match kind {
            AnswerKind::Reply { xid, error: None, body: Body::Encoded(bytes) } => format!("{} {bytes:?}", xid.0),
            AnswerKind::Reply { xid, error: None, .. } => format!("{} ok", xid.0),
            AnswerKind::Reply { xid, error: Some(error), .. } => format!("{} {error:?}", xid.0),
            AnswerKind::Granted { .. } => "granted".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        self.answers(at, to).into_iter().map(text).collect()
    }

    /// What the shard was told of whom to serve since it was last asked about.
    pub fn served(&mut self, at: usize) -> Vec<Service> {
        let mut found = Vec::new();
        self.told[at].retain(|mail| match mail {
            ToShard::Serve(service) => {
                found.push(*service);
                false
            }
            _ => true,
        });
        found
    }

    /// The reports of surveys the shard has asked for; it is the only one, and has nothing to tell itself.
    pub fn survey(&mut self, at: usize, kind: crate::mail::SurveyKind) -> crate::mail::ReplicaReport {
        let origin = Origin { shard: SHARD, conn: ConnId { slot: 99, generation: 1 } };
        self.mail(at, ToReplica::Survey { origin, kind });
        let ticket = self.told[at].iter().rev().find_map(|mail| match mail {
            ToShard::Survey { ticket, .. } => Some(*ticket),
            _ => None,
        });
        let report = Box::default();
        self.mail(at, ToReplica::Surveyed { ticket: ticket.expect("a survey"), shard: SHARD, report });
        match self.told[at].pop() {
            Some(ToShard::Report { report, .. }) => report.replica.clone(),
            other => panic!("{other:?}"),
        }
    }
}

/// The body of a create.
pub fn create(path: &str, flags: i32) -> Bytes {
    encoded(|w| put_create(w, path, flags))
}

fn put_create(w: &mut Writer<'_>, path: &str, flags: i32) {
    w.string(path);
    w.buffer(Some(b"x"));
    w.acl(&crate::base::open_acl());
    w.i32(flags);
}

/// The body of a multi of creates, with the flags of each.
pub fn creates(paths: &[(&str, i32)]) -> Bytes {
    encoded(|w| {
        for (path, flags) in paths {
            crate::codec::reply::multi_header(w, OpCode::Create.code(), 0);
            put_create(w, path, *flags);
        }
        crate::codec::reply::multi_end(w);
    })
}

pub fn encoded(put: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut bytes = Vec::new();
    put(&mut Writer(&mut bytes));
    bytes.into()
}

/// A reply of a multi in which operation `failed` was refused.
pub fn failed_multi(xid: i32, failed: usize, code: ErrorCode, count: usize) -> String {
    let mut slots = Vec::new();
    let w = &mut Writer(&mut slots);
    for slot in 0..count {
        let code = match slot.cmp(&failed) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => code.code(),
            std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.code(),
        };
        crate::codec::reply::multi_header(w, -1, code);
        w.i32(code);
    }
    crate::codec::reply::multi_end(w);
    format!("{xid} {:?}", Bytes::from(slots))
}
