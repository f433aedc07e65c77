//! The settings themselves: plain data with units in the names, grouped by who reads them.
//!
//! Nothing here knows where a value came from; `keys.rs` says which key of zoo.cfg fills which field, and a test holds the
//! defaults below against the defaults of that table. Where Apache writes `-1` or `0` for "off", the field is an `Option`
//! or its comment says so.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::cpuset::CpuSet;
use crate::admin::Whitelist;
use crate::tree::auth::DigestAlg;

/// What a client connection meets: listener, limits, session bounds, throttles.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// Where plain clients connect; port 0 asks the kernel for one. `None`: no plain listener (CF-20).
    pub client_addr: Option<SocketAddr>,
    /// True when no address was configured, so "every interface" is meant: IPv4 as `client_addr` says, and IPv6 too where
    /// the machine has it (Java binds dual-stack).
    pub client_addr_is_any: bool,
    /// Listen backlog in connections; `None` = the platform's (Java's own default is 50).
    pub listen_backlog: Option<u32>,
    /// SO_KEEPALIVE on accepted sockets (CF-183).
    pub tcp_keep_alive: bool,
    /// ZooKeeper's tickTime: width of a session expiry bucket.
    pub tick_time_ms: u32,
    /// Lower bound of a negotiated session timeout.
    pub min_session_timeout_ms: u32,
    /// Upper bound of a negotiated session timeout.
    pub max_session_timeout_ms: u32,
    /// Live connections per source address; 0 = unlimited.
    pub max_client_cnxns: u32,
    /// Live connections in all; 0 = unlimited.
    pub max_cnxns: u32,
    /// Largest frame accepted (W-02).
    pub jute_max_buffer_bytes: u32,
    /// A jute string or buffer may be as long as `jute_max_buffer_bytes` plus this, at least 1024 (J-11).
    pub jute_max_buffer_extra_bytes: u32,
    /// Server-wide requests in flight above which a connection with outstanding requests is no longer read (W-16).
    pub global_outstanding_limit: u32,
    /// A connection without a session is closed after this long (W-10).
    pub sessionless_cnxn_timeout_ms: u32,
    /// Requests larger than this count against `large_request_max_bytes`; `None` = gate off (W-07).
    pub large_request_threshold_bytes: Option<u32>,
    /// Bytes of large requests allowed in flight at once.
    pub large_request_max_bytes: u32,
    pub connection_throttle: ConnectionThrottleConfig,
    pub request_throttle: RequestThrottleConfig,
    /// Which four-letter words are answered; `srvr` always is (FL-02, FL-03).
    pub four_letter_words: Whitelist,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            client_addr: None,
            client_addr_is_any: false,
            listen_backlog: None,
            tcp_keep_alive: false,
            tick_time_ms: 3000,
            min_session_timeout_ms: 6000,
            max_session_timeout_ms: 60_000,
            max_client_cnxns: 60,
            max_cnxns: 0,
            jute_max_buffer_bytes: 1_048_575,
            jute_max_buffer_extra_bytes: 1_048_575,
            global_outstanding_limit: 1000,
            sessionless_cnxn_timeout_ms: 10_000,
            large_request_threshold_bytes: None,
            large_request_max_bytes: 104_857_600,
            connection_throttle: ConnectionThrottleConfig::default(),
            request_throttle: RequestThrottleConfig::default(),
            four_letter_words: Whitelist::parse(None, false),
        }
    }
}

/// The token bucket in front of new connections (RT-40 to RT-43). ZK: BlueThrottle.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionThrottleConfig {
    /// Bucket size in connections; with weights on, in new sessions. 0 = throttle off.
    pub tokens: u32,
    /// The bucket refills when more than this has passed.
    pub fill_time_ms: u32,
    /// As many come back per `fill_time_ms`.
    pub fill_count: u32,
    /// Time between two changes of the drop probability; `None` = no random drop.
    pub freeze_time_ms: Option<u32>,
    /// Added to the drop probability when the bucket was empty.
    pub drop_increase: f64,
    /// Taken from it when no more than `decrease_ratio` of the bucket was used.
    pub drop_decrease: f64,
    /// Share of the bucket, 0 to 1.
    pub decrease_ratio: f64,
    /// Charge sessions by the three weights below instead of 1 each.
    pub weight_enabled: bool,
    pub global_session_weight: u32,
    pub local_session_weight: u32,
    pub renew_session_weight: u32,
}

impl Default for ConnectionThrottleConfig {
    fn default() -> Self {
        ConnectionThrottleConfig {
            tokens: 0,
            fill_time_ms: 1,
            fill_count: 1,
            freeze_time_ms: None,
            drop_increase: 0.02,
            drop_decrease: 0.002,
            decrease_ratio: 0.0,
            weight_enabled: false,
            global_session_weight: 3,
            local_session_weight: 1,
            renew_session_weight: 2,
        }
    }
}

/// The gate between network and pipeline (RT-50 to RT-53). ZK: RequestThrottler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestThrottleConfig {
    /// Requests inside the pipeline at once; 0 = gate off.
    pub max_requests: u32,
    /// A request that waited longer ends as THROTTLEDOP (-127); 0 = off.
    pub throttled_op_wait_time_ms: u32,
}

/// Who may do what: ACL switches, the digest scheme, forced authentication, quotas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Every ACL check passes; say so at start.
    pub skip_acl: bool,
    /// The digest scheme exists.
    pub digest_enabled: bool,
    /// Hash of the digest scheme.
    pub digest_algorithm: DigestAlg,
    /// The whole `super:<base64>` text whose bearer is super.
    pub super_digest: Option<String>,
    /// Schemes of which a connection must hold an id before anything but auth. Empty = not enforced.
    pub enforce_auth_schemes: Vec<String>,
    /// Check ACLs before a request is queued.
    pub enable_eager_acl_check: bool,
    /// Hard quota limits refuse writes.
    pub enforce_quota: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig {
            skip_acl: false,
            digest_enabled: true,
            digest_algorithm: DigestAlg::Sha1,
            super_digest: None,
            enforce_auth_schemes: Vec::new(),
            enable_eager_acl_check: false,
            enforce_quota: false,
        }
    }
}

/// Node types that end by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZnodeConfig {
    /// TTL nodes exist. On unless switched off, unlike Apache: switching the feature on later reinterprets stored owners,
    /// so the safe default is the one that never has to change.
    pub extended_types_enabled: bool,
    /// Period of the reaper (ZN-43).
    pub container_check_interval_ms: u32,
    /// Deletions the reaper may submit per minute (ZN-44).
    pub container_max_per_minute: u32,
    /// A container that never had a child goes after this long; 0 = never (ZN-45; 0 is 3.9's default).
    pub container_max_never_used_interval_ms: u64,
}

impl Default for ZnodeConfig {
    fn default() -> Self {
        ZnodeConfig {
            extended_types_enabled: true,
            container_check_interval_ms: 60_000,
            container_max_per_minute: 10_000,
            container_max_never_used_interval_ms: 0,
        }
    }
}

/// Where and how transactions and snapshots reach the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Holds myid and, under version-2, snapshots and epoch files.
    pub data_dir: PathBuf,
    /// Holds the transaction log under version-2; equal to `data_dir` unless configured.
    pub data_log_dir: PathBuf,
    /// Create missing directories (CF-32); off: a missing one ends the start with exit code 3.
    pub datadir_autocreate: bool,
    /// Start empty when there is no data (CF-33).
    pub db_autocreate: bool,
    /// Records between snapshots, at least 2 (RT-20).
    pub snap_count: u32,
    /// Log bytes between snapshots; `None` = bytes never trigger one (0 counts as off too, UB-06).
    pub snap_size_limit_bytes: Option<u64>,
    /// No segment of the journal is larger (RT-25).
    pub txn_log_size_limit_bytes: Option<u64>,
    /// A segment of the journal, unless `txn_log_size_limit_bytes` is smaller.
    pub prealloc_bytes: u64,
    /// Sync before an acknowledgement. Off loses acknowledged writes in a power cut.
    pub force_sync: bool,
    /// A sync slower than this is logged and counted (RT-31).
    pub fsync_warning_threshold_ms: u64,
    /// Snapshots kept by the purge, at least 3 (RT-26).
    pub snap_retain_count: u32,
    /// Time between purges; 0 = no purge.
    pub purge_interval_ms: u64,
    /// Keep and compare the tree digest (RT-70).
    pub digest_enabled: bool,
    /// closeSession records carry the paths they delete (SE-30).
    pub close_session_txn_enabled: bool,
}

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig {
            data_dir: PathBuf::new(),
            data_log_dir: PathBuf::new(),
            datadir_autocreate: true,
            db_autocreate: true,
            snap_count: 100_000,
            snap_size_limit_bytes: Some(4_194_304 * 1024),
            txn_log_size_limit_bytes: None,
            prealloc_bytes: 65_536 * 1024,
            force_sync: true,
            fsync_warning_threshold_ms: 1000,
            snap_retain_count: 3,
            purge_interval_ms: 0,
            digest_enabled: true,
            close_session_txn_enabled: true,
        }
    }
}

impl JournalConfig {
    /// How large a segment of the journal is to be; it has a minimum of its own ([`crate::journal::Journal::new`]).
    pub fn segment_bytes(&self) -> u64 {
        self.txn_log_size_limit_bytes.map_or(self.prealloc_bytes, |limit| limit.min(self.prealloc_bytes))
    }
}

/// Which CPU does what; `None` = decided from the affinity mask by `placement`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoresConfig {
    /// Number of shards.
    pub shards: Option<usize>,
    /// CPUs the shards are pinned to, taken in turn.
    pub shard_cpus: Option<CpuSet>,
    /// CPU of the replication core.
    pub replication_cpu: Option<usize>,
    /// Pin executors at all; off leaves their CPUs to the kernel's scheduler.
    pub pin: bool,
    /// An idle executor looks for work this long before it sleeps; only on a CPU it has to itself (`Core::may_spin`).
    pub spin_before_park_us: u32,
}

impl Default for CoresConfig {
    fn default() -> Self {
        CoresConfig { shards: None, shard_cpus: None, replication_cpu: None, pin: true, spin_before_park_us: 0 }
    }
}
