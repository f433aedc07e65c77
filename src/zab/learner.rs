//! The learner: a follower or observer on its one link to the leader.
//!
//! ```text
//!   Dialling -> Registering -LEADERINFO-> Promising -acceptedEpoch durable-> Summarized
//!     -DIFF-> Syncing    -TRUNC-> Truncating -> Syncing    -SNAP-> Streaming -> Syncing
//!     -NEWLEADER-> Settling -all durable-> Adopting -currentEpoch durable, ACK-> Ready -UPTODATE-> Live
//! ```
//!
//! Nothing but REQUESTs of a live learner is sent before the acknowledgement of NEWLEADER, and that leaves only
//! after the synchronized history and then the epoch are on disk (ZOOKEEPER-3911, 4643, 4646, 4685).
//!
//! Source: Zab (DSN 2011), phases 1 to 3; ZK: Learner, Follower, Observer (spec: quorum 6 to 10, 25 D).

use std::collections::VecDeque;

use bytes::Bytes;

use super::cadence::Cadence;
use crate::base::{AuthIds, Instant, ServerId, SessionId, Zxid};
use crate::codec::peer::{
    AckEpoch, Forwarded, LeaderInfo, LearnerInfo, PROTOCOL_VERSION, Packet, PacketKind, Revalidate, Revalidated,
    encode_touches,
};
use crate::codec::peer_stream::PacketStream;

/// What the learner asks of its owner.
#[derive(Debug)]
pub enum LearnerEffect {
    Send {
        bytes: Bytes,
    },
    /// Make `acceptedEpoch` durable, then [`Learner::on_promised`].
    Promise {
        epoch: i64,
    },
    /// Keep everything; what follows continues it.
    Diff,
    /// Cut everything above `to`, exactly, then [`Learner::on_truncated`].
    Truncate {
        to: Zxid,
    },
    /// Forget everything: the state at `zxid` follows as [`LearnerEffect::Stream`].
    Snapshot {
        zxid: Zxid,
    },
    /// Raw bytes of the snapshot's stream. When it is complete, give what was left to [`Learner::on_streamed`].
    Stream {
        bytes: Bytes,
    },
    /// Log and remember.
    Proposal {
        zxid: Zxid,
        record: Bytes,
    },
    /// The oldest uncommitted proposal is committed.
    Commit {
        zxid: Zxid,
    },
    /// An observer's proposal and commit in one.
    Inform {
        zxid: Zxid,
        record: Bytes,
    },
    /// Make everything so far durable (a snapshot under its final name, the log synced), then [`Learner::on_settled`].
    Settle,
    /// Make `currentEpoch` durable, then [`Learner::on_adopted`].
    Adopt {
        epoch: i64,
    },
    /// Serve clients.
    Live {
        epoch: i64,
    },
    /// Answer with [`Learner::pong`], the same zxid in it.
    Ping {
        zxid: Zxid,
    },
    Revalidated {
        session: SessionId,
        valid: bool,
    },
    /// The oldest forwarded `sync` is answered.
    Synced,
    /// The link is of no use any more: close it and look for a leader again.
    Leave {
        why: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    Dialling,
    Registering,
    Promising,
    Summarized,
    Truncating,
    Streaming,
    Syncing,
    Settling,
    Adopting,
    Ready,
    Live,
    Over,
}

/// What a learner brings along.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub accepted: i64,
    pub current: i64,
    /// The last logged transaction; -1 without usable data.
    pub last: Zxid,
    /// Version of its list of servers.
    pub config_version: i64,
}

/// One link to one leader. Lives on: the replication core.
#[derive(Debug)]
pub struct Learner {
    me: ServerId,
    /// Or an observer master that stands in for it.
    leader: ServerId,
    observes: bool,
    summary: Summary,
    stage: Stage,
    /// The leader's, once it told.
    epoch: i64,
    init_ms: u64,
    cadence: Cadence,
    stage_since: Instant,
    input: PacketStream,
    /// The last transaction received, in order.
    last: Zxid,
    /// Logged or being logged, not acknowledged.
    unacked: VecDeque<Zxid>,
    durable: Zxid,
    field_bytes_max: usize,
}

impl Learner {
    /// A link that is being dialled. `init_ms`, `sync_ms`: the limits before and after synchronization.
    #[allow(clippy::too_many_arguments, reason = "what a server knows when it has found its leader")]
    pub fn new(
        me: ServerId,
        leader: ServerId,
        observes: bool,
        summary: Summary,
        (init_ms, sync_ms): (u64, u64),
        field_bytes_max: usize,
        now: Instant,
    ) -> Learner {
        Learner {
            me,
            leader,
            observes,
            summary,
            stage: Stage::Dialling,
            epoch: -1,
            init_ms,
            cadence: Cadence::new(sync_ms, now),
            stage_since: now,
            input: PacketStream::default(),
            last: summary.last,
            unacked: VecDeque::new(),
            durable: summary.last,
            field_bytes_max,
        }
    }

    pub fn leader(&self) -> ServerId {
        self.leader
    }

    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// No connection stands yet.
    pub fn is_dialling(&self) -> bool {
        self.stage == Stage::Dialling
    }

    /// Whether [`LearnerEffect::Settle`] was asked for and not answered.
    pub fn is_settling(&self) -> bool {
        self.stage == Stage::Settling
    }

    fn enter(&mut self, stage: Stage, now: Instant) {
        self.stage = stage;
        self.stage_since = now;
    }

    fn send(&self, packet: &Packet, out: &mut Vec<LearnerEffect>) {
        out.push(LearnerEffect::Send { bytes: packet.to_bytes() });
    }

    fn leave(&mut self, why: impl Into<String>, out: &mut Vec<LearnerEffect>) {
        if self.stage != Stage::Over {
            self.stage = Stage::Over;
            out.push(LearnerEffect::Leave { why: why.into() });
        }
    }

    /// The link stands: say who we are and what we have promised.
    pub fn on_connected(&mut self, now: Instant, out: &mut Vec<LearnerEffect>) {
        self.enter(Stage::Registering, now);
        self.cadence.heard(now);
        let info = LearnerInfo {
            server: self.me,
            protocol_version: PROTOCOL_VERSION,
            config_version: self.summary.config_version,
        };
        let kind = if self.observes { PacketKind::ObserverInfo } else { PacketKind::FollowerInfo };
        self.send(&Packet::with(kind, Zxid::begin_of(self.summary.accepted), info.encode()), out);
    }

    /// Bytes from the leader.
    pub fn on_bytes(&mut self, bytes: &[u8], now: Instant, out: &mut Vec<LearnerEffect>) {
        self.cadence.heard(now);
        if self.stage == Stage::Streaming {
            return out.push(LearnerEffect::Stream { bytes: Bytes::copy_from_slice(bytes) });
        }
        self.input.push(bytes);
        self.read_on(now, out);
    }

    fn read_on(&mut self, now: Instant, out: &mut Vec<LearnerEffect>) {
        while !matches!(self.stage, Stage::Truncating | Stage::Streaming | Stage::Over) {
            match self.input.next(self.field_bytes_max) {
                Ok(Some(packet)) => {
                    if let Err(fault) = self.on_packet(packet, now, out) {
                        self.leave(fault, out);
                    }
                }
                Ok(None) => break,
                Err(malformed) => self.leave(malformed.0, out),
            }
        }
        if self.stage == Stage::Streaming && !self.input.is_empty() {
            out.push(LearnerEffect::Stream { bytes: self.input.take_rest() });
        }
    }

    fn on_packet(&mut self, packet: Packet, now: Instant, out: &mut Vec<LearnerEffect>) -> Result<(), String> {
        match (self.stage, packet.kind) {
            (Stage::Registering, PacketKind::LeaderInfo) => self.on_leader_info(&packet, now, out),
            (Stage::Registering, PacketKind::NewLeader) => Err("the leader is older than ZooKeeper 3.4".into()),
            (Stage::Registering, other) => Err(format!("the leader greeted with {other:?}")),
            (Stage::Summarized, PacketKind::Diff) => {
                if self.summary.last.0 < 0 {
                    return Err("the leader sent DIFF, but there is nothing here it could continue".into());
                }
                self.enter(Stage::Syncing, now);
                out.push(LearnerEffect::Diff);
                Ok(())
            }
            (Stage::Summarized, PacketKind::Trunc) => {
                self.enter(Stage::Truncating, now);
                self.rewind(packet.zxid);
                out.push(LearnerEffect::Truncate { to: packet.zxid });
                Ok(())
            }
            (Stage::Summarized, PacketKind::Snap) => {
                self.enter(Stage::Streaming, now);
                self.rewind(packet.zxid);
                out.push(LearnerEffect::Snapshot { zxid: packet.zxid });
                Ok(())
            }
            (Stage::Summarized, other) => Err(format!("the leader sent {other:?} before DIFF, TRUNC or SNAP")),
            (Stage::Syncing, PacketKind::NewLeader) => {
                self.enter(Stage::Settling, now);
                out.push(LearnerEffect::Settle);
                Ok(())
            }
            (Stage::Ready, PacketKind::UpToDate) => {
                self.enter(Stage::Live, now);
                self.cadence.begin(now);
                self.send(&Packet::bare(PacketKind::Ack, Zxid::begin_of(self.epoch)), out);
                out.push(LearnerEffect::Live { epoch: self.epoch });
                Ok(())
            }
            (_, PacketKind::Proposal) => self.on_record(packet, false, now, out),
            (_, PacketKind::Inform) => self.on_record(packet, true, now, out),
            (_, PacketKind::Commit) => {
                out.push(LearnerEffect::Commit { zxid: packet.zxid });
                Ok(())
            }
            (_, PacketKind::CommitAndActivate | PacketKind::InformAndActivate) => {
                Err("the leader changes the list of servers at run time, which this server does not do yet".into())
            }
            (Stage::Live, PacketKind::Ping) => {
                self.cadence.spoke(now);
                out.push(LearnerEffect::Ping { zxid: packet.zxid });
                Ok(())
            }
            // ZK: a learner that synchronizes ignores pings; one that acknowledged NEWLEADER answers them.
            (Stage::Ready, PacketKind::Ping) => {
                out.push(LearnerEffect::Ping { zxid: packet.zxid });
                Ok(())
            }
            (Stage::Live, PacketKind::Revalidate) => {
                let data = packet.data.as_deref().unwrap_or_default();
                let Revalidated { session, valid } = Revalidated::decode(data).map_err(|malformed| malformed.0)?;
                out.push(LearnerEffect::Revalidated { session, valid });
                Ok(())
            }
            (Stage::Live, PacketKind::Sync) => {
                out.push(LearnerEffect::Synced);
                Ok(())
            }
            _ => Ok(()), // As the reference: what means nothing here is ignored.
        }
    }

    fn rewind(&mut self, to: Zxid) {
        self.last = to;
        self.durable = to;
        self.unacked.clear();
    }

    fn on_leader_info(&mut self, packet: &Packet, now: Instant, out: &mut Vec<LearnerEffect>) -> Result<(), String> {
        let data = packet.data.as_deref().unwrap_or_default();
        let version = LeaderInfo::decode(data).map_err(|malformed| malformed.0)?.protocol_version;
        if version != PROTOCOL_VERSION {
            return Err(format!("the leader speaks protocol {version:#x}, this server {PROTOCOL_VERSION:#x}"));
        }
        self.epoch = packet.zxid.epoch();
        if self.epoch < self.summary.accepted {
            return Err(format!(
                "the leader's epoch {} is older than {}, which this server has promised",
                self.epoch, self.summary.accepted
            ));
        }
        if self.epoch == self.summary.accepted {
            // Promised before, perhaps to another leader: the answer is not to be counted.
            self.summarize(AckEpoch::PROMISED_BEFORE, now, out);
        } else {
            self.enter(Stage::Promising, now);
            out.push(LearnerEffect::Promise { epoch: self.epoch });
        }
        Ok(())
    }

    /// The promise is durable.
    pub fn on_promised(&mut self, now: Instant, out: &mut Vec<LearnerEffect>) {
        if self.stage == Stage::Promising {
            self.summarize(self.summary.current as i32, now, out);
            self.read_on(now, out);
        }
    }

    fn summarize(&mut self, current_epoch: i32, now: Instant, out: &mut Vec<LearnerEffect>) {
        self.enter(Stage::Summarized, now);
        self.send(&Packet::with(PacketKind::AckEpoch, self.summary.last, AckEpoch { current_epoch }.encode()), out);
    }

    /// Everything above the TRUNC point is gone, here and on disk.
    pub fn on_truncated(&mut self, now: Instant, out: &mut Vec<LearnerEffect>) {
        if self.stage == Stage::Truncating {
            self.enter(Stage::Syncing, now);
            self.read_on(now, out);
        }
    }

    /// The snapshot is complete; `rest` came behind it.
    pub fn on_streamed(&mut self, rest: &[u8], now: Instant, out: &mut Vec<LearnerEffect>) {
        if self.stage == Stage::Streaming {
            self.enter(Stage::Syncing, now);
            self.input.push(rest);
            self.read_on(now, out);
        }
    }

    fn on_record(
        &mut self,
        packet: Packet,
        committed: bool,
        _now: Instant,
        out: &mut Vec<LearnerEffect>,
    ) -> Result<(), String> {
        if self.stage < Stage::Syncing {
            return Err(format!("{:?} before the leader said how to synchronize", packet.kind));
        }
        let zxid = packet.zxid;
        if zxid <= self.last && (committed || self.stage < Stage::Live) {
            return Ok(()); // A leader of the reference may repeat what its snapshot shows, an observer master what it sent.
        }
        if !self.last.is_proposed_before(zxid) {
            return Err(format!("the leader proposed {zxid}, which does not follow {}", self.last));
        }
        let record = packet.data.ok_or("a proposal without a transaction")?;
        self.last = zxid;
        out.push(if committed {
            LearnerEffect::Inform { zxid, record }
        } else {
            if !self.observes {
                self.unacked.push_back(zxid);
            }
            LearnerEffect::Proposal { zxid, record }
        });
        Ok(())
    }

    /// Everything received before NEWLEADER is durable.
    pub fn on_settled(&mut self, now: Instant, out: &mut Vec<LearnerEffect>) {
        if self.stage == Stage::Settling {
            self.enter(Stage::Adopting, now);
            out.push(LearnerEffect::Adopt { epoch: self.epoch });
        }
    }

    /// The epoch is ours: the first packet since ACKEPOCH leaves.
    pub fn on_adopted(&mut self, now: Instant, out: &mut Vec<LearnerEffect>) {
        if self.stage == Stage::Adopting {
            self.enter(Stage::Ready, now);
            self.send(&Packet::bare(PacketKind::Ack, Zxid::begin_of(self.epoch)), out);
            self.acknowledge(out);
            self.read_on(now, out);
        }
    }

    /// Everything up to `through` is on disk. One ACK for each proposal, because a leader of the reference waits for
    /// each (spec: quorum 26, 5).
    pub fn on_durable(&mut self, through: Zxid, out: &mut Vec<LearnerEffect>) {
        self.durable = self.durable.max(through);
        self.acknowledge(out);
    }

    fn acknowledge(&mut self, out: &mut Vec<LearnerEffect>) {
        if self.stage < Stage::Ready {
            return;
        }
        let mut bytes = Vec::new();
        while self.unacked.front().is_some_and(|zxid| *zxid <= self.durable) {
            let zxid = self.unacked.pop_front().expect("seen above");
            // Those of an earlier epoch are history by now: the leader asks for none of them.
            if zxid.epoch() == self.epoch {
                Packet::bare(PacketKind::Ack, zxid).encode(&mut bytes);
            }
        }
        if !bytes.is_empty() {
            out.push(LearnerEffect::Send { bytes: bytes.into() });
        }
    }

    /// The answer to a ping: which sessions were heard since the last one.
    pub fn pong(&self, zxid: Zxid, sessions: &[(SessionId, i32)], out: &mut Vec<LearnerEffect>) {
        self.send(&Packet::with(PacketKind::Ping, zxid, encode_touches(sessions)), out);
    }

    /// A client's request that only the leader can order.
    pub fn forward(&self, request: &Forwarded, ids: AuthIds, out: &mut Vec<LearnerEffect>) {
        let packet =
            Packet { kind: PacketKind::Request, zxid: Zxid(-1), data: Some(request.encode()), auth: Some(ids) };
        self.send(&packet, out);
    }

    /// A client claims this session: is it alive?
    pub fn revalidate(&self, session: SessionId, timeout_ms: i32, out: &mut Vec<LearnerEffect>) {
        let question = Revalidate { session, timeout_ms };
        self.send(&Packet::with(PacketKind::Revalidate, Zxid(-1), question.encode()), out);
    }

    /// Time passes: a leader that is silent is left.
    pub fn on_tick(&mut self, now: Instant, out: &mut Vec<LearnerEffect>) {
        let silent_ms = self.cadence.silent_ms(now);
        if self.stage == Stage::Over {
        } else if self.stage == Stage::Live {
            let limit_ms = self.cadence.limit_ms();
            if silent_ms > limit_ms {
                self.leave(format!("the leader was silent for {silent_ms} ms (limit {limit_ms} ms)"), out);
            }
        } else if self.waits_for_leader() && silent_ms > self.init_ms {
            let why = format!("the leader said nothing for {silent_ms} ms while {:?} (initLimit)", self.stage);
            self.leave(why, out);
        }
    }

    /// Whether the next step is the leader's, not our disk's.
    fn waits_for_leader(&self) -> bool {
        // Nor is it before there is a connection: how long that may take is not decided here.
        !matches!(
            self.stage,
            Stage::Dialling | Stage::Promising | Stage::Truncating | Stage::Settling | Stage::Adopting
        )
    }
}
