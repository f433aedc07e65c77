//! The oracle of two voters: a file, kept by somebody outside the ensemble, whose first character says whether this server
//! may go on without the other one. Read away from the executors, because it may lie on a file system that hangs.
//!
//! ZK: QuorumOracleMaj.askOracle.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;

use super::super::news::News;
use super::super::wake::Wake;

/// The way to the thread that reads the file. It ends with it.
pub struct Oracle {
    questions: mpsc::Sender<()>,
    answers: Arc<News<bool>>,
}

impl Oracle {
    /// `asker` is rung when an answer is there. Start it from a thread that is not bound to an executor's CPU.
    pub fn start(path: PathBuf, asker: Arc<Wake>) -> std::io::Result<Oracle> {
        let (questions, hear) = mpsc::channel();
        let answers = Arc::new(News::new(asker));
        let theirs = answers.clone();
        thread::Builder::new().name("oracle".to_owned()).spawn(move || {
            for () in hear {
                theirs.tell([says_yes(&path)]);
            }
        })?;
        Ok(Oracle { questions, answers })
    }

    /// Each question gets an answer of its own, read after it was asked.
    pub fn ask(&self) {
        // The thread lives as long as this sender.
        let _ = self.questions.send(());
    }

    pub fn has_answers(&self) -> bool {
        self.answers.are_there()
    }

    pub fn take(&self) -> Vec<bool> {
        let mut answers = Vec::new();
        self.answers.take(&mut answers);
        answers
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
