//! What one shard must know of the configuration, as plain numbers. Limits are the whole server's; the shard
//! takes its share.

use super::throttle::ConnectionThrottle;
use crate::admin::Whitelist;
use crate::base::ShardId;
use crate::tree::auth::AuthRules;

#[derive(Clone, Debug)]
pub struct Settings {
    pub shard: ShardId,
    pub shard_count: u16,
    /// Clients are let in at once, not only when the replica says so (`ToShard::Serve`): on a standalone server.
    pub serves_from_start: bool,
    /// `jute.maxbuffer`: the longest frame accepted.
    pub frame_bytes_max: usize,
    /// `jute.maxbuffer` + `jute.maxbuffer.extrasize`: the longest string or buffer in a record.
    pub field_bytes_max: usize,
    pub session_timeout_min_ms: i32,
    pub session_timeout_max_ms: i32,
    /// `nio.sessionlessCnxnTimeout`: how long a connection may stay without a session, and the granularity of
    /// the idle check after it.
    pub sessionless_timeout_ms: u64,
    pub auth: AuthRules,
    /// `enforce.auth.schemes` (or sasl for `sessionRequireClientSASLAuth`); empty when not enforced.
    pub enforced_schemes: Vec<String>,
    /// `globalOutstandingLimit`.
    pub outstanding_max: u32,
    /// `largeRequestThreshold`; `None` when off.
    pub large_request_bytes: Option<usize>,
    /// `largeRequestMaxBytes`: in flight together.
    pub large_requests_bytes_max: usize,
    pub connection_throttle: ConnectionThrottle,
    /// `request_throttle_max_requests`; 0 when off.
    pub request_throttle_max: u32,
    /// `throttled_op_wait_time`; 0 when off.
    pub throttled_op_wait_ms: u64,
    pub words: Whitelist,
}

impl Settings {
    /// ZooKeeper's defaults with a tick of `tick_ms`.
    pub fn defaults(shard: ShardId, shard_count: u16, tick_ms: i32) -> Settings {
        const JUTE_MAXBUFFER: usize = 0xfffff;
        Settings {
            shard,
            shard_count,
            serves_from_start: true,
            frame_bytes_max: JUTE_MAXBUFFER,
            field_bytes_max: 2 * JUTE_MAXBUFFER,
            session_timeout_min_ms: tick_ms.saturating_mul(2),
            session_timeout_max_ms: tick_ms.saturating_mul(20),
            sessionless_timeout_ms: 10_000,
            auth: AuthRules::default(),
            enforced_schemes: Vec::new(),
            outstanding_max: 1000,
            large_request_bytes: None,
            large_requests_bytes_max: 100 << 20,
            connection_throttle: ConnectionThrottle::default(),
            request_throttle_max: 0,
            throttled_op_wait_ms: 0,
            words: Whitelist::parse(None, false),
        }
    }

    /// This shard's part of a limit of the whole server; never 0.
    pub(super) fn share(&self, total: usize) -> usize {
        (total / usize::from(self.shard_count.max(1))).max(1)
    }
}
