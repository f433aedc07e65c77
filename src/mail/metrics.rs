//! Counters and summaries under ZooKeeper's names (parity section 9.2), as plain data.
//!
//! Every shard and the replica own one [`Metrics`] each and touch it without looking at anybody else's; a
//! survey carries copies, and whoever renders merges them. Families that cannot move on this kind of server
//! are there too and stay 0, as the reference's do, so that dashboards find them.
//!
//! Does not know: who asks, or the text they are printed as.

use std::collections::BTreeMap;

macro_rules! family {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($variant,)* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            pub const COUNT: usize = Self::ALL.len();

            /// The name without `zk_`.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

family! {
/// Things that only go up (until `srst`).
Counter {
    SnapshotErrorCount = "snapshot_error_count",
    SnapshotRateLimitedCount = "snapshot_rate_limited_count",
    RestoreErrorCount = "restore_error_count",
    RestoreRateLimitedCount = "restore_rate_limited_count",
    BytesReceivedCount = "bytes_received_count",
    LargeRequestsRejected = "large_requests_rejected",
    ResponseBytes = "response_bytes",
    WatchBytes = "watch_bytes",
    ConnectionRequestCount = "connection_request_count",
    ConnectionRejected = "connection_rejected",
    RevalidateCount = "revalidate_count",
    ConnectionDropCount = "connection_drop_count",
    ConnectionRevalidateCount = "connection_revalidate_count",
    SessionlessConnectionsExpired = "sessionless_connections_expired",
    UnsuccessfulHandshake = "unsuccessful_handshake",
    InsecureAdminCount = "insecure_admin_count",
    TlsHandshakeExceeded = "tls_handshake_exceeded",
    CnxnClosedWithoutZkServerRunning = "cnxn_closed_without_zk_server_running",
    StaleSessionsExpired = "stale_sessions_expired",
    StaleRequests = "stale_requests",
    StaleRequestsDropped = "stale_requests_dropped",
    StaleReplies = "stale_replies",
    EnsembleAuthSuccess = "ensemble_auth_success",
    EnsembleAuthFail = "ensemble_auth_fail",
    EnsembleAuthSkip = "ensemble_auth_skip",
    AddDeadWatcherStallTime = "add_dead_watcher_stall_time",
    DeadWatchersQueued = "dead_watchers_queued",
    DeadWatchersCleared = "dead_watchers_cleared",
    ResponsePacketCacheHits = "response_packet_cache_hits",
    ResponsePacketCacheMisses = "response_packet_cache_misses",
    ResponsePacketGetChildrenCacheHits = "response_packet_get_children_cache_hits",
    ResponsePacketGetChildrenCacheMisses = "response_packet_get_children_cache_misses",
    ThrottledOps = "throttled_ops",
    RequestThrottleWaitCount = "request_throttle_wait_count",
    PrepProcessorRequestQueued = "prep_processor_request_queued",
    OutstandingChangesQueued = "outstanding_changes_queued",
    OutstandingChangesRemoved = "outstanding_changes_removed",
    SyncProcessorRequestQueued = "sync_processor_request_queued",
    RequestCommitQueued = "request_commit_queued",
    SkipLearnerRequestToNextProcessorCount = "skip_learner_request_to_next_processor_count",
    RequestsNotForwardedToCommitProcessor = "requests_not_forwarded_to_commit_processor",
    CommitCount = "commit_count",
    LearnerProposalReceivedCount = "learner_proposal_received_count",
    LearnerCommitReceivedCount = "learner_commit_received_count",
    ProposalCount = "proposal_count",
    QuitLeadingDueToDisloyalVoter = "quit_leading_due_to_disloyal_voter",
    LookingCount = "looking_count",
    DiffCount = "diff_count",
    SnapCount = "snap_count",
    UnrecoverableErrorCount = "unrecoverable_error_count",
    DigestMismatchesCount = "digest_mismatches_count",
    TtlNodeDeletedCount = "ttl_node_deleted_count",
    TtlNodeCreatedCount = "ttl_node_created_count",
    OpCountTotal = "op_count_total",
    OpCountAddWatch = "op_count_add_watch",
    OpCountCheck = "op_count_check",
    OpCountCheckWatches = "op_count_check_watches",
    OpCountCloseSession = "op_count_close_session",
    OpCountCreate = "op_count_create",
    OpCountCreateSession = "op_count_create_session",
    OpCountDelete = "op_count_delete",
    OpCountExists = "op_count_exists",
    OpCountGetAcl = "op_count_get_acl",
    OpCountGetAllChildrenNumber = "op_count_get_all_children_number",
    OpCountGetChildren = "op_count_get_children",
    OpCountGetData = "op_count_get_data",
    OpCountGetEphemerals = "op_count_get_ephemerals",
    OpCountMulti = "op_count_multi",
    OpCountMultiRead = "op_count_multi_read",
    OpCountPing = "op_count_ping",
    OpCountReconfig = "op_count_reconfig",
    OpCountRemoveWatches = "op_count_remove_watches",
    OpCountSetAcl = "op_count_set_acl",
    OpCountSetData = "op_count_set_data",
    OpCountSetWatches = "op_count_set_watches",
    OpCountSync = "op_count_sync",
    OpCountWhoAmI = "op_count_who_am_i",
}}

family! {
/// Summaries of count, sum, smallest and largest. Times are milliseconds.
Basic {
    Fsynctime = "fsynctime",
    Snapshottime = "snapshottime",
    RestoreTime = "restore_time",
    Dbinittime = "dbinittime",
    StartupTxnsLoaded = "startup_txns_loaded",
    StartupTxnsLoadTime = "startup_txns_load_time",
    StartupSnapLoadTime = "startup_snap_load_time",
    NettyQueuedBufferCapacity = "netty_queued_buffer_capacity",
    ConnectionTokenDeficit = "connection_token_deficit",
    SocketClosingTime = "socket_closing_time",
    NodeCreatedWatchCount = "node_created_watch_count",
    NodeDeletedWatchCount = "node_deleted_watch_count",
    NodeChangedWatchCount = "node_changed_watch_count",
    NodeChildrenWatchCount = "node_children_watch_count",
    PrepProcessorQueueSize = "prep_processor_queue_size",
    PrepProcessTime = "prep_process_time",
    ProposalProcessTime = "proposal_process_time",
    SyncProcessorQueueSize = "sync_processor_queue_size",
    SyncProcessTime = "sync_process_time",
    SyncProcessorBatchSize = "sync_processor_batch_size",
    RequestsInSessionQueue = "requests_in_session_queue",
    PendingSessionQueueSize = "pending_session_queue_size",
    ReadsAfterWriteInSessionQueue = "reads_after_write_in_session_queue",
    ReadsIssuedFromSessionQueue = "reads_issued_from_session_queue",
    SessionQueuesDrained = "session_queues_drained",
    TimeWaitingEmptyPoolInCommitProcessorReadMs = "time_waiting_empty_pool_in_commit_processor_read_ms",
    WriteBatchTimeInCommitProcessor = "write_batch_time_in_commit_processor",
    ConcurrentRequestProcessingInCommitProcessor = "concurrent_request_processing_in_commit_processor",
    ReadCommitProcReqQueued = "read_commit_proc_req_queued",
    WriteCommitProcReqQueued = "write_commit_proc_req_queued",
    CommitCommitProcReqQueued = "commit_commit_proc_req_queued",
    ReadCommitProcIssued = "read_commit_proc_issued",
    WriteCommitProcIssued = "write_commit_proc_issued",
    CommitProcessTime = "commit_process_time",
    LearnerRequestProcessorQueueSize = "learner_request_processor_queue_size",
    FollowerSyncTime = "follower_sync_time",
    ObserverSyncTime = "observer_sync_time",
    ElectionTime = "election_time",
    InflightSnapCount = "inflight_snap_count",
    InflightDiffCount = "inflight_diff_count",
    UnavailableTime = "unavailable_time",
    LeaderUnavailableTime = "leader_unavailable_time",
}}

family! {
/// Summaries with percentiles. Times are milliseconds.
Advanced {
    Readlatency = "readlatency",
    Updatelatency = "updatelatency",
    PropagationLatency = "propagation_latency",
    CloseSessionPrepTime = "close_session_prep_time",
    DeadWatchersCleanerLatency = "dead_watchers_cleaner_latency",
    RequestThrottleQueueTimeMs = "request_throttle_queue_time_ms",
    PrepProcessorQueueTimeMs = "prep_processor_queue_time_ms",
    SyncProcessorQueueAndFlushTimeMs = "sync_processor_queue_and_flush_time_ms",
    SyncProcessorQueueTimeMs = "sync_processor_queue_time_ms",
    SyncProcessorQueueFlushTimeMs = "sync_processor_queue_flush_time_ms",
    ReadCommitprocTimeMs = "read_commitproc_time_ms",
    WriteCommitprocTimeMs = "write_commitproc_time_ms",
    LocalWriteCommittedTimeMs = "local_write_committed_time_ms",
    ServerWriteCommittedTimeMs = "server_write_committed_time_ms",
    ReadFinalProcTimeMs = "read_final_proc_time_ms",
    WriteFinalProcTimeMs = "write_final_proc_time_ms",
    OmProposalProcessTimeMs = "om_proposal_process_time_ms",
    OmCommitProcessTimeMs = "om_commit_process_time_ms",
    ProposalLatency = "proposal_latency",
    ProposalAckCreationLatency = "proposal_ack_creation_latency",
    CommitPropagationLatency = "commit_propagation_latency",
    QuorumAckLatency = "quorum_ack_latency",
    JvmPauseTimeMs = "jvm_pause_time_ms",
}}

/// Count, sum, smallest, largest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub count: u64,
    pub sum: u64,
    min: u64,
    max: u64,
}

impl Summary {
    pub fn add(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    pub fn merge(&mut self, other: &Summary) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// 0 when nothing was added.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// 0 when nothing was added.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Rounded half up to four decimals; 0 when nothing was added (parity FL-60).
    pub fn average(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        (self.sum as f64 / self.count as f64 * 10_000.0).round() / 10_000.0
    }
}

/// A [`Summary`] with a uniform sample of what it saw, from which percentiles are estimated.
#[derive(Clone, Debug, Default)]
pub struct Sampled {
    pub summary: Summary,
    samples: Vec<u64>,
    dice: u64,
}

impl Sampled {
    /// Values kept; ZK: AvgMinMaxPercentileCounter's reservoir.
    pub const SAMPLES_MAX: usize = 4096;

    pub fn add(&mut self, value: u64) {
        self.summary.add(value);
        if self.samples.len() < Self::SAMPLES_MAX {
            self.samples.push(value);
            return;
        }
        // Vitter's algorithm R. The dice are a fixed xorshift: a percentile does not need better, and the
        // machine it lives in must not depend on anything outside.
        self.dice ^= (self.dice << 13) | 1;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let at = ((u128::from(self.dice) * u128::from(self.summary.count)) >> 64) as usize;
        if let Some(slot) = self.samples.get_mut(at) {
            *slot = value;
        }
    }

    /// The estimated quantiles `at` (each in 0..=1) over several cores' samples; 0 when there are none.
    ///
    /// A sample stands for `count / samples` values of its own core, so a busy core weighs more.
    pub fn quantiles<const N: usize>(parts: &[&Sampled], at: [f64; N]) -> [u64; N] {
        let mut weighted: Vec<(u64, f64)> = Vec::new();
        for part in parts {
            let weight = part.summary.count as f64 / part.samples.len().max(1) as f64;
            weighted.extend(part.samples.iter().map(|value| (*value, weight)));
        }
        weighted.sort_unstable_by_key(|(value, _)| *value);
        let total: f64 = weighted.iter().map(|(_, weight)| weight).sum();
        at.map(|quantile| {
            let mut passed = 0.0;
            for (value, weight) in &weighted {
                passed += weight;
                if passed >= quantile * total {
                    return *value;
                }
            }
            weighted.last().map_or(0, |(value, _)| *value)
        })
    }
}

/// One summary per top-level path component (parity FL-59).
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    entries: Vec<(Box<str>, Summary)>,
    last: usize,
}

impl Namespaces {
    /// Namespaces told apart; what comes beyond is not counted, because clients choose the names.
    const COUNT_MAX: usize = 4096;

    /// Neighbouring requests mostly share a namespace, so the last one found is tried first.
    /// The root is in no namespace.
    pub fn add(&mut self, namespace: &str, value: u64) {
        if namespace.is_empty() {
            return;
        }
        if let Some((name, summary)) = self.entries.get_mut(self.last)
            && **name == *namespace
        {
            return summary.add(value);
        }
        match self.entries.binary_search_by(|(name, _)| (**name).cmp(namespace)) {
            Ok(at) => self.last = at,
            Err(_) if self.entries.len() >= Self::COUNT_MAX => return,
            Err(at) => {
                self.entries.insert(at, (namespace.into(), Summary::default()));
                self.last = at;
            }
        }
        self.entries[self.last].1.add(value);
    }

    /// The same names, nothing counted.
    fn zeroed(mut self) -> Namespaces {
        self.entries.iter_mut().for_each(|(_, summary)| *summary = Summary::default());
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Summary)> {
        self.entries.iter().map(|(name, summary)| (&**name, summary))
    }
}

/// One core's set.
#[derive(Clone, Debug)]
pub struct Metrics {
    counters: [u64; Counter::COUNT],
    basic: [Summary; Basic::COUNT],
    advanced: Vec<Sampled>,
    pub read_per_namespace: Namespaces,
    pub write_per_namespace: Namespaces,
    /// quota_exceeded_error_per_namespace.
    pub quota_exceeded: BTreeMap<Box<str>, u64>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            counters: [0; Counter::COUNT],
            basic: [Summary::default(); Basic::COUNT],
            advanced: vec![Sampled::default(); Advanced::COUNT],
            read_per_namespace: Namespaces::default(),
            write_per_namespace: Namespaces::default(),
            quota_exceeded: BTreeMap::new(),
        }
    }
}

impl Metrics {
    pub fn count(&mut self, counter: Counter) {
        self.counters[counter as usize] += 1;
    }

    pub fn count_by(&mut self, counter: Counter, by: u64) {
        self.counters[counter as usize] = self.counters[counter as usize].saturating_add(by);
    }

    pub fn add(&mut self, basic: Basic, value: u64) {
        self.basic[basic as usize].add(value);
    }

    pub fn sample(&mut self, advanced: Advanced, value: u64) {
        self.advanced[advanced as usize].add(value);
    }

    /// One refusal for want of quota below `namespace`.
    pub fn quota_exceeded(&mut self, namespace: &str) {
        *self.quota_exceeded.entry(namespace.into()).or_default() += 1;
    }

    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    pub fn basic(&self, basic: Basic) -> &Summary {
        &self.basic[basic as usize]
    }

    pub fn advanced(&self, advanced: Advanced) -> &Sampled {
        &self.advanced[advanced as usize]
    }

    /// `srst` (parity FL-27).
    pub fn reset(&mut self) {
        let was = std::mem::take(self);
        // Keys once seen stay, at zero: a dashboard that found them keeps finding them, as in the reference.
        self.read_per_namespace = was.read_per_namespace.zeroed();
        self.write_per_namespace = was.write_per_namespace.zeroed();
        self.quota_exceeded = was.quota_exceeded.into_keys().map(|key| (key, 0)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_families_as_zookeeper_has() {
        assert_eq!((Counter::COUNT, Basic::COUNT, Advanced::COUNT), (77, 42, 23));
    }

    #[test]
    fn summaries_merge_as_if_one_core_had_seen_it_all() {
        let (mut all, mut left, mut right) = (Summary::default(), Summary::default(), Summary::default());
        for value in [5, 3, 9, 1] {
            all.add(value);
            if value > 4 { left.add(value) } else { right.add(value) }
        }
        left.merge(&right);
        left.merge(&Summary::default());
        assert_eq!(left, all);
        assert_eq!((all.min(), all.max(), all.average()), (1, 9, 4.5));
        assert_eq!(Summary::default().average(), 0.0);
    }

    #[test]
    fn percentiles_weigh_cores_by_what_they_saw() {
        let (mut busy, mut idle) = (Sampled::default(), Sampled::default());
        for value in 0..100_000u64 {
            busy.add(value % 100);
        }
        for _ in 0..100 {
            idle.add(1000);
        }
        let [p50, p95, p999] = Sampled::quantiles(&[&busy, &idle], [0.5, 0.95, 0.9999]);
        assert!((40..60).contains(&p50), "{p50}");
        assert!((90..100).contains(&p95), "{p95}");
        assert_eq!(p999, 1000);
        assert_eq!(Sampled::quantiles::<1>(&[], [0.5]), [0]);
    }

    #[test]
    fn the_reservoir_keeps_late_values_too() {
        let mut sampled = Sampled::default();
        for value in 0..40_960u64 {
            sampled.add(value);
        }
        assert_eq!(sampled.samples.len(), Sampled::SAMPLES_MAX);
        let late = sampled.samples.iter().filter(|value| **value >= 20_480).count();
        assert!((1700..2400).contains(&late), "{late}");
    }
}
