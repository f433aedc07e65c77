//! A survey of the whole server: every shard's part and the replica's, gathered for one asker.
//!
//! Four-letter words and the admin view are rendered from a [`Report`] alone, so they can show nothing
//! that was not measured, and never reach into a machine.
//!
//! Does not know: which word asked, or what its text looks like.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Service;
use super::metrics::{Metrics, Summary};
use crate::base::{ServerId, SessionId, WallMs, Zxid};

/// Which numbers are asked for; the cheap ones must not pay for the dear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SurveyKind {
    /// What the host and the configuration are (envi, conf, dirs, hash, isro): the replica's part alone.
    Host,
    /// Counters and gauges (srvr).
    Totals,
    /// Totals and every metric family (mntr).
    Metrics,
    /// Totals and a line for each connection (stat, cons).
    Connections,
    /// Connections, sessions by expiry, ephemerals by session (dump).
    Dump,
    /// How many watch how much (wchs).
    WatchSummary,
    /// Who watches what (wchc, wchp).
    Watches,
    /// Clears the per-connection counters (crst).
    ResetConnections,
    /// Clears latencies, packet counts, response sizes and all metrics (srst).
    ResetServer,
    /// gtmk; with a value, stmk. The mask is the replica's, so there is one of it.
    TraceMask { set: Option<i64> },
}

impl SurveyKind {
    /// Whether the shards have to be asked at all.
    pub fn needs_shards(self) -> bool {
        !matches!(self, SurveyKind::Host | SurveyKind::TraceMask { .. })
    }
}

/// Bytes of replies: the last, smallest and largest; `None` before the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    pub last: Option<i64>,
    pub min: Option<i64>,
    pub max: Option<i64>,
}

impl Sizes {
    pub fn add(&mut self, bytes: usize) {
        let bytes = bytes as i64;
        self.last = Some(bytes);
        self.min = Some(self.min.map_or(bytes, |min| min.min(bytes)));
        self.max = Some(self.max.map_or(bytes, |max| max.max(bytes)));
    }

    /// As if both had been one; `last` is whichever is known.
    pub fn merge(&mut self, other: &Sizes) {
        self.last = other.last.or(self.last);
        self.min = [self.min, other.min].into_iter().flatten().min();
        self.max = [self.max, other.max].into_iter().flatten().max();
    }
}

/// What the tree says about itself. Every shard's tree says the same, so the first shard's is asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TreeReport {
    pub znode_count: u64,
    pub ephemeral_count: u64,
    pub approximate_data_size_bytes: u64,
    /// Filled for `Dump`: sorted by session.
    pub ephemerals: Vec<(SessionId, Vec<Box<str>>)>,
    /// Filled for `Metrics`: per namespace, limits (-1 unset) and usage.
    pub quotas: Vec<QuotaReport>,
}

/// One quota, as the gauges of parity Q-14 show it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuotaReport {
    pub path: Box<str>,
    pub count_limit: i64,
    pub bytes_limit: i64,
    pub count_usage: i64,
    pub bytes_usage: i64,
}

/// One shard's part.
#[derive(Clone, Debug, Default)]
pub struct ShardReport {
    /// Of replies, in milliseconds, since the last `srst`.
    pub latency_ms: Summary,
    pub packets_received: u64,
    pub packets_sent: u64,
    pub response_sizes: Sizes,
    pub connection_count: u64,
    /// Requests waiting for the replica or behind such a one.
    pub outstanding_count: u64,
    pub connection_drop_probability: f64,
    /// Watches in both tables.
    pub watch_count: u64,
    /// Filled for `WatchSummary`, of the data table only (parity WA-66): connections, pairs of connection and
    /// path, and the paths themselves, because a path watched on two shards is one path.
    pub watching_connections: u64,
    pub watch_pairs: u64,
    pub watched_paths: Vec<Box<str>>,
    /// Filled for `Watches`: per session its paths in order, data table only.
    pub watches: Vec<(SessionId, Vec<Box<str>>)>,
    /// Filled for `Connections` and `Dump`.
    pub connections: Vec<ConnReport>,
    /// The first shard's only.
    pub tree: Option<TreeReport>,
    /// Filled for `Metrics`.
    pub metrics: Option<Box<Metrics>>,
}

/// One connection, as `cons` lists it.
#[derive(Clone, Debug)]
pub struct ConnReport {
    pub peer: SocketAddr,
    /// Java's selection ops: 1 reads, 4 has something to write.
    pub interest_ops: u8,
    pub queued_count: u64,
    pub received_count: u64,
    pub sent_count: u64,
    /// `None` until the handshake is done; the fields below mean nothing then.
    pub session: Option<SessionId>,
    /// ZooKeeper's token for it, such as `GETD`.
    pub last_op: &'static str,
    pub established: WallMs,
    pub timeout_ms: i32,
    /// Negative when no request with a positive xid came yet.
    pub last_cxid: i64,
    pub last_zxid: i64,
    /// Monotonic milliseconds; 0 when nothing was answered yet.
    pub last_response_ms: u64,
    pub last_latency_ms: u64,
    pub latency_ms: Summary,
    /// Monotonic milliseconds at which the connection is closed if nothing is heard.
    pub expires_ms: u64,
}

/// What the driver knows of the machine and the process. Fed once at start; sizes and descriptor counts
/// again whenever they are fresh (`admin::Survey::set_host`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostFacts {
    /// Lines of `envi` in order: key, value (`<NA>` when unknown). `zookeeper.version` is put in front.
    pub environment: Vec<(String, String)>,
    /// Lines of `conf` in order, except for the two sizes, which go behind `dataDir` and `dataLogDir`.
    pub configuration: Vec<(String, String)>,
    /// The text `conf` ends with on a member of an ensemble: who the members are.
    pub membership: Option<String>,
    pub data_dir_size_bytes: u64,
    pub log_dir_size_bytes: u64,
    /// -1 when unknown.
    pub open_file_descriptor_count: i64,
    pub max_file_descriptor_count: i64,
    /// `3.9.5-ringkeeper-<our version>-<commit>, built on <date>`: the leading number is ZooKeeper's.
    pub version: String,
}

/// The replication core's part.
#[derive(Clone, Debug, Default)]
pub struct ReplicaReport {
    pub host: Arc<HostFacts>,
    pub service: Service,
    /// `None` on a standalone server.
    pub member: Option<MemberReport>,
    /// `standalone`, later `leader`, `follower`, `observer`, `read-only` (parity FL-47).
    pub server_state: &'static str,
    pub last_zxid: Zxid,
    pub uptime_ms: u64,
    /// Requests in the ordering pipeline that no shard waits for (expiry, the reaper of containers).
    pub outstanding_count: u64,
    /// Those that every member knows.
    pub session_count: u64,
    /// Those that this server alone knows.
    pub local_session_count: u64,
    /// Sessions by the monotonic millisecond at which they expire. Filled for `Dump`.
    pub session_buckets: Vec<(u64, Vec<SessionId>)>,
    /// The same of local ones; `None` where there can be none.
    pub local_session_buckets: Option<Vec<(u64, Vec<SessionId>)>>,
    /// This moment on both clocks: `dump` prints expiry as a date.
    pub now_mono_ms: u64,
    pub now_wall: WallMs,
    pub fsync_threshold_exceed_count: u64,
    /// zxid and digest at the remembered points, oldest first (`hash`).
    pub digests: Vec<(Zxid, i64)>,
    pub trace_mask: i64,
    /// Filled for `Metrics`.
    pub metrics: Option<Box<Metrics>>,
}

/// What a member of an ensemble knows of it (parity FL-50, FL-53, FL-54).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemberReport {
    /// `following - broadcast` and the like.
    pub peer_state: &'static str,
    pub epoch: i64,
    /// Voters of the view.
    pub quorum_size: u64,
    pub election_ms: u64,
    /// Whom this server learns from: the leader, or an observer its master.
    pub leader: Option<ServerId>,
    /// Observers that learn from this follower and are up to date; `None` if it serves none.
    pub observers: Option<u64>,
    pub observes: bool,
    /// Sessions with their timeouts in milliseconds: not the leader's, and filled for `Dump`.
    pub sessions: Vec<(SessionId, i32)>,
    pub pending_proposals: u64,
    /// Of a server that leads.
    pub leading: Option<LeadingReport>,
}

/// What a leader knows of its learners and proposals.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeadingReport {
    pub learners: Vec<LearnerState>,
    /// Of learners' clients, until what was proposed before them is committed.
    pub pending_syncs: u64,
    /// Since a quorum had its history; 0 before.
    pub uptime_ms: u64,
    /// Bytes of a proposal's transaction.
    pub proposal_sizes: Sizes,
}

/// One learner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerState {
    pub server: ServerId,
    /// A voter of the view.
    pub votes: bool,
    /// It follows as an observer.
    pub observes: bool,
    /// It is up to date and serves.
    pub synced: bool,
    /// The last transaction it acknowledged.
    pub acked: Zxid,
}

/// Everything a word may print.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub shards: Vec<ShardReport>,
    pub replica: ReplicaReport,
}
