//! From a configuration to a running standalone server: settings for the machines, the boot, the driver.

use std::cell::Cell;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use super::accept::{Admission, Refusal, ipv6_exists};
use super::clock;
use super::ensemble::{ensemble_settings, peer_setup};
use super::epochs;
use super::files::DataDirs;
use super::host::{Board, Host};
use super::placement::Place;
use super::serve::{Booted, ServeError, Setup, serve};
use crate::base::{Instant, Now, ShardId, Zxid};
use crate::config::{AuthConfig, Config, Placement};
use crate::journal::SegmentId;
use crate::prep::Rules;
use crate::replica::{self, BootMedia, Epochs, ReaperSettings, Replica, SnapshotSettings, StartTimes};
use crate::shard::{self, ConnectionThrottle, Shard};
use crate::tree::auth::AuthRules;

/// Serves clients until it is told to stop. The configuration was judged startable, the placement fits this machine.
///
/// Errors: [`ServeError`], each saying what to change.
pub fn standalone(config: &Config, placement: &Placement) -> Result<(), ServeError> {
    find_directories(config)?;
    let places: Vec<Place> = placement
        .cores
        .iter()
        .map(|core| Place {
            cpu: core.cpu,
            replica: core.replica,
            shard: core.shard.map(|shard| shard as u16),
            may_spin: core.may_spin,
        })
        .collect();
    let shard_count = placement.shard_count() as u16;
    let board = Arc::new(Board::default());
    let setup = Setup {
        places,
        listen: addresses(config),
        backlog: config.client.listen_backlog.map_or(DEFAULT_BACKLOG, |backlog| backlog as i32),
        keepalive: config.client.tcp_keep_alive,
        admission: Arc::new(Limits(Mutex::new(shard::Admission::new(
            config.client.max_client_cnxns,
            config.client.max_cnxns,
        )))),
        data_dir: config.journal.data_dir.clone(),
        data_log_dir: config.journal.data_log_dir.clone(),
        force_sync: config.journal.force_sync,
        slow_write_ms: config.journal.fsync_warning_threshold_ms,
        spin_micros: u64::from(config.cores.spin_before_park_us),
        host: board.clone(),
        peers: peer_setup(config),
    };
    let mut host = Host::new(config, &DataDirs::new(&config.journal.data_dir, &config.journal.data_log_dir));
    let first = host.clone();
    serve(
        setup,
        |dirs, now| {
            let mut booted = boot(dirs, config, shard_count, now)?;
            // The first client may come before the first tick.
            booted.replica.on_host(first.facts());
            Ok(booted)
        },
        |addresses| {
            if let Some(address) = addresses.first() {
                host.set_client_port(address.port());
            }
            if let Err(error) = host.watch(&board) {
                tracing::warn!(%error, "no thread for it: sizes and descriptor counts will stay as they were at the start");
            }
        },
    )
}

/// ZK: FileTxnSnapLog refuses a directory that is missing where it may not create one.
fn find_directories(config: &Config) -> Result<(), ServeError> {
    let journal = &config.journal;
    let missing = [(&journal.data_dir, "dataDir"), (&journal.data_log_dir, "dataLogDir")]
        .into_iter()
        .find(|(directory, _)| !journal.datadir_autocreate && !directory.is_dir());
    match missing {
        None => Ok(()),
        Some((directory, key)) => Err(ServeError::Boot(format!(
            "{key} {} does not exist and datadir.autocreate=false: create it, or mount the disk it is on",
            directory.display()
        ))),
    }
}

/// Enough for a burst of clients that reconnect at once; Java's own default of 50 makes them time out.
const DEFAULT_BACKLOG: i32 = 1024;

/// "Any address" means IPv6 too, where there is a port number to share: Java binds dual-stack.
fn addresses(config: &Config) -> Vec<SocketAddr> {
    match config.client.client_addr {
        Some(address) if config.client.client_addr_is_any && ipv6_exists() => {
            vec![SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), address.port())]
        }
        Some(address) => vec![address],
        None => Vec::new(),
    }
}

fn boot(dirs: &DataDirs, config: &Config, shard_count: u16, now: Now) -> Result<Booted<Shard, Replica>, String> {
    let settings = replica_settings(config, shard_count);
    let media = Timed { dirs, snapshot_read: Cell::new(false), snapshot_done: Cell::new(None) };
    let mut booted = replica::boot(&media, settings, now.wall.0 as u64, now).map_err(|error| error.to_string())?;
    booted.replica.on_started(&media.times(now.mono, booted.replayed));
    if booted.replayed > 0 {
        tracing::info!(transactions = booted.replayed, "journal replayed");
    }
    if let Some((segment, offset)) = booted.torn {
        tracing::info!(
            segment = segment.file_name(),
            offset,
            "an unfinished write at the journal's end was cut off; nothing in it was acknowledged"
        );
    }
    let applied = booted.replica.last_committed();
    let shards = (0..shard_count)
        .map(|shard| {
            Shard::new(shard_settings(config, shard, shard_count), booted.replica.tree().replicate(), applied, now.mono)
        })
        .collect();
    Ok(Booted { replica: booted.replica, shards, says: booted.effects })
}

/// The data directories with a watch in hand: what is read when tells how long the parts of a boot took.
struct Timed<'a> {
    dirs: &'a DataDirs,
    snapshot_read: Cell<bool>,
    /// When the first journal segment was wanted, which is when the snapshot was loaded.
    snapshot_done: Cell<Option<Instant>>,
}

impl Timed<'_> {
    /// To be called when the boot is over.
    fn times(&self, began: Instant, replayed: u64) -> StartTimes {
        let ended = clock::now().mono;
        let snapshot_done = self.snapshot_done.get().unwrap_or(ended);
        StartTimes {
            all_ms: ended.millis_since(began),
            snapshot_ms: snapshot_done.millis_since(began),
            replayed: self.snapshot_read.get().then(|| (replayed, ended.millis_since(snapshot_done))),
        }
    }
}

impl BootMedia for Timed<'_> {
    fn snapshots(&self) -> io::Result<Vec<Zxid>> {
        self.dirs.snapshots()
    }
    fn read_snapshot(&self, zxid: Zxid) -> io::Result<Box<dyn Read>> {
        self.snapshot_read.set(true);
        self.dirs.read_snapshot(zxid)
    }
    fn segments(&self) -> io::Result<Vec<SegmentId>> {
        self.dirs.segments()
    }
    fn read_segment(&self, segment: SegmentId, bytes: &mut Vec<u8>) -> io::Result<()> {
        if self.snapshot_done.get().is_none() {
            self.snapshot_done.set(Some(clock::now().mono));
        }
        self.dirs.read_segment(segment, bytes)
    }
    fn read_segment_at(&self, segment: SegmentId, offset: u64, length: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.dirs.read_segment_at(segment, offset, length, bytes)
    }
    fn epochs(&self) -> io::Result<Epochs> {
        BootMedia::epochs(self.dirs)
    }
}

impl BootMedia for DataDirs {
    fn snapshots(&self) -> io::Result<Vec<Zxid>> {
        self.snapshots()
    }
    fn read_snapshot(&self, zxid: Zxid) -> io::Result<Box<dyn Read>> {
        self.read_snapshot(zxid)
    }
    fn segments(&self) -> io::Result<Vec<SegmentId>> {
        self.segments()
    }
    fn read_segment(&self, segment: SegmentId, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.read_segment(segment, bytes)
    }
    fn read_segment_at(&self, segment: SegmentId, offset: u64, length: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.read_segment_at(segment, offset, length, bytes)
    }
    fn epochs(&self) -> io::Result<Epochs> {
        epochs::read(self.snapshot_folder())
    }
}

fn auth_rules(auth: &AuthConfig) -> AuthRules {
    AuthRules {
        skip_acl: auth.skip_acl,
        digest_enabled: auth.digest_enabled,
        digest_alg: auth.digest_algorithm,
        super_digest: auth.super_digest.clone(),
    }
}

fn replica_settings(config: &Config, shard_count: u16) -> replica::Settings {
    let (journal, znode) = (&config.journal, &config.znode);
    let never_used_ms = znode.container_max_never_used_interval_ms;
    replica::Settings {
        ensemble: ensemble_settings(config),
        rules: Rules {
            auth: auth_rules(&config.auth),
            extended_types: znode.extended_types_enabled,
            enforce_quota: config.auth.enforce_quota,
        },
        tick_ms: u64::from(config.client.tick_time_ms),
        // 1 when standalone, whatever myid says (parity SE-02); of a member's number the low byte.
        server_id: config.ensemble.as_ref().map_or(1, |ensemble| ensemble.my_id as u8),
        shard_count,
        segment_bytes: journal.segment_bytes(),
        reconfig_enabled: config.quorum.reconfig_enabled,
        slow_sync_ms: journal.fsync_warning_threshold_ms,
        digest: journal.digest_enabled,
        close_session_lists_ephemerals: journal.close_session_txn_enabled,
        heal_from_peers: config.ensemble.is_some(),
        commit_log_count: if config.ensemble.is_some() { config.quorum.commit_log_count as usize } else { 0 },
        snapshots: SnapshotSettings {
            snap_count: u64::from(journal.snap_count),
            snap_bytes: journal.snap_size_limit_bytes,
            retain_count: journal.snap_retain_count as usize,
            purge_interval_ms: (journal.purge_interval_ms > 0).then_some(journal.purge_interval_ms),
        },
        reaper: ReaperSettings {
            check_interval_ms: u64::from(znode.container_check_interval_ms),
            max_per_minute: u64::from(znode.container_max_per_minute),
            max_never_used_ms: (never_used_ms > 0).then_some(never_used_ms),
        },
    }
}

fn shard_settings(config: &Config, shard: u16, shard_count: u16) -> shard::Settings {
    let (client, throttle) = (&config.client, &config.client.connection_throttle);
    let opens_local_sessions = config.ensemble.is_some() && config.quorum.local_sessions_enabled;
    shard::Settings {
        shard: ShardId(shard),
        shard_count,
        serves_from_start: config.ensemble.is_none(),
        frame_bytes_max: client.jute_max_buffer_bytes as usize,
        field_bytes_max: client.jute_max_buffer_bytes.saturating_add(client.jute_max_buffer_extra_bytes) as usize,
        session_timeout_min_ms: client.min_session_timeout_ms as i32,
        session_timeout_max_ms: client.max_session_timeout_ms as i32,
        sessionless_timeout_ms: u64::from(client.sessionless_cnxn_timeout_ms),
        auth: auth_rules(&config.auth),
        enforced_schemes: config.auth.enforce_auth_schemes.clone(),
        outstanding_max: client.global_outstanding_limit,
        large_request_bytes: client.large_request_threshold_bytes.map(|bytes| bytes as usize),
        large_requests_bytes_max: client.large_request_max_bytes as usize,
        connection_throttle: ConnectionThrottle {
            tokens: throttle.tokens,
            fill_time_ms: u64::from(throttle.fill_time_ms),
            fill_count: throttle.fill_count,
            freeze_time_ms: throttle.freeze_time_ms.map(u64::from),
            drop_increase: throttle.drop_increase,
            drop_decrease: throttle.drop_decrease,
            decrease_ratio: throttle.decrease_ratio,
            weighted: throttle.weight_enabled,
            new_session_weight: match opens_local_sessions {
                true => throttle.local_session_weight,
                false => throttle.global_session_weight,
            },
            renew_session_weight: throttle.renew_session_weight,
        },
        request_throttle_max: client.request_throttle.max_requests,
        throttled_op_wait_ms: u64::from(client.request_throttle.throttled_op_wait_time_ms),
        words: client.four_letter_words,
    }
}

/// The acceptor's limits, shared with the shards that give places back.
struct Limits(Mutex<shard::Admission>);

impl Admission for Limits {
    fn admit(&self, peer: IpAddr) -> Result<(), Refusal> {
        let why = match self.0.lock().expect("no holder panics").admit(peer) {
            Ok(()) => return Ok(()),
            Err(shard::Refusal::TooMany) => "maxCnxns connections are open",
            Err(shard::Refusal::TooManyFromAddress) => "maxClientCnxns connections from this address are open",
        };
        Err(Refusal(why.to_owned()))
    }

    fn release(&self, peer: IpAddr) {
        self.0.lock().expect("no holder panics").release(peer);
    }
}
