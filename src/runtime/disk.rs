//! Carries out what the replica wants of its disk, and tells it how that went.
//!
//! Two ways, so that nothing slow ever stands before the journal: batches go to a thread of their own
//! (`journal_thread.rs`); a task in the background queue prepares segments, writes snapshots and deletes files on a
//! blocking thread of glommio's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::files::{DataDirs, plain_words};
use super::journal_file::prepare_segment;
use super::journal_thread::JournalThread;
use super::snapshot_file::SnapshotFile;
use crate::base::Zxid;
use crate::journal::{BatchId, DiskEffect, SegmentId};

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

/// Where the driver of an executor meets those who carry out its disk's work. Lives on: the replication core.
pub struct DiskPort {
    journal: JournalThread,
    chores: RefCell<VecDeque<DiskEffect>>,
    /// Chores asked for and not yet done.
    chores_left: Cell<usize>,
    news: RefCell<Vec<DiskNews>>,
    /// Batches and segment preparations not yet answered.
    journal_pending: Cell<usize>,
    /// Since when the journal's thread has had a batch.
    writing_since: Cell<Option<Instant>>,
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
            writing_since: Cell::new(None),
            helper: RefCell::default(),
            driver: RefCell::default(),
        }
    }

    pub fn submit(&self, effect: DiskEffect) {
        match effect {
            DiskEffect::WriteBatch(batch) => {
                self.journal_pending.update(|count| count + 1);
                self.writing_since.set(Some(Instant::now()));
                self.journal.write(batch);
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
        if out.len() > before {
            self.journal_pending.update(|count| count - (out.len() - before));
            self.writing_since.set(None);
        }
        out.append(&mut self.news.borrow_mut());
    }

    /// To be called once a turn: lets the journal's thread have this CPU if its batch takes long, because then it may
    /// be the CPU that it waits for. A scheduler that did not let it in when the disk answered (the thread had had its
    /// share) looks again at its next tick only, and that is milliseconds away.
    pub fn make_way(&self) {
        if self.writing_since.get().is_some_and(|since| since.elapsed() > PATIENCE) {
            std::thread::yield_now();
        }
    }

    /// A batch has landed, or could not. The executor's bell is rung for that.
    pub fn has_landed(&self) -> bool {
        self.journal.has_news()
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

    fn tell(&self, news: DiskNews) {
        if matches!(news, DiskNews::SegmentReady(_) | DiskNews::Failed(_)) {
            self.journal_pending.update(|count| count - 1);
        }
        self.news.borrow_mut().push(news);
        ring(&self.driver);
    }

    async fn next_chore(&self) -> DiskEffect {
        next(&self.chores, &self.helper).await
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

/// Everything that may take its time: new segments, snapshots, deletions. Never ends by itself.
pub async fn do_chores(port: Rc<DiskPort>, settings: DiskSettings) {
    let mut snapshot: Option<SnapshotFile> = None;
    loop {
        let chore = port.next_chore().await;
        do_chore(&port, &settings, chore, &mut snapshot).await;
        port.chores_left.update(|count| count - 1);
    }
}

async fn do_chore(port: &DiskPort, settings: &DiskSettings, chore: DiskEffect, snapshot: &mut Option<SnapshotFile>) {
    match chore {
        DiskEffect::WriteBatch(_) => unreachable!("batches go to the writer"),
        DiskEffect::PrepareSegment { segment, bytes, recycle } => {
            let path = settings.dirs.segment_path(segment);
            let old = recycle.map(|old| settings.dirs.segment_path(old));
            let what = format!("cannot prepare {}", path.display());
            let force_sync = settings.force_sync;
            let pace = port.journal.pace();
            match blocking(move || prepare_segment(&path, bytes, old.as_deref(), force_sync, &pace)).await {
                Ok(()) => port.tell(DiskNews::SegmentReady(segment)),
                Err(error) => port.tell(DiskNews::Failed(format!("{what}: {}", plain_words(&error)))),
            }
        }
        DiskEffect::DeleteSegment(segment) => delete(settings.dirs.segment_path(segment)).await,
        DiskEffect::DeleteSnapshot(zxid) => delete(settings.dirs.snapshot_path(zxid)).await,
        DiskEffect::SetAsideSegment(segment) => set_aside(settings.dirs.segment_path(segment)).await,
        DiskEffect::SetAsideSnapshot(zxid) => set_aside(settings.dirs.snapshot_path(zxid)).await,
        DiskEffect::SnapshotOpen { zxid } => {
            let path = settings.dirs.snapshot_path(zxid);
            let opened = blocking(move || SnapshotFile::create(zxid, path)).await;
            *snapshot = keep(port, zxid, opened, DiskNews::SnapshotReady);
        }
        DiskEffect::SnapshotChunk { bytes } => {
            // After a failure there is none, and the replica has been told.
            let Some(file) = snapshot.take() else { return };
            let zxid = file.zxid();
            let written = blocking(move || file.append(&bytes)).await;
            *snapshot = keep(port, zxid, written, DiskNews::SnapshotReady);
        }
        DiskEffect::SnapshotClose { zxid } => {
            let Some(file) = snapshot.take() else { return };
            let closed = blocking(move || file.finish()).await;
            keep(port, zxid, closed, DiskNews::SnapshotWritten(zxid));
        }
        DiskEffect::SnapshotAbort { .. } => {
            if let Some(file) = snapshot.take() {
                blocking(move || file.discard()).await;
            }
        }
    }
}

fn keep<T>(port: &DiskPort, zxid: Zxid, result: std::io::Result<T>, news: DiskNews) -> Option<T> {
    match result {
        Ok(value) => {
            port.tell(news);
            Some(value)
        }
        Err(error) => {
            port.tell(DiskNews::SnapshotFailed(zxid, plain_words(&error)));
            None
        }
    }
}

async fn delete(path: std::path::PathBuf) {
    let name = path.display().to_string();
    if let Err(error) = blocking(move || std::fs::remove_file(path)).await {
        tracing::warn!(file = name, %error, "cannot delete a file that is no longer needed");
    }
}

async fn set_aside(path: std::path::PathBuf) {
    let (name, aside) = (path.display().to_string(), DataDirs::set_aside(&path));
    match blocking(move || std::fs::rename(path, aside)).await {
        Ok(()) => tracing::warn!(file = name, "set aside as *.damaged: delete it when nobody wants to look at it"),
        Err(error) => tracing::warn!(file = name, %error, "cannot set a file aside that is no longer needed"),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    glommio::executor().spawn_blocking(work).await
}
