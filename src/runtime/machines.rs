//! The faces of the two machines as the driver sees them, so that it can be driven alone in tests.

use std::net::SocketAddr;

use crate::base::{ConnId, Now, Zxid};
use crate::journal::{BatchId, SegmentId};
use crate::mail::{HostFacts, ToReplica, ToShard};
use crate::replica::{BootMedia, PeerNews, Reload, StretchNews};
use crate::{replica, shard};

/// What the driver asks of a shard; see [`shard::Shard`].
pub trait ShardMachine: Send + 'static {
    fn on_accept(&mut self, peer: SocketAddr, now: Now, out: &mut shard::Effects) -> ConnId;
    fn on_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Now, out: &mut shard::Effects);
    fn on_hangup(&mut self, conn: ConnId, out: &mut shard::Effects);
    fn on_mail(&mut self, mail: ToShard, now: Now, out: &mut shard::Effects);
    fn on_tick(&mut self, now: Now, out: &mut shard::Effects);
    fn output(&mut self, conn: ConnId) -> &mut Vec<u8>;
    fn on_flushed(&mut self, conn: ConnId, now: Now, out: &mut shard::Effects);
    fn wants_input(&mut self, conn: ConnId) -> bool;
}

/// What the driver asks of the replica; see [`replica::Replica`].
pub trait ReplicaMachine: Send + 'static {
    fn on_mail(&mut self, mail: ToReplica, now: Now, out: &mut replica::Effects);
    fn on_turn_end(&mut self, now: Now, out: &mut replica::Effects);
    fn on_batch_landed(&mut self, batch: BatchId, now: Now, out: &mut replica::Effects);
    fn on_disk_failed(&mut self, what: &str, out: &mut replica::Effects);
    fn on_segment_ready(&mut self, segment: SegmentId, now: Now, out: &mut replica::Effects);
    fn on_snapshot_ready(&mut self, out: &mut replica::Effects);
    fn on_snapshot_written(&mut self, zxid: Zxid, now: Now);
    fn on_snapshot_failed(&mut self, zxid: Zxid, what: &str);
    fn on_peer(&mut self, news: PeerNews<'_>, now: Now, out: &mut replica::Effects);
    fn on_reload(&mut self, what: Reload, media: &dyn BootMedia, now: Now, out: &mut replica::Effects);
    fn on_stretch(&mut self, news: StretchNews, now: Now, out: &mut replica::Effects);
    fn on_tick(&mut self, now: Now, out: &mut replica::Effects);
    fn on_host(&mut self, facts: HostFacts);
    fn may_serve(&self) -> bool;
    fn leads(&self) -> bool;
}

impl ShardMachine for shard::Shard {
    fn on_accept(&mut self, peer: SocketAddr, now: Now, out: &mut shard::Effects) -> ConnId {
        self.on_accept(peer, now, out)
    }
    fn on_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Now, out: &mut shard::Effects) {
        self.on_bytes(conn, bytes, now, out);
    }
    fn on_hangup(&mut self, conn: ConnId, out: &mut shard::Effects) {
        self.on_hangup(conn, out);
    }
    fn on_mail(&mut self, mail: ToShard, now: Now, out: &mut shard::Effects) {
        self.on_mail(mail, now, out);
    }
    fn on_tick(&mut self, now: Now, out: &mut shard::Effects) {
        self.on_tick(now, out);
    }
    fn output(&mut self, conn: ConnId) -> &mut Vec<u8> {
        self.output(conn)
    }
    fn on_flushed(&mut self, conn: ConnId, now: Now, out: &mut shard::Effects) {
        self.on_flushed(conn, now, out);
    }
    fn wants_input(&mut self, conn: ConnId) -> bool {
        self.wants_input(conn)
    }
}

impl ReplicaMachine for replica::Replica {
    fn on_mail(&mut self, mail: ToReplica, now: Now, out: &mut replica::Effects) {
        self.on_mail(mail, now, out);
    }
    fn on_turn_end(&mut self, now: Now, out: &mut replica::Effects) {
        self.on_turn_end(now, out);
    }
    fn on_batch_landed(&mut self, batch: BatchId, now: Now, out: &mut replica::Effects) {
        self.on_batch_landed(batch, now, out);
    }
    fn on_disk_failed(&mut self, what: &str, out: &mut replica::Effects) {
        self.on_disk_failed(what, out);
    }
    fn on_segment_ready(&mut self, segment: SegmentId, now: Now, out: &mut replica::Effects) {
        self.on_segment_ready(segment, now, out);
    }
    fn on_snapshot_ready(&mut self, out: &mut replica::Effects) {
        self.on_snapshot_ready(out);
    }
    fn on_snapshot_written(&mut self, zxid: Zxid, now: Now) {
        self.on_snapshot_written(zxid, now);
    }
    fn on_snapshot_failed(&mut self, zxid: Zxid, what: &str) {
        self.on_snapshot_failed(zxid, what);
    }
    fn on_peer(&mut self, news: PeerNews<'_>, now: Now, out: &mut replica::Effects) {
        self.on_peer(news, now, out);
    }
    fn on_reload(&mut self, what: Reload, media: &dyn BootMedia, now: Now, out: &mut replica::Effects) {
        self.on_reload(what, media, now, out);
    }
    fn on_stretch(&mut self, news: StretchNews, now: Now, out: &mut replica::Effects) {
        self.on_stretch(news, now, out);
    }
    fn on_tick(&mut self, now: Now, out: &mut replica::Effects) {
        self.on_tick(now, out);
    }
    fn on_host(&mut self, facts: HostFacts) {
        self.on_host(facts);
    }
    fn may_serve(&self) -> bool {
        self.may_serve()
    }
    fn leads(&self) -> bool {
        self.leads()
    }
}
