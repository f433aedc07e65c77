//! What an operator may set about an ensemble, as the member needs it: defaults filled in, units in the names.

use std::sync::Arc;

use crate::base::{PeerAddress, ServerId};
use crate::zab::ElectionSettings;
use crate::zab::{Member, View};

/// The settings of a member. Who listens where, and how often binding is tried, is the driver's.
#[derive(Clone, Debug)]
pub struct EnsembleSettings {
    /// From `myid`; a member of `view`.
    pub me: ServerId,
    /// The members as the configuration lists them.
    pub view: Arc<View>,
    /// This server has no vote: its line says so (`peerType` counts for nothing beside it).
    pub observer: bool,
    pub tick_ms: u64,
    /// To connect, agree on an epoch and synchronize (`initLimit`).
    pub init_limit_ticks: u64,
    /// To be silent, or behind (`syncLimit`).
    pub sync_limit_ticks: u64,
    /// To connect to the leader (`connectToLearnerMasterLimit`; `initLimit` where that is 0).
    pub connect_limit_ticks: u64,
    /// The pause between two attempts to connect to the leader, of which there are five at most
    /// (`leaderConnectDelayDuringRetryMs`).
    pub leader_connect_delay_ms: u64,
    /// To connect to another election port (`cnxTimeout`).
    pub cnx_timeout_ms: u64,
    /// For the first words on an election port (`quorumCnxnTimeoutMs`; `syncLimit` ticks where that is not set).
    pub preamble_timeout_ms: u64,
    pub election: ElectionSettings,
    /// A leader that has waited longer than this for its epoch gives up when one of its voters looks for a leader again;
    /// `None` = it waits for `initLimit` all the same (`leader.maxTimeToWaitForEpoch`).
    pub epoch_wait_ms_max: Option<u64>,
    /// A leader serves clients too (`leaderServes`).
    pub leader_serves: bool,
    /// New sessions are known to their server alone (`localSessionsEnabled`).
    pub local_sessions: bool,
    /// And become everybody's when they ask for an ephemeral (`localSessionsUpgradingEnabled`).
    pub local_sessions_upgrading: bool,
    /// Without a leader, clients that put up with it are served reads (`readonlymode.enabled`).
    pub read_only_mode: bool,
    /// Committed transactions kept in memory for learners that lag (`commitLogCount`).
    pub commit_log_count: usize,
    /// Learners are caught up from the journal while what they lack is smaller than this share of a snapshot; 0 = always,
    /// `None` = never (`snapshotSizeFactor`).
    pub snapshot_size_factor: Option<f64>,
    /// Every learner gets a snapshot (`forceSnapshotSync`).
    pub force_snapshot_sync: bool,
    /// Snapshots sent at the same time, beyond which observers are turned away (`leader.maxConcurrentSnapSyncs`).
    pub snap_syncs_max: usize,
    /// The same for differences (`leader.maxConcurrentDiffSyncs`).
    pub diff_syncs_max: usize,
    /// Observers log and snapshot (`syncEnabled`). Without it, one has on disk what it began with, or was last sent as a
    /// whole, and gets what followed from its leader when it starts again.
    pub observers_sync: bool,
    /// An observer that knows its leader waits this long at most before it dials it (`observer.reconnectDelayMs`).
    pub observer_reconnect_delay_ms: u64,
    /// One that lost its leader waits this long at most before it looks for one (`observer.election.DelayMs`).
    pub observer_election_delay_ms: u64,
    /// Members may have several addresses; decides which preamble is sent (`multiAddress.enabled`).
    pub multi_address: bool,
    /// A disk without anything on it is that of a new member, which votes (`zookeeper.db.autocreate`). Without this it
    /// may be a replaced one, whose member has promised and acknowledged what it knows nothing of any more: it takes
    /// no part in elections until a leader has given it a history (ZOOKEEPER-261, 2325).
    pub trust_empty: bool,
    /// The longest field of a packet between members, in bytes (`jute.maxbuffer` and its extra size).
    pub field_bytes_max: usize,
}

impl EnsembleSettings {
    /// This server's own line.
    pub fn own(&self) -> &Member {
        &self.view.members[&self.me]
    }

    /// What this server calls itself on election ports.
    pub fn own_election_addresses(&self) -> Vec<PeerAddress> {
        self.own().election_addresses()
    }
}
