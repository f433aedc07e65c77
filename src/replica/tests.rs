//! The whole replica on an empty disk: what no part of it can be asked alone.

mod local_sessions;
mod members;
mod order;
mod read_only;

use super::*;
use crate::base::{ConnId, Instant, ServerId, SessionId, WallMs, path};
use crate::mail::Connect;
use crate::prep::Rules;
use crate::tree::auth::AuthRules;
use crate::zab::{ElectionSettings, View};

const TICK_MS: u64 = 100;
const SHARD: ShardId = ShardId(0);

pub(super) fn at(ms: u64) -> Now {
    Now { mono: Instant(ms * 1000), wall: WallMs(1_700_000_000_000 + ms as i64) }
}

fn replica() -> Replica {
    start(None, 0)
}

fn start(ensemble: Option<EnsembleSettings>, ms: u64) -> Replica {
    booted(ensemble, ms).replica
}

pub(super) fn booted(ensemble: Option<EnsembleSettings>, ms: u64) -> Booted {
    boot(&NoMedia, settings_of(ensemble), 1, at(ms)).unwrap_or_else(|error| panic!("{error}"))
}

fn settings_of(ensemble: Option<EnsembleSettings>) -> Settings {
    Settings {
        ensemble,
        rules: Rules { auth: AuthRules::default(), extended_types: true, enforce_quota: false },
        tick_ms: TICK_MS,
        server_id: 1,
        shard_count: 1,
        reconfig_enabled: false,
        segment_bytes: 16 << 20,
        slow_sync_ms: 1000,
        digest: true,
        close_session_lists_ephemerals: true,
        heal_from_peers: false,
        commit_log_count: 0,
        snapshots: SnapshotSettings { snap_count: 1000, snap_bytes: None, retain_count: 3, purge_interval_ms: None },
        reaper: ReaperSettings { check_interval_ms: 60_000, max_per_minute: 1, max_never_used_ms: None },
    }
}

fn connect(replica: &mut Replica, slot: u32, session: SessionId, timeout_ms: i32, now: Now) -> Origin {
    let origin = Origin { shard: SHARD, conn: ConnId { slot, generation: 1 } };
    let connect = Connect { origin, session, timeout_ms, last_zxid_seen: Zxid::ZERO };
    replica.on_mail(ToReplica::Connect(connect), now, &mut Effects::default());
    origin
}

/// Everything has been read up to `now`, and time passes.
fn heard_nothing(replica: &mut Replica, now: Now) {
    replica.on_mail(
        ToReplica::Heard { shard: SHARD, sessions: Vec::new(), through: now.mono },
        now,
        &mut Effects::default(),
    );
    replica.on_tick(now, &mut Effects::default());
}

fn only_session(replica: &Replica) -> SessionId {
    let mut sessions = replica.sessions.iter();
    let (session, _) = sessions.next().expect("a session");
    assert!(sessions.next().is_none());
    session
}

/// A stall that ends with mail: the mail is read before the tick that counts the stall. What the mail brings
/// to life must not be charged for any of it.
#[test]
fn a_session_has_its_whole_timeout_from_the_mail_that_brought_it() {
    let mut replica = replica();
    replica.on_tick(at(50), &mut Effects::default());
    connect(&mut replica, 0, SessionId::NONE, 200, at(5099));
    let session = only_session(&replica);
    for ms in (5099..5299).step_by(25) {
        heard_nothing(&mut replica, at(ms));
        assert!(!replica.sessions.is_closing(session) && replica.sessions.contains(session), "expired at {ms}");
    }
    // The same for a renewal, and for what a shard has heard.
    connect(&mut replica, 1, session, 200, at(9299));
    for ms in (9299..9499).step_by(25) {
        heard_nothing(&mut replica, at(ms));
        assert!(replica.sessions.contains(session), "expired at {ms}");
    }
    let heard = ToReplica::Heard { shard: SHARD, sessions: vec![(session, at(14_499).mono)], through: at(14_499).mono };
    replica.on_mail(heard, at(14_499), &mut Effects::default());
    for ms in (14_499..14_699).step_by(25) {
        heard_nothing(&mut replica, at(ms));
        assert!(replica.sessions.contains(session), "expired at {ms}");
    }
    for ms in (14_699..15_000).step_by(25) {
        heard_nothing(&mut replica, at(ms));
    }
    assert!(!replica.sessions.contains(session), "and no more than that");
}

const VIEW: &str = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant\nversion=0";

pub(super) fn member() -> EnsembleSettings {
    EnsembleSettings {
        me: ServerId(1),
        view: View::parse(VIEW).unwrap().into(),
        observer: false,
        trust_empty: true,
        tick_ms: TICK_MS,
        init_limit_ticks: 10,
        sync_limit_ticks: 5,
        connect_limit_ticks: 10,
        leader_connect_delay_ms: 100,
        cnx_timeout_ms: 500,
        preamble_timeout_ms: 500,
        election: ElectionSettings::default(),
        epoch_wait_ms_max: None,
        leader_serves: true,
        local_sessions: false,
        local_sessions_upgrading: false,
        read_only_mode: false,
        commit_log_count: 500,
        snapshot_size_factor: None,
        force_snapshot_sync: false,
        snap_syncs_max: 10,
        diff_syncs_max: 100,
        observers_sync: true,
        observer_reconnect_delay_ms: 0,
        observer_election_delay_ms: 0,
        observer_master_port: None,
        observer_master_bytes_max: 32 << 20,
        multi_address: false,
        field_bytes_max: 1 << 20,
    }
}

/// Every server writes its own list there, so it must not show in what members compare.
#[test]
fn a_member_shows_the_members_outside_the_digest() {
    let (alone, member) = (replica(), start(Some(member()), 7));
    let node = member.tree().get(path::CONFIG).unwrap();
    let stat = node.stat();
    assert_eq!(node.data(), Some(VIEW.as_bytes()));
    assert_eq!((stat.version, stat.aversion, stat.mzxid, stat.czxid), (-1, -1, Zxid::ZERO, Zxid::ZERO));
    assert_eq!((stat.mtime, stat.ctime), (at(7).wall, WallMs(0)));
    assert_eq!(member.tree().digest(), alone.tree().digest());
    assert_eq!(alone.tree().get(path::CONFIG).unwrap().data(), Some(&b""[..]));
}
