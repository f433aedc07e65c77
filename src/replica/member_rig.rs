//! A member of an ensemble as its leader and its learners see it: packets in, packets out, a disk that is at once.

use std::collections::BTreeMap;
use std::io::{self, Read};

use bytes::Bytes;

use super::tests::{at, booted};
use super::*;
use crate::base::{ConnId, LinkId, PeerAddress, ServerId, SessionId, WallMs, Xid};
use crate::codec::peer::{AckEpoch, LeaderInfo, LearnerInfo, PROTOCOL_VERSION, Packet, PacketKind};
use crate::codec::peer_stream::cut;
use crate::codec::txn::{self, Txn, TxnHeader};
use crate::journal::DiskEffect;

pub struct Rig {
    pub replica: Replica,
    pub ms: u64,
    /// What was sent on each link and not looked at yet.
    sent: BTreeMap<LinkId, Vec<u8>>,
    pub dials: Vec<(LinkId, Vec<PeerAddress>)>,
    pub closed: Vec<LinkId>,
    pub epochs: Vec<(EpochFile, i64)>,
    /// Records that were written to the journal.
    pub logged: u32,
    pub disk: Disk,
    pub stretches: Vec<StretchEffect>,
    pub mail: Vec<ToShard>,
    /// Batches on their way to the disk, if it takes its time.
    pub landing: Option<Vec<BatchId>>,
    /// Whoever is sent something takes it at once.
    pub drains: bool,
    accepted: u64,
}

/// Of every member in these tests.
const ELECTION_PORT: u16 = 2;

#[derive(Clone, Default)]
pub struct Disk {
    pub segments: BTreeMap<SegmentId, Vec<u8>>,
    pub snapshots: BTreeMap<Zxid, Vec<u8>>,
    draft: Vec<u8>,
}

impl BootMedia for Disk {
    fn snapshots(&self) -> io::Result<Vec<Zxid>> {
        Ok(self.snapshots.keys().copied().collect())
    }
    fn read_snapshot(&self, zxid: Zxid) -> io::Result<Box<dyn Read>> {
        let file = self.snapshots.get(&zxid).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(file.clone())))
    }
    fn segments(&self) -> io::Result<Vec<SegmentId>> {
        Ok(self.segments.keys().copied().collect())
    }
    fn read_segment(&self, segment: SegmentId, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clone_from(self.segments.get(&segment).ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }
}

/// A transaction that opens a session, which is as good as any.
pub fn record(zxid: Zxid) -> Bytes {
    opening(zxid, SessionId(zxid.0))
}

/// A transaction that opens this session.
pub fn opening(zxid: Zxid, session: SessionId) -> Bytes {
    let header = TxnHeader { session, cxid: Xid(0), zxid, time: WallMs(0) };
    let mut bytes = Vec::new();
    txn::encode(&mut bytes, &header, &Txn::CreateSession { timeout_ms: 10_000 }, None);
    bytes.into()
}

pub fn kinds(packets: &[Packet]) -> Vec<(PacketKind, i64)> {
    packets.iter().map(|packet| (packet.kind, packet.zxid.0)).collect()
}

impl Rig {
    pub fn new(settings: EnsembleSettings) -> Rig {
        let Booted { replica, effects, .. } = booted(Some(settings), 0);
        let mut rig = Rig {
            replica,
            ms: 0,
            sent: BTreeMap::new(),
            dials: Vec::new(),
            closed: Vec::new(),
            epochs: Vec::new(),
            logged: 0,
            disk: Disk::default(),
            stretches: Vec::new(),
            mail: Vec::new(),
            landing: None,
            drains: true,
            accepted: 1001,
        };
        rig.turn(|_, _, out| *out = effects);
        rig
    }

    /// One piece of news, and all that follows from it at once.
    pub fn turn(&mut self, news: impl FnOnce(&mut Replica, Now, &mut Effects)) {
        let mut news = Some(news);
        self.take(&mut |replica, now, out| news.take().expect("told once")(replica, now, out));
    }

    fn take(&mut self, news: &mut dyn FnMut(&mut Replica, Now, &mut Effects)) {
        let now = at(self.ms);
        let mut out = Effects::default();
        news(&mut self.replica, now, &mut out);
        self.replica.on_turn_end(now, &mut out);
        for effect in out.disk {
            self.disk_effect(effect);
        }
        for effect in out.peer {
            match effect {
                // Elections have their own tests.
                PeerEffect::Dial { to, .. } if to.iter().all(|at| at.port == ELECTION_PORT) => {}
                PeerEffect::Dial { link, to, .. } => self.dials.push((link, to)),
                PeerEffect::Send { link, bytes } => self.sent.entry(link).or_default().extend_from_slice(&bytes),
                PeerEffect::TellDrained { .. } if !self.drains => {}
                PeerEffect::TellDrained { link } => {
                    self.take(&mut |replica, now, out| replica.on_peer(PeerNews::Drained { link }, now, out));
                }
                PeerEffect::Close { link } => self.closed.push(link),
                PeerEffect::AskOracle => panic!("there is no oracle"),
                PeerEffect::WriteEpoch { file, epoch } => {
                    self.epochs.push((file, epoch));
                    let news = PeerNews::EpochWritten { file, epoch };
                    self.take(&mut |replica, now, out| replica.on_peer(news, now, out));
                }
            }
        }
        self.stretches.extend(out.stretches);
        self.mail.extend(out.mail.into_iter().map(|(_, mail)| mail));
        if let Some(what) = out.reload {
            let disk = self.disk.clone();
            self.take(&mut |replica, now, out| replica.on_reload(what, &disk, now, out));
        }
        assert_eq!(out.halt, None);
    }

    fn disk_effect(&mut self, effect: DiskEffect) {
        match effect {
            DiskEffect::WriteBatch(batch) => {
                self.logged += batch.record_count;
                let file = self.disk.segments.get_mut(&batch.segment).expect("prepared");
                file[batch.offset as usize..][..batch.bytes.len()].copy_from_slice(&batch.bytes);
                match &mut self.landing {
                    Some(landing) => landing.push(batch.id),
                    None => self.take(&mut |replica, now, out| replica.on_batch_landed(batch.id, now, out)),
                }
            }
            DiskEffect::PrepareSegment { segment, bytes, .. } => {
                self.disk.segments.insert(segment, vec![0; bytes as usize]);
                self.take(&mut |replica, now, out| replica.on_segment_ready(segment, now, out));
            }
            DiskEffect::SnapshotOpen { .. } => {
                self.disk.draft.clear();
                self.take(&mut |replica, _, out| replica.on_snapshot_ready(out));
            }
            DiskEffect::SnapshotChunk { bytes } => {
                self.disk.draft.extend_from_slice(&bytes);
                self.take(&mut |replica, _, out| replica.on_snapshot_ready(out));
            }
            DiskEffect::SnapshotClose { zxid } => {
                let file = std::mem::take(&mut self.disk.draft);
                self.disk.snapshots.insert(zxid, file);
                self.take(&mut |replica, now, _| replica.on_snapshot_written(zxid, now));
            }
            DiskEffect::DeleteSegment(segment) | DiskEffect::SetAsideSegment(segment) => {
                self.disk.segments.remove(&segment);
            }
            DiskEffect::DeleteSnapshot(zxid) | DiskEffect::SetAsideSnapshot(zxid) => {
                self.disk.snapshots.remove(&zxid);
            }
            DiskEffect::SnapshotAbort { .. } => self.disk.draft.clear(),
        }
    }

    /// Whatever was on its way lands, and the disk is quick again.
    pub fn land(&mut self) {
        for batch in self.landing.take().unwrap_or_default() {
            self.take(&mut |replica, now, out| replica.on_batch_landed(batch, now, out));
        }
    }

    pub fn wait(&mut self, ms: u64) {
        self.ms += ms;
        self.turn(|replica, now, out| replica.on_tick(now, out));
    }

    /// The election is decided as soon as the member takes part in it.
    pub fn elect(&mut self, leader: i64) {
        self.turn(|replica, now, out| replica.on_tick(now, out));
        self.turn(|replica, now, out| replica.on_decided(ServerId(leader), now, out));
    }

    pub fn say(&mut self, link: LinkId, packet: &Packet) {
        self.hear(link, &packet.to_bytes());
    }

    pub fn hear(&mut self, link: LinkId, bytes: &[u8]) {
        self.turn(|replica, now, out| replica.on_peer(PeerNews::Bytes { link, bytes }, now, out));
    }

    /// As [`Rig::sent`], not only packets.
    pub fn sent_raw(&mut self, link: LinkId) -> Vec<u8> {
        self.sent.remove(&link).unwrap_or_default()
    }

    /// What was sent on a link since the last look.
    pub fn sent(&mut self, link: LinkId) -> Vec<Packet> {
        let bytes = self.sent.remove(&link).unwrap_or_default();
        let (mut packets, mut rest) = (Vec::new(), &bytes[..]);
        while !rest.is_empty() {
            let (packet, length) = cut(rest, 1 << 20).unwrap().expect("a whole packet");
            packets.push(packet);
            rest = &rest[length..];
        }
        packets
    }

    /// The link that was dialled last stands.
    pub fn connected(&mut self) -> LinkId {
        let link = self.dials.last().expect("a dial").0;
        self.turn(|replica, now, out| replica.on_peer(PeerNews::Connected { link }, now, out));
        link
    }

    pub fn lost(&mut self, link: LinkId) {
        self.turn(|replica, now, out| replica.on_peer(PeerNews::Closed { link }, now, out));
    }

    /// Somebody connects to one of our ports.
    pub fn accepted(&mut self, port: PeerPort) -> LinkId {
        let link = LinkId(self.accepted);
        self.accepted += 2;
        let from = "127.0.0.1:9".parse().unwrap();
        self.turn(|replica, now, out| replica.on_peer(PeerNews::Accepted { link, port, from }, now, out));
        link
    }

    /// Leads the member, which has just dialled, up to where it is told how to synchronize. Returns its link and what it
    /// said in ACKEPOCH.
    pub fn greet(&mut self, epoch: i64) -> (LinkId, Packet) {
        let link = self.connected();
        let info = self.sent(link);
        assert!(matches!(info[0].kind, PacketKind::FollowerInfo | PacketKind::ObserverInfo), "{info:?}");
        let hello = LeaderInfo { protocol_version: PROTOCOL_VERSION }.encode();
        self.say(link, &Packet::with(PacketKind::LeaderInfo, Zxid::begin_of(epoch), hello));
        let mut promise = self.sent(link);
        assert_eq!((promise.len(), promise[0].kind), (1, PacketKind::AckEpoch), "{promise:?}");
        (link, promise.remove(0))
    }

    /// Ends its synchronization: it serves.
    pub fn finish(&mut self, link: LinkId, epoch: i64) {
        let begin = Zxid::begin_of(epoch);
        self.say(link, &Packet::with(PacketKind::NewLeader, begin, Bytes::from_static(b"version=0")));
        assert_eq!(kinds(&self.sent(link)), [(PacketKind::Ack, begin.0)]);
        self.say(link, &Packet::bare(PacketKind::UpToDate, Zxid::NONE));
        assert_eq!(kinds(&self.sent(link)), [(PacketKind::Ack, begin.0)]);
        assert!(self.replica.service() == crate::mail::Service::Everybody);
    }

    /// Makes the member follow `leader` in `epoch` with transactions up to `through` of it, all by DIFF.
    pub fn follow(&mut self, leader: i64, epoch: i64, through: i64) -> LinkId {
        self.elect(leader);
        let (link, _) = self.greet(epoch);
        self.say(link, &Packet::bare(PacketKind::Diff, Zxid::ZERO));
        self.finish(link, epoch);
        for counter in 1..=through {
            self.commit(link, Zxid::begin_of(epoch).0 + counter);
        }
        self.sent(link);
        link
    }

    /// A transaction of the leader, proposed and committed at once, or an observer's INFORM.
    pub fn commit(&mut self, link: LinkId, zxid: i64) {
        let zxid = Zxid(zxid);
        if self.replica.ensemble.as_ref().unwrap().settings.observer {
            return self.say(link, &Packet::with(PacketKind::Inform, zxid, record(zxid)));
        }
        self.say(link, &Packet::with(PacketKind::Proposal, zxid, record(zxid)));
        self.say(link, &Packet::bare(PacketKind::Commit, zxid));
    }

    pub fn current_epoch(&self) -> i64 {
        self.replica.ensemble.as_ref().unwrap().current_epoch
    }
}

/// What a learner says first, with the epoch it has promised.
pub fn hello(kind: PacketKind, server: i64, accepted: i64) -> Packet {
    let info = LearnerInfo { server: ServerId(server), protocol_version: PROTOCOL_VERSION, config_version: 0 };
    Packet::with(kind, Zxid::begin_of(accepted), info.encode())
}

/// And second.
pub fn promise(last: i64, current: i32) -> Packet {
    Packet::with(PacketKind::AckEpoch, Zxid(last), AckEpoch { current_epoch: current }.encode())
}

pub fn origin(slot: u32) -> Origin {
    Origin { shard: ShardId(0), conn: ConnId { slot, generation: 1 } }
}
