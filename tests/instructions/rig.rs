//! A lone server's machines without a driver: a replica, a shard with clients, and one beside it that only follows.

use ringkeeper::base::{ConnId, Instant, Now, ShardId, WallMs};
use ringkeeper::codec::opcode::OpCode;
use ringkeeper::journal::{BatchId, DiskEffect};
use ringkeeper::mail::ToShard;
use ringkeeper::prep::Rules;
use ringkeeper::replica::{self, NoMedia, ReaperSettings, Replica, SnapshotSettings};
use ringkeeper::shard::{self, Shard};
use ringkeeper::tree::auth::AuthRules;

use super::wire;

/// Each asks one thing in a full turn.
pub const CLIENTS: usize = 256;
/// Enough that a tree does not fit the first caches, as a real one does not.
pub const ZNODES: usize = 8192;
pub const DATA: [u8; 100] = [7; 100];

const WORKING: ShardId = ShardId(0);
const SHARDS: u16 = 2;

pub struct Rig {
    pub replica: Replica,
    /// It has the clients.
    pub shard: Shard,
    /// It has none.
    pub bystander: Shard,
    pub conns: Vec<ConnId>,
    pub now: Now,
    pub shard_says: shard::Effects,
    pub replica_says: replica::Effects,
}

/// The name of a znode; no two neighbours in the order of numbers are neighbours in memory.
pub fn path(number: usize) -> String {
    format!("/services/orders/instance-{:010}", number * 2_654_435_761 % (1 << 32))
}

pub fn create(xid: i32, path: &str, data: &[u8]) -> Vec<u8> {
    wire::frame(|w| {
        w.i32(xid);
        w.i32(OpCode::Create.code());
        w.string(path);
        w.buffer(Some(data));
        w.acl(&ringkeeper::base::open_acl());
        w.i32(0); // persistent
    })
}

pub fn set_data(xid: i32, path: &str, data: &[u8]) -> Vec<u8> {
    wire::frame(|w| {
        w.i32(xid);
        w.i32(OpCode::SetData.code());
        w.string(path);
        w.buffer(Some(data));
        w.i32(-1); // any version
    })
}

fn settings() -> replica::Settings {
    replica::Settings {
        ensemble: None,
        rules: Rules { auth: AuthRules::default(), extended_types: true, enforce_quota: false },
        tick_ms: 2000,
        server_id: 1,
        shard_count: SHARDS,
        reconfig_enabled: false,
        segment_bytes: 64 << 20,
        slow_sync_ms: 1000,
        digest: true,
        close_session_lists_ephemerals: true,
        heal_from_peers: false,
        commit_log_count: 0,
        snapshots: SnapshotSettings {
            snap_count: 10_000_000,
            snap_bytes: None,
            retain_count: 3,
            purge_interval_ms: None,
        },
        reaper: ReaperSettings { check_interval_ms: 60_000, max_per_minute: 1, max_never_used_ms: None },
    }
}

impl Rig {
    /// A server with [`CLIENTS`] clients and [`ZNODES`] znodes.
    pub fn new() -> Rig {
        let now = Now { mono: Instant(1_000_000_000), wall: WallMs(1_700_000_000_000) };
        let booted = replica::boot(&NoMedia, settings(), 1, now).unwrap_or_else(|error| panic!("{error}"));
        let replica = booted.replica;
        let shard = |number| {
            let settings = shard::Settings::defaults(ShardId(number), SHARDS, 2000);
            Shard::new(settings, replica.tree().replicate(), replica.last_committed(), now.mono)
        };
        let (shard, bystander) = (shard(0), shard(1));
        let (shard_says, conns) = (shard::Effects::default(), Vec::new());
        let mut rig = Rig { replica, shard, bystander, conns, now, shard_says, replica_says: booted.effects };
        rig.carry_out();
        for _ in 0..CLIENTS {
            let conn = rig.connect();
            rig.conns.push(conn);
        }
        for path in ["/services", "/services/orders"] {
            rig.ask(rig.conns[0], &create(1, path, &[]));
            rig.carry_out();
        }
        for number in 0..ZNODES {
            rig.ask(rig.conns[number % CLIENTS], &create(2, &path(number), &DATA));
            if number % CLIENTS == CLIENTS - 1 {
                rig.carry_out();
            }
        }
        assert!(rig.replica.tree().get(&path(ZNODES - 1)).is_some());
        rig
    }

    /// A client with a session of its own.
    pub fn connect(&mut self) -> ConnId {
        let conn = self.shard.on_accept("127.0.0.1:4000".parse().unwrap(), self.now, &mut self.shard_says);
        self.ask(conn, &wire::handshake());
        self.carry_out();
        conn
    }

    pub fn ask(&mut self, conn: ConnId, bytes: &[u8]) {
        self.shard.on_bytes(conn, bytes, self.now, &mut self.shard_says);
    }

    /// What the driver does with everything that was said, until nobody says more.
    pub fn carry_out(&mut self) {
        self.order();
        self.replica.on_turn_end(self.now, &mut self.replica_says);
        while let Some(batch) = self.written() {
            self.replica.on_batch_landed(batch, self.now, &mut self.replica_says);
        }
        for (to, mail) in std::mem::take(&mut self.replica_says.mail) {
            let shard = if to == WORKING { &mut self.shard } else { &mut self.bystander };
            shard.on_mail(mail, self.now, &mut self.shard_says);
        }
        self.send();
    }

    /// The turn's writes become a batch, and the disk has it.
    pub fn land(&mut self) {
        self.replica.on_turn_end(self.now, &mut self.replica_says);
        let batch = self.written().expect("a batch");
        self.replica.on_batch_landed(batch, self.now, &mut self.replica_says);
    }

    /// The replica takes in its mail.
    pub fn order(&mut self) {
        for mail in self.shard_says.mail.drain(..) {
            self.replica.on_mail(mail, self.now, &mut self.replica_says);
        }
    }

    /// Does what is asked of the disk, the snapshot of a new server included; of a batch it only says which.
    pub fn written(&mut self) -> Option<BatchId> {
        let mut written = None;
        while !self.replica_says.disk.is_empty() {
            let says = &mut self.replica_says;
            for effect in std::mem::take(&mut says.disk) {
                match effect {
                    DiskEffect::WriteBatch(batch) => written = Some(batch.id),
                    DiskEffect::PrepareSegment { segment, .. } => {
                        self.replica.on_segment_ready(segment, self.now, says)
                    }
                    DiskEffect::SnapshotOpen { .. } | DiskEffect::SnapshotChunk { .. } => {
                        self.replica.on_snapshot_ready(says);
                    }
                    DiskEffect::SnapshotClose { zxid } => self.replica.on_snapshot_written(zxid, self.now),
                    other => panic!("nothing else is asked of a new disk: {other:?}"),
                }
            }
        }
        written
    }

    /// The mail of the replica to the shard with the clients, and to the other one.
    pub fn mail(&mut self) -> (Vec<ToShard>, Vec<ToShard>) {
        let (here, there): (Vec<_>, Vec<_>) = self.replica_says.mail.drain(..).partition(|(to, _)| *to == WORKING);
        let only_mail = |list: Vec<(ShardId, ToShard)>| list.into_iter().map(|(_, mail)| mail).collect();
        (only_mail(here), only_mail(there))
    }

    /// What the driver does around a system call that takes all a connection has to say. Returns the bytes.
    pub fn send(&mut self) -> usize {
        let mut bytes = 0;
        for conn in self.shard_says.dirty.drain(..).collect::<Vec<_>>() {
            bytes += self.take_output(conn);
        }
        bytes
    }

    fn take_output(&mut self, conn: ConnId) -> usize {
        let output = self.shard.output(conn);
        let bytes = output.len();
        output.clear();
        self.shard.on_flushed(conn, self.now, &mut self.shard_says);
        bytes
    }
}
