//! What an operator may set about an ensemble, as the member needs it: defaults filled in, units in the names.

use std::sync::Arc;

use super::Replica;
use crate::base::{PeerAddress, ServerId, limits};
use crate::zab::{ElectionSettings, LearnerLimits, Member, MeshSettings, Timing, View};

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
    /// Voters serve observers on this port, and observers learn from voters there; `None` = from the leader
    /// (`observerMasterPort`).
    pub observer_master_port: Option<u16>,
    /// Bytes of transactions that may wait behind the synchronization of an observer, as observer master
    /// (`observerMaster.sizeLimit`).
    pub observer_master_bytes_max: usize,
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

/// How often a leader of ours speaks, as a part of a tick: its silence is then noticed soon (see `zab::Cadence`).
const PINGS_PER_TICK: u64 = 20;

impl EnsembleSettings {
    pub(super) fn logs(&self) -> bool {
        self.observers_sync || !self.observer
    }

    pub(super) fn init_ms(&self) -> u64 {
        self.init_limit_ticks * self.tick_ms
    }

    pub(super) fn sync_ms(&self) -> u64 {
        self.sync_limit_ticks * self.tick_ms
    }

    pub(super) fn dial_ms(&self) -> u64 {
        self.connect_limit_ticks * self.tick_ms
    }

    /// As leader; see [`EnsembleSettings::observer_limits`].
    pub(super) fn learner_limits(&self) -> LearnerLimits {
        LearnerLimits {
            timing: self.timing(),
            field_bytes_max: self.field_bytes_max,
            snap_syncs_max: self.snap_syncs_max,
            diff_syncs_max: self.diff_syncs_max,
            backlog_bytes_max: limits::BACKLOG_BYTES_MAX,
        }
    }

    /// As observer master.
    pub(super) fn observer_limits(&self) -> LearnerLimits {
        let backlog_bytes_max = self.observer_master_bytes_max.min(limits::BACKLOG_BYTES_MAX);
        LearnerLimits { backlog_bytes_max, ..self.learner_limits() }
    }

    fn timing(&self) -> Timing {
        Timing {
            tick_ms: self.tick_ms,
            init_ms: self.init_ms(),
            sync_ms: self.sync_ms(),
            ping_ms: (self.tick_ms / PINGS_PER_TICK).max(Replica::TICK_MS).min(self.tick_ms / 2),
        }
    }

    pub(super) fn mesh(&self) -> MeshSettings {
        MeshSettings {
            connect_timeout_ms: self.cnx_timeout_ms,
            identify_timeout_ms: self.preamble_timeout_ms,
            multi_address: self.multi_address,
        }
    }

    /// What goes with NEWLEADER, and stands in `/zookeeper/config`.
    pub(super) fn config_text(&self) -> String {
        self.view.to_text()
    }
}
