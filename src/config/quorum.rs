//! Knobs of the replication protocol (CF-43 to CF-75): used by members of an ensemble only.

use std::path::PathBuf;

use super::ensemble::Role;

/// How members find, follow and outlive one another.
#[derive(Clone, Debug, PartialEq)]
pub struct QuorumConfig {
    /// Ticks to connect and synchronize; 0 = not set.
    pub init_limit_ticks: u32,
    /// Ticks a learner may lag; 0 = not set.
    pub sync_limit_ticks: u32,
    /// Ticks for the connect phase; 0 = `init_limit_ticks`.
    pub connect_to_learner_master_limit_ticks: u32,
    /// `peerType`; the server list wins.
    pub peer_type: Role,
    pub quorum_listen_on_all_ips: bool,
    /// The leader serves clients too.
    pub leader_serves: bool,
    /// New sessions are known to one server only.
    pub local_sessions_enabled: bool,
    /// Local sessions become global when they ask for an ephemeral.
    pub local_sessions_upgrading_enabled: bool,
    /// Without a leader, serve reads to clients that put up with it.
    pub read_only_mode: bool,
    /// Connect timeout of the election.
    pub cnx_timeout_ms: u32,
    /// Read timeout of election sockets; `None` = tickTime * syncLimit.
    pub quorum_cnxn_timeout_ms: Option<u32>,
    /// Attempts to bind the election port; 0 = for ever.
    pub election_port_bind_retry: u32,
    pub min_notification_interval_ms: u32,
    pub max_notification_interval_ms: u32,
    pub max_time_to_wait_for_epoch_ms: Option<u32>,
    pub max_concurrent_snap_syncs: u32,
    pub max_concurrent_diff_syncs: u32,
    pub leader_connect_delay_during_retry_ms: u32,
    /// SO_KEEPALIVE on election sockets.
    pub tcp_keep_alive: bool,
    /// Followers also serve observers on this port.
    pub observer_master_port: Option<u16>,
    pub observer_master_size_limit_bytes: u32,
    /// Observers log and snapshot.
    pub sync_enabled: bool,
    pub observer_reconnect_delay_ms: u64,
    pub observer_election_delay_ms: u64,
    pub multi_address_enabled: bool,
    pub multi_address_reachability_check_enabled: bool,
    pub multi_address_reachability_check_timeout_ms: u32,
    pub oracle_path: Option<PathBuf>,
    /// Committed proposals kept in memory for DIFF, at least 500.
    pub commit_log_count: u32,
    /// Catch up from the log while it is smaller than this share of the snapshot; `None` = never.
    pub snapshot_size_factor: Option<f64>,
    pub force_snapshot_sync: bool,
    pub standalone_enabled: bool,
    pub reconfig_enabled: bool,
    pub leader_nodelay: bool,
    pub follower_nodelay: bool,
}

impl Default for QuorumConfig {
    fn default() -> Self {
        QuorumConfig {
            init_limit_ticks: 0,
            sync_limit_ticks: 0,
            connect_to_learner_master_limit_ticks: 0,
            peer_type: Role::Participant,
            quorum_listen_on_all_ips: false,
            leader_serves: true,
            local_sessions_enabled: false,
            local_sessions_upgrading_enabled: false,
            read_only_mode: false,
            cnx_timeout_ms: 5000,
            quorum_cnxn_timeout_ms: None,
            election_port_bind_retry: 3,
            min_notification_interval_ms: 200,
            max_notification_interval_ms: 60_000,
            max_time_to_wait_for_epoch_ms: None,
            max_concurrent_snap_syncs: 10,
            max_concurrent_diff_syncs: 100,
            leader_connect_delay_during_retry_ms: 100,
            tcp_keep_alive: false,
            observer_master_port: None,
            observer_master_size_limit_bytes: 33_554_432,
            sync_enabled: true,
            observer_reconnect_delay_ms: 0,
            observer_election_delay_ms: 200,
            multi_address_enabled: false,
            multi_address_reachability_check_enabled: true,
            multi_address_reachability_check_timeout_ms: 1000,
            oracle_path: None,
            commit_log_count: 500,
            snapshot_size_factor: Some(0.33),
            force_snapshot_sync: false,
            standalone_enabled: true,
            reconfig_enabled: false,
            leader_nodelay: true,
            follower_nodelay: true,
        }
    }
}
