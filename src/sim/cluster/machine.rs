//! What the invented ensemble asks of the thing in the middle of each member: news in, effects out.
//!
//! [`Replica`] is that thing. The trait exists so that network, disks and clocks can be tried with something far
//! simpler, whose behaviour is known by heart.

use std::io::{self, Read};

use super::super::disk::Disk;
use super::super::server::Media;
use super::epochs::EpochFiles;
use crate::base::{Now, Zxid};
use crate::journal::{BatchId, SegmentId};
use crate::mail::ToReplica;
use crate::replica::{self, BootMedia, Effects, Epochs, PeerNews, Reload, Replica, StretchNews};
use crate::tree::Tree;

/// What a member is started with.
pub struct Start<'a> {
    /// Its index; its server id is one more.
    pub member: usize,
    /// Of every member whether it votes, by index.
    pub votes: &'a [bool],
    /// Whoever set it up knows that an empty disk is a loss: an emptied member of a running ensemble must not vote
    /// with nothing, or one more lost disk than it seems could lose what is committed (ZOOKEEPER-2325).
    pub is_replaced: bool,
    pub settings: replica::Settings,
    /// Ticks.
    pub init_limit: u32,
    pub sync_limit: u32,
    pub seed: u64,
    pub disk: &'a Disk,
    pub epochs: &'a EpochFiles,
}

pub struct Booted<M> {
    pub machine: M,
    pub effects: Effects,
    /// Ends the history it came back with.
    pub zxid: i64,
    pub story: String,
}

pub trait Machine: Sized {
    /// Whether what it says to its peers is the reference's protocol and can be judged.
    const SPEAKS_ZAB: bool;

    /// An error is a refusal to start.
    fn boot(start: &Start<'_>, now: Now) -> Result<Booted<Self>, String>;
    /// What shards begin with.
    fn tree(&self) -> &Tree;
    /// The tree's place in the history, if it can be told.
    fn applied(&self) -> Option<i64>;
    /// Every live session with its timeout, by id, if it can be told.
    fn sessions(&self) -> Option<Vec<(i64, i32)>>;
    /// Whether clients may be let in.
    fn may_serve(&self) -> bool;
    fn on_peer(&mut self, news: PeerNews<'_>, now: Now, out: &mut Effects);
    fn on_mail(&mut self, mail: ToReplica, now: Now, out: &mut Effects);
    fn on_turn_end(&mut self, now: Now, out: &mut Effects);
    fn on_tick(&mut self, now: Now, out: &mut Effects);
    fn on_batch_landed(&mut self, batch: BatchId, now: Now, out: &mut Effects);
    fn on_segment_ready(&mut self, segment: SegmentId, now: Now, out: &mut Effects);
    fn on_disk_failed(&mut self, what: &str, out: &mut Effects);
    fn on_snapshot_ready(&mut self, out: &mut Effects);
    fn on_snapshot_written(&mut self, zxid: Zxid, now: Now, out: &mut Effects);
    fn on_snapshot_failed(&mut self, zxid: Zxid, what: &str);
    fn on_reload(&mut self, what: Reload, media: &dyn BootMedia, now: Now, out: &mut Effects);
    fn on_stretch(&mut self, _: StretchNews, _: Now, _: &mut Effects) {}
}

/// A member's disk as its replica reads it.
pub struct MemberMedia<'a> {
    pub disk: &'a Disk,
    pub epochs: &'a EpochFiles,
}

impl BootMedia for MemberMedia<'_> {
    fn snapshots(&self) -> io::Result<Vec<Zxid>> {
        Media { disk: self.disk, hide: 0 }.snapshots()
    }

    fn read_snapshot(&self, zxid: Zxid) -> io::Result<Box<dyn Read>> {
        Media { disk: self.disk, hide: 0 }.read_snapshot(zxid)
    }

    fn segments(&self) -> io::Result<Vec<SegmentId>> {
        Media { disk: self.disk, hide: 0 }.segments()
    }

    fn read_segment(&self, segment: SegmentId, bytes: &mut Vec<u8>) -> io::Result<()> {
        Media { disk: self.disk, hide: 0 }.read_segment(segment, bytes)
    }

    fn epochs(&self) -> io::Result<Epochs> {
        let EpochFiles { accepted, current, current_tmp, .. } = *self.epochs;
        Ok(Epochs { accepted, current, current_tmp })
    }
}

impl Machine for Replica {
    const SPEAKS_ZAB: bool = true;

    fn boot(start: &Start<'_>, now: Now) -> Result<Booted<Replica>, String> {
        let media = MemberMedia { disk: start.disk, epochs: start.epochs };
        let mut settings = start.settings.clone();
        if let Some(ensemble) = &mut settings.ensemble {
            ensemble.trust_empty = !start.is_replaced;
        }
        let booted =
            replica::boot(&media as &dyn BootMedia, settings, start.seed, now).map_err(|error| error.to_string())?;
        let damaged = booted.damaged.is_some();
        let zxid = if damaged { -1 } else { booted.replica.last_durable().0 };
        let story = format!("{} replayed, torn {:?}", booted.replayed, booted.torn);
        let story = format!("{story}, damaged {:?}", booted.damaged);
        Ok(Booted { machine: booted.replica, effects: booted.effects, zxid, story })
    }

    fn tree(&self) -> &Tree {
        Replica::tree(self)
    }

    fn applied(&self) -> Option<i64> {
        Some(self.last_proposed().0)
    }

    fn sessions(&self) -> Option<Vec<(i64, i32)>> {
        Some(self.live_sessions().into_iter().map(|(session, timeout_ms)| (session.0, timeout_ms)).collect())
    }

    fn may_serve(&self) -> bool {
        Replica::may_serve(self)
    }

    fn on_peer(&mut self, news: PeerNews<'_>, now: Now, out: &mut Effects) {
        Replica::on_peer(self, news, now, out);
    }

    fn on_reload(&mut self, what: Reload, media: &dyn BootMedia, now: Now, out: &mut Effects) {
        Replica::on_reload(self, what, media, now, out);
    }

    fn on_stretch(&mut self, news: StretchNews, now: Now, out: &mut Effects) {
        Replica::on_stretch(self, news, now, out);
    }

    fn on_mail(&mut self, mail: ToReplica, now: Now, out: &mut Effects) {
        Replica::on_mail(self, mail, now, out);
    }

    fn on_turn_end(&mut self, now: Now, out: &mut Effects) {
        Replica::on_turn_end(self, now, out);
    }

    fn on_tick(&mut self, now: Now, out: &mut Effects) {
        Replica::on_tick(self, now, out);
    }

    fn on_batch_landed(&mut self, batch: BatchId, now: Now, out: &mut Effects) {
        Replica::on_batch_landed(self, batch, now, out);
    }

    fn on_segment_ready(&mut self, segment: SegmentId, now: Now, out: &mut Effects) {
        Replica::on_segment_ready(self, segment, now, out);
    }

    fn on_disk_failed(&mut self, what: &str, out: &mut Effects) {
        Replica::on_disk_failed(self, what, out);
    }

    fn on_snapshot_ready(&mut self, out: &mut Effects) {
        Replica::on_snapshot_ready(self, out);
    }

    fn on_snapshot_written(&mut self, zxid: Zxid, now: Now, _out: &mut Effects) {
        Replica::on_snapshot_written(self, zxid, now);
    }

    fn on_snapshot_failed(&mut self, zxid: Zxid, what: &str) {
        Replica::on_snapshot_failed(self, zxid, what);
    }
}
