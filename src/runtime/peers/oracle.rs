//! The oracle of two voters: a file, kept by somebody outside the ensemble, whose first character says whether this server
//! may go on without the other one. Read away from the executors, because it may lie on a file system that hangs.
//!
//! ZK: QuorumOracleMaj.askOracle.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use super::super::mailbox::Wake;

/// The way to the thread that reads the file. It ends with it.
pub struct Oracle {
    questions: mpsc::Sender<()>,
    shared: Arc<Shared>,
}

struct Shared {
    answers: Mutex<Vec<bool>>,
    waiting: AtomicBool,
    /// Of the executor that asks.
    asker: Arc<Wake>,
}

impl Oracle {
    /// `asker` is rung when an answer is there. Start it from a thread that is not bound to an executor's CPU.
    pub fn start(path: PathBuf, asker: Arc<Wake>) -> std::io::Result<Oracle> {
        let (questions, hear) = mpsc::channel();
        let shared = Arc::new(Shared { answers: Mutex::default(), waiting: AtomicBool::new(false), asker });
        let theirs = shared.clone();
        thread::Builder::new().name("oracle".to_owned()).spawn(move || {
            for () in hear {
                theirs.answer(says_yes(&path));
            }
        })?;
        Ok(Oracle { questions, shared })
    }

    /// Each question gets an answer of its own, read after it was asked.
    pub fn ask(&self) {
        // The thread lives as long as this sender.
        let _ = self.questions.send(());
    }

    pub fn has_answers(&self) -> bool {
        self.shared.waiting.load(SeqCst)
    }

    pub fn take(&self) -> Vec<bool> {
        if !self.has_answers() {
            return Vec::new();
        }
        self.shared.waiting.store(false, SeqCst);
        std::mem::take(&mut *self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn answer(&self, yes: bool) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(yes);
        self.waiting.store(true, SeqCst);
        self.asker.wake();
    }
}

/// A file that cannot be read says no.
fn says_yes(path: &Path) -> bool {
    let mut first = [0];
    match File::open(path).and_then(|mut file| file.read_exact(&mut first)) {
        Ok(()) => first[0] == b'1',
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the oracle cannot be read (oraclePath), which means no");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_a_file_that_begins_with_a_one_says_yes() {
        let path = std::env::temp_dir().join(format!("ringkeeper-oracle-{}", std::process::id()));
        for (text, yes) in [("1", true), ("1\n", true), ("0", false), ("", false), (" 1", false)] {
            fs::write(&path, text).unwrap();
            assert_eq!(says_yes(&path), yes, "{text:?}");
        }
        fs::write(&path, "1").unwrap();
        let wake = Wake::new().unwrap();
        let oracle = Oracle::start(path.clone(), wake).unwrap();
        oracle.ask();
        let mut answers = Vec::new();
        while answers.is_empty() {
            answers = oracle.take();
            thread::yield_now();
        }
        assert_eq!(answers, [true]);
        fs::remove_file(&path).unwrap();
        assert!(!says_yes(&path));
    }
}
