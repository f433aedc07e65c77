//! A machine whose whole protocol is to call everybody, count aloud on every line, and write down what it hears.
//!
//! It panics when a stream skips or repeats a number, or is heard after its end: promises of the network. Its
//! journal and its epoch files count up, so that a disk that forgets is noticed at the next boot.

use std::collections::BTreeMap;

use super::machine::{Booted, Machine, Start};
use super::peers::{ELECTION_PORT, host};
use crate::base::{Instant, LinkId, Now, PeerAddress, SessionId, WallMs, Xid, Zxid};
use crate::codec::txn::{self, Txn, TxnHeader};
use crate::journal::{BatchId, Journal, Recovery, SegmentId};
use crate::mail::ToReplica;
use crate::replica::{Effects, EpochFile, PeerEffect, PeerNews};
use crate::tree::{OwnerRules, Tree};

pub struct Flood {
    member: usize,
    members: usize,
    tree: Tree,
    journal: Journal,
    heard: i64,
    epoch: i64,
    epoch_asked: i64,
    dialled: u64,
    /// By goal: the link it is called by.
    calls: BTreeMap<usize, LinkId>,
    lines: BTreeMap<LinkId, Line>,
    next_call: Instant,
}

#[derive(Default)]
struct Line {
    open: bool,
    said: u32,
    heard: u32,
    partial: Vec<u8>,
}

impl Machine for Flood {
    const SPEAKS_ZAB: bool = false;

    fn boot(start: &Start<'_>, now: Now) -> Result<Booted<Flood>, String> {
        let mut recovery = Recovery::new(Zxid::ZERO, 1 + start.member as u64);
        let mut count = 0;
        for segment in start.disk.segment_ids() {
            let bytes = start.disk.segment(segment).cloned().unwrap_or_default();
            let replay = |zxid: Zxid, _: &[u8]| {
                count += 1;
                if zxid.0 == count { Ok(()) } else { Err(format!("{zxid} is the {count}th")) }
            };
            recovery.segment(segment, &bytes, replay).map_err(|damage| damage.to_string())?;
        }
        let position = recovery.finish().map_err(|damage| damage.to_string())?;
        let heard = position.last_zxid.0;
        let story = format!("epochs {:?}", start.epochs);
        let mut machine = Flood {
            member: start.member,
            members: start.votes.len(),
            tree: Tree::new(OwnerRules::default()),
            journal: Journal::new(position, start.settings.segment_bytes),
            heard,
            epoch: start.epochs.accepted.unwrap_or(0),
            epoch_asked: start.epochs.accepted.unwrap_or(0),
            dialled: 0,
            calls: BTreeMap::new(),
            lines: BTreeMap::new(),
            next_call: now.mono,
        };
        let mut effects = Effects::default();
        machine.journal.next_batch(&mut effects.disk);
        Ok(Booted { machine, effects, zxid: heard, story })
    }

    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn applied(&self) -> Option<i64> {
        None
    }

    fn sessions(&self) -> Option<Vec<(i64, i32)>> {
        None
    }

    fn may_serve(&self) -> bool {
        false
    }

    fn on_peer(&mut self, news: PeerNews<'_>, now: Now, out: &mut Effects) {
        match news {
            PeerNews::Accepted { link, .. } => {
                let before = self.lines.insert(link, Line { open: true, ..Line::default() });
                assert!(before.is_none(), "{link:?} is accepted twice");
            }
            PeerNews::Connected { link } => {
                let line = self.lines.get_mut(&link).expect("a call that was made");
                assert!(!line.open, "{link:?} is connected twice");
                line.open = true;
            }
            PeerNews::Bytes { link, bytes } => self.hear(link, bytes),
            PeerNews::Drained { link } => panic!("{link:?} drained, which nobody asked about"),
            PeerNews::Closed { link } => {
                self.lines.remove(&link).expect("a line that was there");
                self.calls.retain(|_, call| *call != link);
                self.next_call = self.next_call.max(now.mono.plus_ms(50));
            }
            PeerNews::OracleSays { .. } => panic!("an oracle nobody asked"),
            PeerNews::EpochWritten { file, epoch } => {
                assert_eq!((file, epoch), (EpochFile::Accepted, self.epoch + 1), "epochs are written in order");
                self.epoch = epoch;
            }
        }
        self.on_turn_end(now, out);
    }

    fn on_mail(&mut self, _: ToReplica, _: Now, _: &mut Effects) {}

    fn on_turn_end(&mut self, _: Now, out: &mut Effects) {
        self.journal.next_batch(&mut out.disk);
    }

    fn on_tick(&mut self, now: Now, out: &mut Effects) {
        for goal in (0..self.members).filter(|goal| *goal != self.member) {
            if !self.calls.contains_key(&goal) && self.next_call <= now.mono {
                self.dialled += 1;
                let link = LinkId(2 * self.dialled);
                let to = vec![PeerAddress { host: host(goal), port: ELECTION_PORT }];
                out.peer.push(PeerEffect::Dial { link, to, timeout_ms: 300 });
                self.calls.insert(goal, link);
                self.lines.insert(link, Line::default());
            }
        }
        for (link, line) in self.lines.iter_mut().filter(|(_, line)| line.open) {
            let mut bytes = Vec::new();
            for _ in 0..3 {
                line.said += 1;
                bytes.extend(line.said.to_be_bytes());
            }
            out.peer.push(PeerEffect::Send { link: *link, bytes: bytes.into() });
        }
        // Now and then one hangs up.
        if let Some(link) = self.lines.iter().find(|(_, line)| line.said > 90).map(|(link, _)| *link) {
            self.lines.remove(&link);
            self.calls.retain(|_, call| *call != link);
            out.peer.push(PeerEffect::Close { link });
        }
        if self.epoch_asked == self.epoch && self.heard % 7 == 3 {
            self.epoch_asked += 1;
            out.peer.push(PeerEffect::WriteEpoch { file: EpochFile::Accepted, epoch: self.epoch_asked });
        }
        self.on_turn_end(now, out);
    }

    fn on_batch_landed(&mut self, batch: BatchId, now: Now, out: &mut Effects) {
        self.journal.landed(batch);
        self.on_turn_end(now, out);
    }

    fn on_segment_ready(&mut self, segment: SegmentId, now: Now, out: &mut Effects) {
        self.journal.segment_ready(segment);
        self.on_turn_end(now, out);
    }

    fn on_disk_failed(&mut self, what: &str, out: &mut Effects) {
        out.halt = Some(crate::replica::Halt(what.into()));
    }

    fn on_snapshot_ready(&mut self, _: &mut Effects) {}

    fn on_snapshot_written(&mut self, _: Zxid, _: Now, _: &mut Effects) {}

    fn on_snapshot_failed(&mut self, _: Zxid, _: &str) {}

    fn on_reload(&mut self, _: crate::replica::Reload, _: &dyn crate::replica::BootMedia, _: Now, _: &mut Effects) {}
}

impl Flood {
    fn hear(&mut self, link: LinkId, bytes: &[u8]) {
        let line = self.lines.get_mut(&link).expect("nothing is heard after the end");
        assert!(line.open, "nothing is heard before the beginning");
        line.partial.extend_from_slice(bytes);
        while let Some(word) = line.partial.first_chunk::<4>() {
            let number = u32::from_be_bytes(*word);
            assert_eq!(number, line.heard + 1, "member {}, {link:?}", self.member);
            line.heard = number;
            line.partial.drain(..4);
            self.heard += 1;
            // As a transaction, because recovery takes nothing shorter for one.
            let header = TxnHeader { session: SessionId::NONE, cxid: Xid(0), zxid: Zxid(self.heard), time: WallMs(0) };
            let txn = Txn::Error { code: number as i32 };
            self.journal.append(header.zxid, |record| txn::encode(record, &header, &txn, None));
        }
    }
}
