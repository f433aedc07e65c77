//! What an operator may set about the replication core.

use crate::prep::Rules;

#[derive(Clone, Debug)]
pub struct Settings {
    /// `None`: standalone.
    pub ensemble: Option<super::EnsembleSettings>,
    pub rules: Rules,
    /// Milliseconds; the width of an expiry bucket (`tickTime`).
    pub tick_ms: u64,
    /// High byte of the session ids this server issues; 1 when standalone.
    pub server_id: u8,
    pub shard_count: u16,
    /// `reconfigEnabled`: decides how a lone server refuses the operation.
    pub reconfig_enabled: bool,
    /// Size of the journal segments to come, in bytes (`preAllocSize`).
    pub segment_bytes: u64,
    /// A journal write that takes longer counts as slow, in milliseconds (`fsync.warningthresholdms`).
    pub slow_sync_ms: u64,
    /// Attach a tree digest to every transaction (`digest.enabled`).
    pub digest: bool,
    /// Write closeSession transactions with the list of what they delete (`closeSessionTxn.enabled`).
    pub close_session_lists_ephemerals: bool,
    /// Data that cannot be read does not keep the server from starting: other members have it. False when alone.
    pub heal_from_peers: bool,
    /// Records of the journal's end that a boot hands over, at most ([`Booted::recent`](super::Booted::recent),
    /// `commitLogCount`); 0 when alone.
    pub commit_log_count: usize,
    pub snapshots: SnapshotSettings,
    pub reaper: ReaperSettings,
}

/// When to snapshot, and what to keep (parity RT-20, CF-190..195).
#[derive(Clone, Debug)]
pub struct SnapshotSettings {
    /// Transactions between snapshots, at most; the real count is drawn between half of it and all.
    pub snap_count: u64,
    /// Journal bytes between snapshots, at most; `None` disables this trigger.
    pub snap_bytes: Option<u64>,
    /// Snapshots that purging leaves.
    pub retain_count: usize,
    /// Hours between purges, in milliseconds; `None`: never purge.
    pub purge_interval_ms: Option<u64>,
}

/// The background deletion of unused containers and outdated TTL nodes (parity ZN-43..46).
#[derive(Clone, Debug)]
pub struct ReaperSettings {
    pub check_interval_ms: u64,
    pub max_per_minute: u64,
    /// `None`: containers that never had a child stay.
    pub max_never_used_ms: Option<u64>,
}
