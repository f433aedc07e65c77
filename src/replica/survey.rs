//! The replica's part in a survey of the server, and the numbers it keeps for it.
//!
//! Everything is counted per batch, not per record: a write pays nothing for being observed.

use std::collections::{BTreeSet, VecDeque};

use super::{Effects, Replica};
use crate::admin::{Gathered, Survey};
use crate::base::{Instant, Now, Origin, SessionId, ShardId, Zxid};
use crate::journal::DiskEffect;
use crate::mail::metrics::{Advanced, Basic, Counter, Metrics};
use crate::mail::{HostFacts, MemberReport, ReplicaReport, ShardReport, Sizes, SurveyKind};

/// Digests are remembered at every zxid divisible by this, as many as that (parity FL-37).
const DIGEST_EVERY: i64 = 128;
const DIGESTS_MAX: usize = 1024;

/// What the replica knows about itself. Lives on: the replication core.
pub(super) struct Watch {
    survey: Survey,
    pub(super) metrics: Metrics,
    started: Instant,
    /// When the oldest record came that waits for a batch. The queue's times are those of a batch's oldest
    /// record: what a client may have had to wait at most.
    queue_began: Option<Instant>,
    /// The batch in flight: when its oldest record came, and when it left.
    batch_began: Option<Instant>,
    batch_left: Option<Instant>,
    snapshot_opened: Option<Instant>,
    slow_sync_count: u64,
    digests: VecDeque<(Zxid, i64)>,
    /// Of this term as leader.
    pub(super) proposal_sizes: Sizes,
}

impl Watch {
    pub(super) fn new(shard_count: u16, now: Now) -> Watch {
        Watch {
            survey: Survey::new(shard_count),
            metrics: Metrics::default(),
            started: now.mono,
            queue_began: None,
            batch_began: None,
            batch_left: None,
            snapshot_opened: None,
            slow_sync_count: 0,
            digests: VecDeque::new(),
            proposal_sizes: Sizes::default(),
        }
    }

    /// A client's request came that may change something.
    pub(super) fn on_request(&mut self) {
        self.metrics.count(Counter::PrepProcessorRequestQueued);
    }

    /// A record was appended to the journal's queue.
    pub(super) fn on_record(&mut self, now: Now) {
        self.queue_began.get_or_insert(now.mono);
    }

    /// Looks at what is about to leave for the disk.
    pub(super) fn on_disk_effects(&mut self, effects: &[DiskEffect], now: Now) {
        for effect in effects {
            match effect {
                DiskEffect::WriteBatch(batch) => {
                    self.batch_left = Some(now.mono);
                    if batch.record_count > 0 {
                        let began = self.queue_began.take().unwrap_or(now.mono);
                        self.batch_began = Some(began);
                        self.metrics.sample(Advanced::SyncProcessorQueueTimeMs, now.mono.millis_since(began));
                        self.metrics.add(Basic::SyncProcessorQueueSize, u64::from(batch.record_count));
                        self.metrics.add(Basic::SyncProcessorBatchSize, u64::from(batch.record_count));
                        self.metrics.count_by(Counter::SyncProcessorRequestQueued, u64::from(batch.record_count));
                    }
                }
                DiskEffect::SnapshotOpen { .. } => self.snapshot_opened = Some(now.mono),
                _ => {}
            }
        }
    }

    /// The batch in flight is durable. `slow_ms`: a sync that takes longer counts as slow.
    pub(super) fn on_landed(&mut self, now: Now, slow_ms: u64) {
        if let Some(left) = self.batch_left.take() {
            let took_ms = now.mono.millis_since(left);
            self.metrics.add(Basic::Fsynctime, took_ms);
            self.metrics.add(Basic::SyncProcessTime, took_ms);
            self.metrics.sample(Advanced::SyncProcessorQueueFlushTimeMs, took_ms);
            self.slow_sync_count += u64::from(took_ms > slow_ms);
        }
        if let Some(began) = self.batch_began.take() {
            let took_ms = now.mono.millis_since(began);
            self.metrics.sample(Advanced::SyncProcessorQueueAndFlushTimeMs, took_ms);
            // Shards are told in this same turn.
            self.metrics.sample(Advanced::PropagationLatency, took_ms);
        }
    }

    pub(super) fn on_snapshot_done(&mut self, now: Now) {
        if let Some(opened) = self.snapshot_opened.take() {
            self.metrics.add(Basic::Snapshottime, now.mono.millis_since(opened));
        }
    }

    /// The zxids they belong to are those of another history.
    pub(super) fn forget_digests(&mut self) {
        self.digests.clear();
    }

    pub(super) fn note_digest(&mut self, zxid: Zxid, digest: i64) {
        if zxid.0 % DIGEST_EVERY == 0 {
            if self.digests.len() == DIGESTS_MAX {
                self.digests.pop_front();
            }
            self.digests.push_back((zxid, digest));
        }
    }
}

/// What the start of a server took, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StartTimes {
    /// From the first look at the disk to a state to serve.
    pub all_ms: u64,
    /// Of that, until the snapshot was loaded.
    pub snapshot_ms: u64,
    /// Transactions behind the snapshot, and what they took; `None` on an empty data directory.
    pub replayed: Option<(u64, u64)>,
}

impl Replica {
    /// What the driver knows of the machine; every later report shows it.
    pub fn on_host(&mut self, facts: HostFacts) {
        self.watch.survey.set_host(facts);
    }

    /// How long the start took; its driver measured it.
    pub fn on_started(&mut self, times: &StartTimes) {
        let metrics = &mut self.watch.metrics;
        metrics.add(Basic::Dbinittime, times.all_ms);
        metrics.add(Basic::StartupSnapLoadTime, times.snapshot_ms);
        if let Some((replayed, took_ms)) = times.replayed {
            metrics.add(Basic::StartupTxnsLoaded, replayed);
            metrics.add(Basic::StartupTxnsLoadTime, took_ms);
        }
    }

    pub(super) fn on_survey(&mut self, origin: Origin, kind: SurveyKind, now: Now, out: &mut Effects) {
        if kind == SurveyKind::ResetServer {
            self.watch.metrics.reset();
            self.watch.slow_sync_count = 0;
            self.watch.proposal_sizes = Sizes::default();
        }
        if let Some(gathered) = self.watch.survey.on_ask(origin, kind, &mut out.mail) {
            self.report(gathered, now, out);
        }
    }

    pub(super) fn on_surveyed(
        &mut self,
        ticket: u64,
        shard: ShardId,
        report: ShardReport,
        now: Now,
        out: &mut Effects,
    ) {
        if let Some(gathered) = self.watch.survey.on_surveyed(ticket, shard, report) {
            self.report(gathered, now, out);
        }
    }

    fn member_report(&self, kind: SurveyKind, now: Now) -> Option<MemberReport> {
        let mut member = self.ensemble.as_ref()?.report(now.mono);
        match &mut member.leading {
            Some(leading) => leading.proposal_sizes = self.watch.proposal_sizes,
            None if kind == SurveyKind::Dump => member.sessions = self.sessions.iter().collect(),
            None => {}
        }
        Some(member)
    }

    fn report(&self, gathered: Gathered, now: Now, out: &mut Effects) {
        let kind = gathered.kind;
        let owned = |(at, ids): (u64, &BTreeSet<SessionId>)| (at, ids.iter().copied().collect());
        let (mut session_buckets, mut local_session_buckets) = (Vec::new(), None);
        if kind == SurveyKind::Dump {
            session_buckets = self.sessions.buckets().map(owned).collect();
            local_session_buckets = self.has_local_sessions().then(|| self.local.buckets().map(owned).collect());
        }
        let report = ReplicaReport {
            host: self.watch.survey.host().clone(),
            service: self.service(),
            server_state: self.ensemble.as_ref().map_or("standalone", |ensemble| ensemble.state_name()),
            member: self.member_report(kind, now),
            last_zxid: self.last_committed,
            uptime_ms: now.mono.millis_since(self.watch.started),
            outstanding_count: self.waiting.unasked_count() as u64,
            session_count: self.sessions.len() as u64,
            local_session_count: self.local.len() as u64,
            session_buckets,
            local_session_buckets,
            // Deadlines are in heard time, so "now" is too: what is left of each is then right.
            now_mono_ms: self.hearing.now().millis(),
            now_wall: now.wall,
            fsync_threshold_exceed_count: self.watch.slow_sync_count,
            digests: self.watch.digests.iter().copied().collect(),
            trace_mask: self.watch.survey.trace_mask(),
            metrics: (kind == SurveyKind::Metrics).then(|| Box::new(self.watch.metrics.clone())),
        };
        out.mail.push(gathered.into_mail(report));
    }
}
