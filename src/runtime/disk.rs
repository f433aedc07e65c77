//! Carries out what the replica wants of its disk, and tells it how that went.
//!
//! Two ways, so that nothing slow ever stands before the journal: batches go to a thread of their own
//! (`journal_thread.rs`), all else to a task in the background queue (`chores.rs`).
//!
//! A small batch that nobody but its client or leader waits for is written right here at the end of the turn: the
//! executor had nothing else to do than to wait for the disk.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::files::DataDirs;
use super::journal_thread::{JournalThread, Pace};
use crate::base::{Zxid, limits};
use crate::journal::{Batch, BatchId, DiskEffect, SegmentId};

/// What became of a [`DiskEffect`].
#[derive(Debug)]
pub enum DiskNews {
    Landed(BatchId),
    /// A journal write, sync or preparation failed, in words for the operator.
    Failed(String),
    SegmentReady(SegmentId),
    /// The open snapshot takes its next chunk.
    SnapshotReady,
    SnapshotWritten(Zxid),
    SnapshotFailed(Zxid, String),
}

/// How the disk is to be treated.
#[derive(Clone, Debug)]
pub struct DiskSettings {
    pub dirs: DataDirs,
    /// `forceSync`: false leaves durability to the kernel, and says so at the start.
    pub force_sync: bool,
    /// A journal write that takes longer is warned about (`fsync.warningthresholdms`).
    pub slow_write: Duration,
}

/// A write takes about as long on a good disk.
const PATIENCE: Duration = Duration::from_micros(250);

/// A write of an executor's own that takes longer shows that the disk is slow, or busy.
const LONG: Duration = Duration::from_millis(5);

/// For so many times as long all batches go to the journal's thread after that: of its time the executor spends no more
/// than one part in so many with a disk that is slow, or that hangs again and again.
const CAUTION: u32 = 50;

/// Where the driver of an executor meets those who carry out its disk's work. Lives on: the replication core.
pub struct DiskPort {
    journal: JournalThread,
    chores: RefCell<VecDeque<DiskEffect>>,
    /// Chores asked for and not yet done.
    chores_left: Cell<usize>,
    news: RefCell<Vec<DiskNews>>,
    /// Batches and segment preparations not yet answered.
    journal_pending: Cell<usize>,
    /// Batches that the journal's thread has.
    handed_over: Cell<usize>,
    /// Since when it has had some.
    writing_since: Cell<Option<Instant>>,
    /// To be written at the end of the turn.
    held: RefCell<Option<Batch>>,
    /// Until when the executor writes none itself.
    cautious_until: Cell<Option<Instant>>,
    helper: RefCell<Option<Waker>>,
    driver: RefCell<Option<Waker>>,
}

impl DiskPort {
    pub fn new(journal: JournalThread) -> DiskPort {
        DiskPort {
            journal,
            chores: RefCell::default(),
            chores_left: Cell::new(0),
            news: RefCell::default(),
            journal_pending: Cell::new(0),
            handed_over: Cell::new(0),
            writing_since: Cell::new(None),
            held: RefCell::default(),
            cautious_until: Cell::new(None),
            helper: RefCell::default(),
            driver: RefCell::default(),
        }
    }

    /// `quiet`: the executor has nothing to do but this.
    pub fn submit(&self, effect: DiskEffect, quiet: bool) {
        match effect {
            DiskEffect::WriteBatch(batch) => {
                self.journal_pending.update(|count| count + 1);
                let before = self.held.take();
                if quiet && before.is_none() && self.may_write(&batch) {
                    *self.held.borrow_mut() = Some(batch);
                } else {
                    self.writing_since.set(Some(Instant::now()));
                    for batch in before.into_iter().chain([batch]) {
                        self.handed_over.update(|count| count + 1);
                        self.journal.write(batch);
                    }
                }
            }
            chore => {
                if matches!(chore, DiskEffect::PrepareSegment { .. }) {
                    self.journal_pending.update(|count| count + 1);
                }
                self.chores_left.update(|count| count + 1);
                self.chores.borrow_mut().push_back(chore);
                ring(&self.helper);
            }
        }
    }

    /// Moves all news to the end of `out`.
    pub fn take_news(&self, out: &mut Vec<DiskNews>) {
        let before = out.len();
        self.journal.take_news(out);
        let landed = out.len() - before;
        if landed > 0 {
            self.journal_pending.update(|count| count - landed);
            self.handed_over.update(|count| count - landed);
            self.writing_since.set(None);
        }
        out.append(&mut self.news.borrow_mut());
    }

    /// Whether the executor may write it itself: nothing is before it, it is small, and the disk is quick.
    fn may_write(&self, batch: &Batch) -> bool {
        let is_small = batch.bytes.len() <= limits::BLOCK_BYTES;
        self.handed_over.get() == 0 && is_small && self.cautious_until.get().is_none_or(|until| until < Instant::now())
    }

    /// To be called at the end of a turn.
    ///
    /// Writes the batch that was held for this. Else it lets the journal's thread have this CPU if its batch takes long,
    /// because then it may be the CPU that it waits for: a scheduler that did not let it in when the disk answered (the
    /// thread had had its share) looks again at its next tick only, and that is milliseconds away.
    pub fn end_turn(&self) {
        if let Some(batch) = self.held.take() {
            let begun = Instant::now();
            let news = self.journal.write_here(&batch);
            let ended = Instant::now();
            let took = ended - begun;
            if took > LONG {
                self.cautious_until.set(Some(ended + CAUTION * took));
            }
            self.tell(news);
        } else if self.writing_since.get().is_some_and(|since| since.elapsed() > PATIENCE) {
            std::thread::yield_now();
        }
    }

    /// There is news; of what other threads did the executor's bell is rung.
    pub fn has_news(&self) -> bool {
        self.journal.has_news() || !self.news.borrow().is_empty()
    }

    /// Ready when there is news of chores; wakes the driver's task when there will be.
    pub fn poll_news(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.news.borrow().is_empty() {
            return Poll::Ready(());
        }
        *self.driver.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The task that does chores has something to do, for which it needs the executor now and then.
    pub fn has_chores(&self) -> bool {
        self.chores_left.get() > 0
    }

    /// No batch is being written and no segment prepared, and the driver has taken the news of the last.
    pub fn journal_is_idle(&self) -> bool {
        self.journal_pending.get() == 0 && self.news.borrow().is_empty()
    }

    /// How the journal's writing goes.
    pub fn pace(&self) -> Arc<Pace> {
        self.journal.pace()
    }

    /// To be told by whoever did what was asked for, once for each batch, segment and step of a snapshot.
    pub fn tell(&self, news: DiskNews) {
        if matches!(news, DiskNews::Landed(_) | DiskNews::SegmentReady(_) | DiskNews::Failed(_)) {
            self.journal_pending.update(|count| count - 1);
        }
        self.news.borrow_mut().push(news);
        ring(&self.driver);
    }

    /// Waits for something to do other than writing batches.
    pub async fn next_chore(&self) -> DiskEffect {
        next(&self.chores, &self.helper).await
    }

    /// The chore that was handed out last is done.
    pub fn chore_done(&self) {
        self.chores_left.update(|count| count - 1);
    }
}

fn ring(waker: &RefCell<Option<Waker>>) {
    if let Some(waker) = waker.borrow_mut().take() {
        waker.wake();
    }
}

async fn next<T>(queue: &RefCell<VecDeque<T>>, waker: &RefCell<Option<Waker>>) -> T {
    poll_fn(|cx| match queue.borrow_mut().pop_front() {
        Some(item) => Poll::Ready(item),
        None => {
            *waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::wake::Wake;

    const SEGMENT: SegmentId = SegmentId(1);

    /// A port on a prepared segment of so many blocks, and the segment's file.
    fn port(name: &str, blocks: usize) -> (DiskPort, std::path::PathBuf) {
        let folder = std::env::temp_dir().join(format!("ringkeeper-disk-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let dirs = DataDirs::new(&folder, &folder);
        let file = dirs.segment_path(SEGMENT);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, vec![0; blocks * limits::BLOCK_BYTES]).unwrap();
        let settings = DiskSettings { dirs, force_sync: true, slow_write: Duration::from_secs(60) };
        (DiskPort::new(JournalThread::start(settings, Wake::new().unwrap()).unwrap()), file)
    }

    /// The batch of this number: one block, or two, that hold nothing but its number.
    fn batch(id: u8, blocks: usize) -> DiskEffect {
        DiskEffect::WriteBatch(Batch {
            id: BatchId(u64::from(id)),
            segment: SEGMENT,
            offset: (usize::from(id) * limits::BLOCK_BYTES) as u64,
            bytes: vec![id; blocks * limits::BLOCK_BYTES],
            through: Zxid(i64::from(id)),
            record_count: 1,
        })
    }

    fn landed(port: &DiskPort) -> Vec<u64> {
        let mut news = Vec::new();
        port.take_news(&mut news);
        let id = |news: &DiskNews| match news {
            DiskNews::Landed(id) => id.0,
            other => panic!("{other:?}"),
        };
        news.iter().map(id).collect()
    }

    fn wait_landed(port: &DiskPort, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.append(&mut landed(port));
        }
        ids
    }

    #[test]
    fn a_small_batch_of_a_quiet_turn_is_written_at_its_end() {
        let (port, file) = port("quiet", 2);
        port.submit(batch(1, 1), true);
        assert!(!port.has_news() && !port.journal_is_idle());
        port.end_turn();
        assert!(port.has_news());
        assert_eq!(std::fs::read(file).unwrap()[limits::BLOCK_BYTES], 1);
        assert_eq!(landed(&port), [1]);
        assert!(port.journal_is_idle());
    }

    #[test]
    fn no_batch_overtakes_another() {
        let (port, _) = port("order", 8);
        // The second is not of a quiet turn, so the first, held until then, goes before it.
        port.submit(batch(0, 1), true);
        port.submit(batch(1, 1), false);
        // The thread may have those two still.
        port.submit(batch(2, 1), true);
        port.end_turn();
        assert_eq!(wait_landed(&port, 3), [0, 1, 2]);
        // A large one is for the thread, and nothing is written next to it.
        port.submit(batch(3, 2), true);
        port.submit(batch(5, 1), true);
        port.end_turn();
        assert_eq!(wait_landed(&port, 2), [3, 5]);
        assert!(port.journal_is_idle());
    }

    #[test]
    fn a_write_that_fails_is_told_wherever_it_was_made() {
        for quiet in [true, false] {
            let (port, file) = port(&format!("fails-{quiet}"), 2);
            std::fs::remove_file(&file).unwrap();
            port.submit(batch(1, 1), quiet);
            port.end_turn();
            let mut news = Vec::new();
            while news.is_empty() {
                port.take_news(&mut news);
            }
            assert!(matches!(&news[..], [DiskNews::Failed(what)] if what.contains("cannot open")), "{news:?}");
            assert!(port.journal_is_idle());
        }
    }
}
