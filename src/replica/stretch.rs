//! A stretch of this server's journal for a learner that lags further than what is kept in memory: DIFF from disk.
//!
//! ```text
//!   Read -> proving: the stretch is walked once, nothing of it kept -Proven-> waiting
//!                                                                    -Refused (the learner gets a snapshot)
//!   ReadOn -> waiting -> a chunk of packets -> waiting -> ... the last chunk
//! ```
//!
//! Nothing is sent before it is known that all of it can be: that the learner's last transaction is in this history,
//! exactly, that what follows it leads without a gap to the oldest transaction kept in memory, and that it is less than a
//! snapshot would be worth (ZOOKEEPER-1154, 2418, 2846, 4352). Walking it twice costs the disk little, because the second
//! time it is in the page cache, and costs no memory.
//!
//! All of it happens away from the replication core: a [`Stretch`] lives where the driver lets it block.
//!
//! ZK: LearnerHandler.syncFollower, ZKDatabase.getProposalsFromTxnLog.

use bytes::Bytes;

use super::BootMedia;
use crate::base::{LinkId, Zxid};
use crate::codec::peer::{Packet, PacketKind};
use crate::journal::{SegmentId, Walk};

/// What a learner lacks, and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StretchOrder {
    /// The learner's link; names the stretch.
    pub link: LinkId,
    /// The journal's identity.
    pub journal: u64,
    /// The file that `after` is in, if it is anywhere, and all later ones.
    pub segments: Vec<SegmentId>,
    /// The learner's last transaction.
    pub after: Zxid,
    /// The last one to send.
    pub through: Zxid,
    /// Records with more bytes than this are not worth it.
    pub bytes_max: u64,
}

/// What the replica wants of the reader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StretchEffect {
    /// See whether it can be read; answered by [`StretchNews::Proven`] or [`StretchNews::Refused`].
    Read(StretchOrder),
    /// The next chunk; answered by [`StretchNews::Chunk`] or [`StretchNews::Broken`].
    ReadOn { link: LinkId },
    /// Nobody wants it any more. What is still said about it is ignored.
    Forget { link: LinkId },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StretchNews {
    /// All of it is there.
    Proven { link: LinkId },
    /// It is not, or too much, and nothing was sent of it.
    Refused { link: LinkId, why: String },
    /// Whole packets, PROPOSAL and COMMIT for each record.
    Chunk { link: LinkId, bytes: Bytes, is_last: bool },
    /// What was proven cannot be read any more.
    Broken { link: LinkId, why: String },
}

/// How much of the journal is looked at in one step.
const STEP_BYTES: usize = 4 << 20;

/// How large a chunk of packets is; one batch of the journal may take it well beyond.
const CHUNK_BYTES: usize = 256 << 10;

/// A transaction of the past, as every learner gets it, an observer too.
pub(super) fn put_committed(out: &mut Vec<u8>, zxid: Zxid, record: Bytes) {
    Packet::with(PacketKind::Proposal, zxid, record).encode(out);
    Packet::bare(PacketKind::Commit, zxid).encode(out);
}

/// One stretch being read. Lives on: a thread that may block.
pub struct Stretch {
    order: StretchOrder,
    walk: Walk,
    stage: Stage,
    chunk: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    /// The learner's last transaction has not been met; `reaches_back`: an earlier one has.
    Searching {
        reaches_back: bool,
    },
    /// It has been; this many bytes of records follow it so far.
    Measuring {
        bytes: u64,
    },
    /// Until somebody wants the next chunk.
    Waiting,
    Reading,
    Ended,
}

impl Stretch {
    pub fn new(order: StretchOrder) -> Stretch {
        let walk = Walk::new(order.journal, order.segments.clone());
        Stretch { order, walk, stage: Stage::Searching { reaches_back: false }, chunk: Vec::new() }
    }

    /// The next chunk is wanted.
    pub fn read_on(&mut self) {
        if matches!(self.stage, Stage::Waiting) {
            self.stage = Stage::Reading;
        }
    }

    /// Whether [`Stretch::step`] has something to do.
    pub fn is_busy(&self) -> bool {
        !matches!(self.stage, Stage::Waiting | Stage::Ended)
    }

    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Some milliseconds of work. Returns what there is to tell.
    pub fn step(&mut self, media: &dyn BootMedia) -> Option<StretchNews> {
        let link = self.order.link;
        match self.stage {
            Stage::Searching { .. } | Stage::Measuring { .. } => match self.prove(media) {
                Ok(false) => None,
                Ok(true) => {
                    self.walk = Walk::new(self.order.journal, std::mem::take(&mut self.order.segments));
                    self.stage = Stage::Waiting;
                    Some(StretchNews::Proven { link })
                }
                Err(why) => {
                    self.stage = Stage::Ended;
                    Some(StretchNews::Refused { link, why })
                }
            },
            Stage::Reading => match self.read(media) {
                Ok(None) => None,
                Ok(Some(is_last)) => {
                    self.stage = if is_last { Stage::Ended } else { Stage::Waiting };
                    Some(StretchNews::Chunk { link, bytes: std::mem::take(&mut self.chunk).into(), is_last })
                }
                Err(why) => {
                    self.stage = Stage::Ended;
                    Some(StretchNews::Broken { link, why })
                }
            },
            Stage::Waiting | Stage::Ended => None,
        }
    }

    /// Goes on looking. True when all is there.
    fn prove(&mut self, media: &dyn BootMedia) -> Result<bool, String> {
        let StretchOrder { after, through, bytes_max, .. } = self.order;
        // An epoch that was begun and not written in: whoever stands there has all that was before.
        let bare_epoch = after.counter() == 0 && after > Zxid::ZERO;
        let mut read = |segment, offset, bytes, into: &mut Vec<u8>| media.read_segment_at(segment, offset, bytes, into);
        let mut looked_at = 0;
        while looked_at < STEP_BYTES {
            let Some(batch) = self.walk.next(&mut read)? else {
                return Err(format!("the journal on disk does not lead to {through}"));
            };
            looked_at += batch.disk_bytes();
            for (zxid, record) in batch.records() {
                match &mut self.stage {
                    Stage::Searching { reaches_back } if zxid < after => *reaches_back = true,
                    Stage::Searching { .. } if zxid == after => self.stage = Stage::Measuring { bytes: 0 },
                    Stage::Searching { reaches_back: true } if bare_epoch => {
                        self.stage = Stage::Measuring { bytes: record.len() as u64 };
                    }
                    Stage::Searching { .. } => return Err(format!("{after} is not in the journal on disk")),
                    Stage::Measuring { bytes } if zxid <= through => *bytes += record.len() as u64,
                    _ => {}
                }
                if let Stage::Measuring { bytes } = self.stage {
                    if bytes > bytes_max {
                        return Err(format!("the records behind {after} take more than {bytes_max} bytes"));
                    }
                    if zxid >= through {
                        return match zxid == through {
                            true => Ok(true),
                            false => Err(format!("{through} is not in the journal on disk")),
                        };
                    }
                }
            }
            // A history that starts with a snapshot of the learner's last transaction says so in its first marker.
            if let Stage::Searching { .. } = self.stage
                && batch.through() == after
                && after > Zxid::ZERO
            {
                self.stage = Stage::Measuring { bytes: 0 };
                if after == through {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Goes on filling the chunk. `Some` when it is full, and whether it is the last.
    fn read(&mut self, media: &dyn BootMedia) -> Result<Option<bool>, String> {
        let StretchOrder { after, through, .. } = self.order;
        let mut read = |segment, offset, bytes, into: &mut Vec<u8>| media.read_segment_at(segment, offset, bytes, into);
        let mut looked_at = 0;
        while looked_at < STEP_BYTES {
            let batch = self.walk.next(&mut read)?.ok_or("the journal on disk has become shorter")?;
            looked_at += batch.disk_bytes();
            for (zxid, record) in batch.records().filter(|(zxid, _)| *zxid > after && *zxid <= through) {
                put_committed(&mut self.chunk, zxid, Bytes::copy_from_slice(record));
            }
            let is_last = batch.through() >= through;
            if is_last || self.chunk.len() >= CHUNK_BYTES {
                return Ok(Some(is_last));
            }
        }
        Ok(None)
    }
}
