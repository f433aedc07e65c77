//! The two epoch files of a member: `acceptedEpoch` and `currentEpoch`, beside its snapshots.
//!
//! The names and the text (a decimal number, no newline) are Apache's (quorum protocol, AtomicFileOutputStream): written
//! under `<name>.tmp`, synced, renamed; and unlike Apache's, the directory is synced too, so that a promise survives a
//! power cut. They are synced whatever `forceSync` says: a member that forgets what it promised breaks others' data.
//!
//! A task and a queue of their own keep a write from waiting behind the disk's chores; the files are written on the
//! executor's blocking thread, one after the other.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::future::poll_fn;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::files::{plain_words, sync_directory};
use crate::replica::{EpochFile, Epochs};

/// Reads what an earlier run left. `folder`: where the snapshots lie.
///
/// Errors: a file is there but cannot be read, or is not a number; the text names it.
pub fn read(folder: &Path) -> io::Result<Epochs> {
    let number = |path: &Path| -> io::Result<Option<i64>> {
        let say = |kind, what: String| io::Error::new(kind, format!("{}: {what}", path.display()));
        match fs::read_to_string(path) {
            Ok(text) => {
                let line = text.lines().next().unwrap_or("").trim();
                let bad = || say(io::ErrorKind::InvalidData, format!("{line:?} is not an epoch"));
                line.parse().map(Some).map_err(|_| bad())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(say(error.kind(), plain_words(&error))),
        }
    };
    let current = path(folder, EpochFile::Current);
    Ok(Epochs {
        accepted: number(&path(folder, EpochFile::Accepted))?,
        current: number(&current)?,
        current_tmp: number(&unfinished(&current)).unwrap_or(None),
    })
}

/// Writes one of them durably. Blocks.
pub fn write(folder: &Path, file: EpochFile, epoch: i64) -> io::Result<()> {
    let path = path(folder, file);
    let aside = unfinished(&path);
    let mut out = File::create(&aside)?;
    out.write_all(epoch.to_string().as_bytes())?;
    out.sync_all()?;
    drop(out);
    fs::rename(&aside, &path)?;
    sync_directory(folder)
}

fn path(folder: &Path, file: EpochFile) -> PathBuf {
    folder.join(match file {
        EpochFile::Accepted => "acceptedEpoch",
        EpochFile::Current => "currentEpoch",
    })
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// A number that is on disk, or why it is not, in words for the operator.
pub type EpochNews = Result<(EpochFile, i64), String>;

/// Where the driver and the task that writes meet. Lives on: the replication core.
#[derive(Default)]
pub struct EpochPort {
    wanted: RefCell<VecDeque<(EpochFile, i64)>>,
    news: RefCell<Vec<EpochNews>>,
    /// Asked for, and not yet taken as news.
    pending: Cell<usize>,
    writer: RefCell<Option<Waker>>,
    driver: RefCell<Option<Waker>>,
}

impl EpochPort {
    pub fn submit(&self, file: EpochFile, epoch: i64) {
        self.pending.update(|count| count + 1);
        self.wanted.borrow_mut().push_back((file, epoch));
        ring(&self.writer);
    }

    /// In the order in which they were asked for.
    pub fn take_news(&self) -> Vec<EpochNews> {
        let news = self.news.take();
        self.pending.update(|count| count - news.len());
        news
    }

    /// Nothing is being written, and nothing written waits to be taken.
    pub fn is_idle(&self) -> bool {
        self.pending.get() == 0
    }

    /// Ready when there is news; wakes the driver's task when there will be.
    pub fn poll_news(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.news.borrow().is_empty() {
            return Poll::Ready(());
        }
        *self.driver.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn ring(waker: &RefCell<Option<Waker>>) {
    if let Some(waker) = waker.borrow_mut().take() {
        waker.wake();
    }
}

/// Writes what is asked for, in order. Never ends by itself.
pub async fn write_epochs(port: Rc<EpochPort>, folder: PathBuf) {
    loop {
        let (file, epoch) = poll_fn(|cx| match port.wanted.borrow_mut().pop_front() {
            Some(wanted) => Poll::Ready(wanted),
            None => {
                *port.writer.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await;
        let at = folder.clone();
        let written = glommio::executor().spawn_blocking(move || write(&at, file, epoch)).await;
        let say = |error| format!("cannot write {}: {}", path(&folder, file).display(), plain_words(&error));
        port.news.borrow_mut().push(written.map(|()| (file, epoch)).map_err(say));
        ring(&port.driver);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ringkeeper-epochs-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn epochs_are_read_back_as_apache_writes_them() {
        let root = scratch("read");
        assert_eq!(read(&root).unwrap(), Epochs::default());
        write(&root, EpochFile::Accepted, 12).unwrap();
        write(&root, EpochFile::Current, 11).unwrap();
        write(&root, EpochFile::Current, 9).unwrap();
        assert_eq!(fs::read(root.join("acceptedEpoch")).unwrap(), b"12");
        assert_eq!(fs::read(root.join("currentEpoch")).unwrap(), b"9");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 2, "nothing is left aside");

        fs::write(root.join("currentEpoch"), "7\nrest").unwrap();
        fs::write(root.join("currentEpoch.tmp"), "8").unwrap();
        let expected = Epochs { accepted: Some(12), current: Some(7), current_tmp: Some(8) };
        assert_eq!(read(&root).unwrap(), expected);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_torn_file_is_an_error_unless_it_was_never_renamed() {
        let root = scratch("torn");
        fs::write(root.join("currentEpoch.tmp"), "").unwrap();
        assert_eq!(read(&root).unwrap().current_tmp, None);
        fs::write(root.join("acceptedEpoch"), "x1").unwrap();
        let text = read(&root).unwrap_err().to_string();
        assert!(text.contains("acceptedEpoch") && text.contains("x1"), "{text}");
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_number() {
        let root = scratch("fail");
        write(&root, EpochFile::Current, 3).unwrap();
        fs::create_dir(root.join("currentEpoch.tmp")).unwrap();
        write(&root, EpochFile::Current, 4).unwrap_err();
        assert_eq!(read(&root).unwrap().current, Some(3));
        fs::remove_dir_all(&root).unwrap();
    }
}
