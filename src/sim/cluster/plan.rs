//! The kind of night a seed is, for an ensemble.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::rng::Rng;
use super::peers::{ELECTION_PORT, OBSERVERS_PORT, QUORUM_PORT, host};
use crate::base::{ServerId, ShardId};
use crate::prep::Rules;
use crate::replica::{self, EnsembleSettings, ReaperSettings, SnapshotSettings};
use crate::shard;
use crate::tree::auth::AuthRules;
use crate::zab::{ElectionSettings, Member, MemberAddress, View};

#[derive(Clone, Debug)]
pub struct Plan {
    /// Of every member whether it votes, by index.
    pub votes: Vec<bool>,
    pub shard_count: u16,
    pub client_count: usize,
    pub tick_ms: i32,
    pub init_limit: u32,
    pub sync_limit: u32,
    pub night_ms: u64,
    pub extended_types: bool,
    pub never_used_ms: Option<i64>,
    pub reap_interval_ms: u64,
    pub snap_count: u64,
    pub retain_count: usize,
    pub mail_lag_us: u64,
    pub net_delay_us: u64,
    pub peer_delay_us: u64,
    pub disk_delay_us: u64,
    /// Mean time between requests of a client.
    pub think_us: u64,
    /// What may wait to be sent on one wire between members.
    pub wire_bytes_max: usize,
    pub leader_serves: bool,
    /// Committed transactions in memory for learners that lag: few, so that the disk and snapshots are used, too.
    pub commit_log_count: usize,
    pub log_sync: bool,
    // Faults, each in some nights only, so that each is also met alone.
    pub kills: bool,
    pub power_cuts: bool,
    pub partitions: bool,
    pub one_way: bool,
    pub bad_wires: bool,
    pub bad_network: bool,
    pub pauses: bool,
    pub clock_skew: bool,
    pub clock_jumps: bool,
    /// Disks of a minority are damaged or replaced by empty ones.
    pub lost_disks: bool,
    pub stalls: bool,
    pub failing_writes: bool,
    /// Everybody loses power at once.
    pub blackouts: bool,
    /// Observers learn from followers.
    pub observer_masters: bool,
}

impl Plan {
    pub fn draw(dice: &mut Rng) -> Plan {
        let voters = *dice.pick(&[3, 3, 3, 4, 5, 5]);
        let observers = dice.below(3).min(7 - voters) as usize;
        let mut votes = vec![true; voters as usize];
        votes.resize(voters as usize + observers, false);
        Plan {
            votes,
            shard_count: dice.between(1, 3) as u16,
            client_count: dice.between(2, 6) as usize,
            tick_ms: *dice.pick(&[100, 200, 400]),
            init_limit: dice.between(5, 10) as u32,
            sync_limit: dice.between(2, 5) as u32,
            night_ms: dice.between(3_000, 12_000),
            extended_types: dice.chance(700),
            never_used_ms: dice.chance(500).then(|| dice.between(100, 3_000) as i64),
            reap_interval_ms: dice.between(200, 2_000),
            snap_count: dice.between(10, 300),
            retain_count: dice.between(1, 4) as usize,
            mail_lag_us: *dice.pick(&[1, 20, 500]),
            net_delay_us: *dice.pick(&[20, 200, 2_000]),
            peer_delay_us: *dice.pick(&[20, 200, 2_000]),
            disk_delay_us: *dice.pick(&[20, 300, 3_000]),
            think_us: *dice.pick(&[5_000, 15_000, 40_000]),
            // Never less than one synchronization takes, or a learner that needs it can never be brought up.
            wire_bytes_max: *dice.pick(&[1 << 20, 4 << 20, 16 << 20]),
            leader_serves: dice.chance(800),
            commit_log_count: *dice.pick(&[5, 50, 500]),
            log_sync: dice.chance(700),
            kills: dice.chance(600),
            power_cuts: dice.chance(600),
            partitions: dice.chance(600),
            one_way: dice.chance(400),
            bad_wires: dice.chance(500),
            bad_network: dice.chance(400),
            pauses: dice.chance(400),
            clock_skew: dice.chance(400),
            clock_jumps: dice.chance(300),
            lost_disks: dice.chance(300),
            stalls: dice.chance(300),
            failing_writes: dice.chance(150),
            blackouts: dice.chance(150),
            observer_masters: dice.chance(500),
        }
    }

    pub fn voters(&self) -> u64 {
        self.votes.iter().enumerate().filter(|(_, votes)| **votes).fold(0, |mask, (member, _)| mask | 1 << member)
    }

    /// How many voters may be without a whole disk at any time.
    pub fn minority(&self) -> u32 {
        (self.voters().count_ones() - 1) / 2
    }

    /// By when a member in touch with its leader has passed on whom it heard, in microseconds. Word of an observer's
    /// clients may come by way of a follower.
    pub fn word_us(&self) -> u64 {
        let ways = if self.observer_masters { 2 } else { 1 };
        ways * (self.tick_ms as u64 * 1000 + 100_000)
    }

    /// The longest that a connected majority needs for a leader and a synchronised quorum (invariant 39), in
    /// microseconds: the wait for silence, one failed attempt, and one that succeeds.
    pub fn election_us(&self) -> u64 {
        let ticks = u64::from(2 * self.init_limit + 2 * self.sync_limit);
        ticks * self.tick_ms as u64 * 1000 + 10_000_000
    }

    pub fn replica_settings(&self, member: usize) -> replica::Settings {
        replica::Settings {
            ensemble: self.ensemble_settings(member),
            heal_from_peers: self.votes.len() > 1,
            commit_log_count: if self.votes.len() > 1 { self.commit_log_count } else { 0 },
            reconfig_enabled: false,
            slow_sync_ms: 1000,
            rules: Rules { auth: AuthRules::default(), extended_types: self.extended_types, enforce_quota: false },
            tick_ms: self.tick_ms as u64,
            server_id: member as u8 + 1,
            shard_count: self.shard_count,
            segment_bytes: SEGMENT_BYTES,
            digest: true,
            close_session_lists_ephemerals: true,
            snapshots: SnapshotSettings {
                snap_count: self.snap_count,
                snap_bytes: None,
                retain_count: self.retain_count,
                purge_interval_ms: Some(700),
            },
            reaper: ReaperSettings {
                check_interval_ms: self.reap_interval_ms,
                max_per_minute: 10_000,
                max_never_used_ms: self.never_used_ms.map(|ms| ms as u64),
            },
        }
    }

    /// Who is in the ensemble; `None` of a lone server.
    pub fn view(&self) -> Option<View> {
        if self.votes.len() == 1 {
            return None;
        }
        let members = self.votes.iter().enumerate().map(|(index, votes)| {
            let id = ServerId(index as i64 + 1);
            let address = MemberAddress { host: host(index), quorum_port: QUORUM_PORT, election_port: ELECTION_PORT };
            (id, Member { id, addresses: vec![address], observer: !votes, client: None })
        });
        Some(View { members: members.collect(), groups: BTreeMap::new(), weights: BTreeMap::new(), version: 0 })
    }

    fn ensemble_settings(&self, member: usize) -> Option<EnsembleSettings> {
        let view = self.view()?;
        let tick_ms = self.tick_ms as u64;
        Some(EnsembleSettings {
            me: ServerId(member as i64 + 1),
            observer: !self.votes[member],
            view: Arc::new(view),
            tick_ms,
            init_limit_ticks: u64::from(self.init_limit),
            sync_limit_ticks: u64::from(self.sync_limit),
            connect_limit_ticks: u64::from(self.init_limit),
            leader_connect_delay_ms: 100,
            cnx_timeout_ms: 5 * tick_ms,
            preamble_timeout_ms: tick_ms * u64::from(self.sync_limit),
            election: ElectionSettings { notification_interval_max_ms: 2_000, ..ElectionSettings::default() },
            epoch_wait_ms_max: None,
            leader_serves: self.leader_serves,
            local_sessions: false,
            local_sessions_upgrading: false,
            read_only_mode: false,
            commit_log_count: self.commit_log_count,
            snapshot_size_factor: self.log_sync.then_some(0.33),
            force_snapshot_sync: false,
            snap_syncs_max: 10,
            diff_syncs_max: 100,
            observers_sync: true,
            observer_reconnect_delay_ms: 0,
            observer_election_delay_ms: 200,
            trust_empty: true,
            observer_master_port: self.observer_masters.then_some(OBSERVERS_PORT),
            observer_master_bytes_max: 32 << 20,
            multi_address: false,
            field_bytes_max: 2 << 20,
        })
    }

    pub fn shard_settings(&self, shard: u16) -> shard::Settings {
        let mut settings = shard::Settings::defaults(ShardId(shard), self.shard_count, self.tick_ms);
        settings.serves_from_start = self.votes.len() == 1;
        settings.words = crate::admin::Whitelist::parse(Some("*"), false);
        settings
    }
}

/// Small, so that a night fills several.
const SEGMENT_BYTES: u64 = 256 * 1024;
