//! A whole server without sockets or disks, and connections that send it anything: nobody but the sender is hurt.
//!
//! One real shard and the real replica. Beside the noisy connections a witness asks and is answered all the time;
//! when the noise is over, nothing of it may be left.

use super::Target;
use super::dice::{Dice, join, split};
use super::txns::RULES;
use super::wire;
use ringkeeper::admin::Whitelist;
use ringkeeper::base::{ConnId, Instant, Now, ShardId, WallMs, limits};
use ringkeeper::codec::opcode::OpCode;
use ringkeeper::codec::reply::framed;
use ringkeeper::codec::{Reader, Writer, frame};
use ringkeeper::journal::{BatchId, DiskEffect};
use ringkeeper::mail::{ShardReport, SurveyKind, ToReplica, ToShard};
use ringkeeper::prep::Rules;
use ringkeeper::replica::{self, NoMedia, ReaperSettings, Replica, SnapshotSettings, boot};
use ringkeeper::shard::{self, Shard};
use ringkeeper::snapshot;
use ringkeeper::tree::auth::AuthRules;

pub const WORDS: Target = Target { name: "words", make: make_words, run };
pub const CONNECTIONS: Target = Target { name: "connections", make: make_streams, run };

const SHARD: ShardId = ShardId(0);
const NOISY: usize = 3;
/// No input here comes near: the largest asks for its own bytes back a few dozen times.
const OUTPUT_MAX: usize = limits::CONN_OUTPUT_PAUSE_BYTES + (1 << 20);

// The first byte of each action; the rest is bytes of one connection.
const HANG_UP: u8 = 240;
const TICK: u8 = 241;
const READ: u8 = 242;
const HOLD_DISK: u8 = 243;
const FREE_DISK: u8 = 244;

fn make_words(dice: &mut Dice) -> Vec<u8> {
    const WORDS: [&str; 22] = [
        "conf",
        "cons",
        "crst",
        "dirs",
        "dump",
        "envi",
        "gtmk",
        "hash",
        "isro",
        "mntr",
        "ruok",
        "srst",
        "srvr",
        "stat",
        "stmk",
        "wchc",
        "wchp",
        "wchs",
        "\u{3}\u{2}\u{1}\0",
        "none",
        "RUOK",
        "ruo",
    ];
    let mut actions = Vec::new();
    for _ in 0..1 + dice.below(8) {
        let conn = dice.below(NOISY) as u8;
        let mut stream = dice.pick(&WORDS).as_bytes().to_vec();
        match dice.below(4) {
            0 => stream.extend(dice.number().to_be_bytes()),
            1 => stream.extend(b"\r\n"),
            2 => dice.mutate(&mut stream, 2),
            _ => {}
        }
        push_chunks(dice, &mut actions, conn, &stream);
        push_chance(dice, &mut actions, conn);
    }
    join(&actions)
}

fn make_streams(dice: &mut Dice) -> Vec<u8> {
    let mut actions = Vec::new();
    for _ in 0..1 + dice.below(8) {
        let conn = dice.below(NOISY) as u8;
        let mut stream = Vec::new();
        if !dice.one_in(6) {
            let greeting = wire::handshake(dice);
            framed(&mut stream, |w| w.0.extend_from_slice(&greeting));
        }
        let is_bad = dice.one_in(3);
        for _ in 0..dice.below(16) {
            let mut request = wire::request(dice);
            if is_bad && dice.one_in(4) {
                // Behind the length word as often as in it.
                let mut body = request.split_off(4);
                dice.mutate(&mut body, 2);
                request = Vec::new();
                framed(&mut request, |w| w.0.extend_from_slice(&body));
            }
            stream.extend(request);
        }
        if is_bad && dice.one_in(3) {
            dice.mutate(&mut stream, 3);
        }
        push_chunks(dice, &mut actions, conn, &stream);
        push_chance(dice, &mut actions, conn);
    }
    join(&actions)
}

fn push_chunks(dice: &mut Dice, actions: &mut Vec<Vec<u8>>, conn: u8, stream: &[u8]) {
    let mut rest = stream;
    while !rest.is_empty() {
        let size = if dice.one_in(3) { 1 + dice.below(9) } else { 1 + dice.below(400) };
        let (chunk, tail) = rest.split_at(size.min(rest.len()));
        actions.push([&[conn], chunk].concat());
        rest = tail;
        if dice.one_in(12) {
            push_chance(dice, actions, conn);
        }
    }
}

fn push_chance(dice: &mut Dice, actions: &mut Vec<Vec<u8>>, conn: u8) {
    match dice.below(8) {
        0 => actions.push(vec![HANG_UP, conn]),
        1 => actions.push(vec![TICK, dice.next() as u8]),
        2 | 3 => actions.push(vec![READ, conn]),
        4 => actions.push(vec![HOLD_DISK]),
        5 => actions.push(vec![FREE_DISK]),
        _ => {}
    }
}

fn run(input: &[u8]) {
    let mut world = World::new();
    let witness = world.accept();
    let mut hello = Vec::new();
    framed(&mut hello, |w| {
        for word in [0, 0, 0, 30_000, 0, 0] {
            w.i32(word);
        }
        w.buffer(Some(&[0; 16]));
    });
    world.send(witness, &hello);
    assert_eq!(world.read(witness).len(), 40, "the witness has a session");
    let mut noisy: [Option<ConnId>; NOISY] = [None; NOISY];
    for (step, action) in split(input).into_iter().enumerate() {
        let Some((kind, bytes)) = action.split_first() else { continue };
        let slot = usize::from(bytes.first().copied().unwrap_or(0)) % NOISY;
        match *kind {
            HANG_UP => {
                if let Some(conn) = noisy[slot].take() {
                    world.hang_up(conn);
                }
            }
            TICK => world.pass_ms(u64::from(bytes.first().copied().unwrap_or(0)) * 20),
            READ => {
                if let Some(conn) = noisy[slot] {
                    world.read(conn);
                }
            }
            HOLD_DISK => world.is_disk_held = true,
            FREE_DISK => {
                world.is_disk_held = false;
                world.settle();
            }
            number => {
                let place = &mut noisy[usize::from(number) % NOISY];
                let conn = *place.get_or_insert_with(|| world.accept());
                world.send(conn, bytes);
            }
        }
        for place in &mut noisy {
            if let Some(conn) = *place {
                let waiting = world.shard.output(conn).len();
                assert!(waiting <= OUTPUT_MAX, "{waiting} bytes wait for one connection");
                if world.closed.contains(&conn) {
                    world.read(conn);
                    world.hang_up(conn);
                    *place = None;
                }
            }
        }
        world.closed.clear();
        let xid = step as i32 + 1;
        world.send(witness, &get_data(xid));
        assert_eq!(xids(&world.read(witness)), [xid], "the witness reads at step {step}");
    }
    world.is_disk_held = false;
    world.settle();
    noisy.into_iter().flatten().for_each(|conn| world.hang_up(conn));
    world.send(witness, &set_data(-77));
    assert_eq!(xids(&world.read(witness)), [-77], "the witness writes at the end");
    let left = world.survey();
    assert_eq!((left.connection_count, left.outstanding_count, left.watch_count), (1, 0, 0), "something is left");
    assert!(!world.closed.contains(&witness));
}

fn get_data(xid: i32) -> Vec<u8> {
    request(xid, OpCode::GetData, |w| {
        w.string("/");
        w.bool(false);
    })
}

fn set_data(xid: i32) -> Vec<u8> {
    request(xid, OpCode::SetData, |w| {
        w.string("/");
        w.buffer(None);
        w.i32(-1);
    })
}

fn request(xid: i32, op: OpCode, record: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    framed(&mut bytes, |w| {
        w.i32(xid);
        w.i32(op.code());
        record(w);
    });
    bytes
}

fn xids(mut bytes: &[u8]) -> Vec<i32> {
    let mut xids = Vec::new();
    while let Ok(Some((payload, used))) = frame::cut(bytes, usize::MAX) {
        xids.push(Reader::new(payload).i32().expect("a reply has a header"));
        bytes = &bytes[used..];
    }
    assert!(bytes.is_empty(), "whole replies only");
    xids
}

/// Shard, replica, and a disk that is told when to be slow.
struct World {
    shard: Shard,
    replica: Replica,
    now: Now,
    shard_out: shard::Effects,
    replica_out: replica::Effects,
    landing: Option<BatchId>,
    is_disk_held: bool,
    closed: Vec<ConnId>,
    surveyed: Option<Box<ShardReport>>,
    /// The snapshot on its way to disk.
    snapshot: Vec<u8>,
}

fn replica_settings() -> replica::Settings {
    replica::Settings {
        ensemble: None,
        reconfig_enabled: false,
        rules: Rules { auth: AuthRules::default(), extended_types: true, enforce_quota: true },
        tick_ms: 2000,
        server_id: 1,
        shard_count: 1,
        segment_bytes: 64 << 20,
        slow_sync_ms: 1000,
        digest: true,
        close_session_lists_ephemerals: true,
        heal_from_peers: false,
        commit_log_count: 0,
        // Few enough that inputs meet one on its way.
        snapshots: SnapshotSettings { snap_count: 20, snap_bytes: None, retain_count: 3, purge_interval_ms: Some(900) },
        reaper: ReaperSettings { check_interval_ms: 500, max_per_minute: 10_000, max_never_used_ms: Some(1000) },
    }
}

impl World {
    fn new() -> World {
        let now = Now { mono: Instant(1_000_000_000), wall: WallMs(1_700_000_000_000) };
        let booted = boot(&NoMedia, replica_settings(), 1, now).unwrap_or_else(|error| panic!("{error}"));
        let replica = booted.replica;
        let settings =
            shard::Settings { words: Whitelist::parse(Some("*"), false), ..shard::Settings::defaults(SHARD, 1, 2000) };
        let mut world = World {
            shard: Shard::new(settings, replica.tree().replicate(), replica.last_committed(), now.mono),
            replica,
            now,
            shard_out: Default::default(),
            replica_out: booted.effects,
            landing: None,
            is_disk_held: false,
            closed: Vec::new(),
            surveyed: None,
            snapshot: Vec::new(),
        };
        world.settle();
        world
    }

    fn accept(&mut self) -> ConnId {
        self.shard.on_accept("127.0.0.1:4000".parse().expect("an address"), self.now, &mut self.shard_out)
    }

    /// As a socket would: a connection that is not read keeps its bytes to itself, here for ever.
    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        if self.shard.wants_input(conn) {
            self.shard.on_bytes(conn, bytes, self.now, &mut self.shard_out);
        }
        self.settle();
    }

    fn read(&mut self, conn: ConnId) -> Vec<u8> {
        let bytes = std::mem::take(self.shard.output(conn));
        self.shard.on_flushed(conn, self.now, &mut self.shard_out);
        self.settle();
        bytes
    }

    fn hang_up(&mut self, conn: ConnId) {
        self.shard.on_hangup(conn, &mut self.shard_out);
        self.settle();
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus_ms(ms);
        self.now.wall.0 += ms as i64;
        self.shard.on_tick(self.now, &mut self.shard_out);
        self.replica.on_tick(self.now, &mut self.replica_out);
        self.settle();
    }

    /// Carries news to and fro until there is none.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            self.shard_out.dirty.clear();
            self.shard_out.resume.clear();
            self.closed.extend(self.shard_out.close.drain(..).map(|close| close.conn));
            for mail in std::mem::take(&mut self.shard_out.mail) {
                is_quiet = false;
                match mail {
                    ToReplica::Surveyed { ticket: u64::MAX, report, .. } => self.surveyed = Some(report),
                    mail => self.replica.on_mail(mail, self.now, &mut self.replica_out),
                }
            }
            self.replica.on_turn_end(self.now, &mut self.replica_out);
            for effect in std::mem::take(&mut self.replica_out.disk) {
                is_quiet = false;
                self.on_disk(effect);
            }
            if !self.is_disk_held
                && let Some(batch) = self.landing.take()
            {
                is_quiet = false;
                self.replica.on_batch_landed(batch, self.now, &mut self.replica_out);
            }
            for (_, mail) in std::mem::take(&mut self.replica_out.mail) {
                is_quiet = false;
                self.shard.on_mail(mail, self.now, &mut self.shard_out);
            }
            assert_eq!(self.replica_out.halt, None);
            if is_quiet {
                return;
            }
        }
    }

    fn on_disk(&mut self, effect: DiskEffect) {
        let out = &mut self.replica_out;
        match effect {
            DiskEffect::WriteBatch(batch) => {
                assert!(self.landing.replace(batch.id).is_none(), "one write at a time");
            }
            DiskEffect::PrepareSegment { segment, .. } => self.replica.on_segment_ready(segment, self.now, out),
            DiskEffect::SnapshotOpen { .. } => {
                self.snapshot.clear();
                self.replica.on_snapshot_ready(out);
            }
            DiskEffect::SnapshotChunk { bytes } => {
                self.snapshot.extend(bytes);
                self.replica.on_snapshot_ready(out);
            }
            DiskEffect::SnapshotClose { zxid } => {
                // A server that cannot read its own snapshot does not start again.
                match snapshot::load(&self.snapshot[..], RULES, 0) {
                    Ok(loaded) => assert_eq!((loaded.zxid, loaded.tree.digest()), (zxid, loaded.digest)),
                    Err(error) => panic!("the snapshot of {zxid} cannot be read: {error}"),
                }
                self.replica.on_snapshot_written(zxid, self.now);
            }
            DiskEffect::SnapshotAbort { .. }
            | DiskEffect::DeleteSegment(_)
            | DiskEffect::DeleteSnapshot(_)
            | DiskEffect::SetAsideSegment(_)
            | DiskEffect::SetAsideSnapshot(_) => {}
        }
    }

    /// What the shard says of itself.
    fn survey(&mut self) -> Box<ShardReport> {
        let mail = ToShard::Survey { ticket: u64::MAX, kind: SurveyKind::Totals };
        self.shard.on_mail(mail, self.now, &mut self.shard_out);
        self.settle();
        self.surveyed.take().expect("a survey is answered at once")
    }
}
