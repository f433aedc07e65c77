//! The thread that writes the journal: one blocking, synced write at a time, next to the executor and before it.
//!
//! Not the ring, on purpose. On a disk with a volatile cache and no FUA (most virtual disks) a synced write is a
//! write and a flush of the cache. Of an asynchronous write the kernel starts that flush from a worker thread of its
//! own (`kworker/...-dio`), on the CPU the disk's interrupt came to; beside a busy thread that worker waits for the
//! next scheduler tick, 4 ms at 250 Hz, and every client with it. A blocking write flushes from its own thread, and
//! that thread may ask for the shortest time slice there is: the scheduler (EEVDF, Linux 6.12) then lets it run the
//! moment the disk answers. It needs no privilege, and where it is not understood nothing is lost but latency.
//!
//! To hand a batch over and to be woken for its end takes two switches of threads, a tenth of what a lone writer waits
//! for. So an executor that has nothing else to do may write a batch itself (`DiskPort` decides when).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::disk::{DiskNews, DiskSettings};
use super::files::plain_words;
use super::journal_file::JournalFile;
use super::news::News;
use super::queue::Queue;
use super::wake::Wake;
use crate::journal::Batch;

/// How the journal's writing goes, for work on the same disk that can wait.
#[derive(Default)]
pub struct Pace {
    in_flight: AtomicBool,
    written_bytes: AtomicU64,
}

impl Pace {
    /// Whether a batch is being written.
    pub fn is_writing(&self) -> bool {
        self.in_flight.load(Relaxed)
    }

    /// Bytes of batches since the start.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Relaxed)
    }
}

/// The executor's end. The thread ends when it is dropped, after the batch it is writing.
pub struct JournalThread {
    shared: Arc<Shared>,
}

struct Shared {
    batches: Queue<Batch>,
    news: News<DiskNews>,
    pace: Arc<Pace>,
    writer: Mutex<Writer>,
}

struct Writer {
    settings: DiskSettings,
    open: Option<JournalFile>,
}

impl JournalThread {
    /// Call it from a thread that may run on every CPU of the process, because the new one inherits that. `executor`
    /// is rung when there is news.
    ///
    /// Errors: the thread could not be made.
    pub fn start(settings: DiskSettings, executor: Arc<Wake>) -> io::Result<JournalThread> {
        let shared = Arc::new(Shared {
            batches: Queue::default(),
            news: News::new(executor),
            pace: Arc::default(),
            writer: Mutex::new(Writer { settings, open: None }),
        });
        let theirs = shared.clone();
        std::thread::Builder::new().name("journal".into()).spawn(move || {
            ask_for_short_slices();
            while let Some(batch) = theirs.batches.next() {
                theirs.news.tell([theirs.write(&batch)]);
            }
        })?;
        Ok(JournalThread { shared })
    }

    /// Queues a batch behind those before it.
    pub fn write(&self, batch: Batch) {
        self.shared.batches.push(batch);
    }

    /// Writes a batch on the calling thread. Those before it must have landed.
    pub fn write_here(&self, batch: &Batch) -> DiskNews {
        self.shared.write(batch)
    }

    pub fn pace(&self) -> Arc<Pace> {
        self.shared.pace.clone()
    }

    pub fn has_news(&self) -> bool {
        self.shared.news.are_there()
    }

    /// Moves all news to the end of `out`.
    pub fn take_news(&self, out: &mut Vec<DiskNews>) {
        self.shared.news.take(out);
    }
}

impl Drop for JournalThread {
    fn drop(&mut self) {
        self.shared.batches.end();
    }
}

impl Shared {
    /// One writes at a time: the thread, or the executor while the thread has nothing.
    fn write(&self, batch: &Batch) -> DiskNews {
        // A poisoned lock means a thread died while it wrote; the process is aborting anyway.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let started = Instant::now();
        self.pace.in_flight.store(true, Relaxed);
        let news = match writer.write(batch) {
            Ok(()) => DiskNews::Landed(batch.id),
            Err(what) => DiskNews::Failed(what),
        };
        let took = started.elapsed();
        self.pace.in_flight.store(false, Relaxed);
        self.pace.written_bytes.fetch_add(batch.bytes.len() as u64, Relaxed);
        if took > writer.settings.slow_write {
            tracing::warn!(
                took_ms = took.as_millis() as u64,
                bytes = batch.bytes.len(),
                "a journal write took long; clients wait for it, so give the journal a disk of its own (dataLogDir)"
            );
        }
        news
    }
}

impl Writer {
    fn write(&mut self, batch: &Batch) -> Result<(), String> {
        let path = || self.settings.dirs.segment_path(batch.segment);
        let say = |doing, error| format!("cannot {doing} {}: {}", path().display(), plain_words(&error));
        if self.open.as_ref().is_none_or(|file| file.segment() != batch.segment) {
            let file = JournalFile::open(batch.segment, &path(), self.settings.force_sync);
            self.open = Some(file.map_err(|error| say("open", error))?);
        }
        let file = self.open.as_mut().expect("opened above");
        file.write(batch.offset, &batch.bytes).map_err(|error| say("write", error))
    }
}

/// The kernel's `struct sched_attr` in its first version.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// The shortest slice Linux gives an ordinary thread, in nanoseconds.
const SLICE_NS: u64 = 100_000;

/// Asks the scheduler to run the calling thread soon and briefly. Older kernels take it and change nothing.
pub fn ask_for_short_slices() {
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice,
        priority: 0,
        runtime: SLICE_NS,
        deadline: 0,
        period: 0,
    };
    // SAFETY: sched_setattr(2) reads `size` bytes at the second argument, which lives across the call; 0 is the calling
    // thread, the last argument must be 0.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if result != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "the journal's thread keeps ordinary time slices");
    }
}
