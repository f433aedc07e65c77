//! The thread that reads stretches of the journal for learners that lag, on the member that brings them up to date.
//!
//! It may take its time: the clients of a leader do not wait for it, and it gives way to those who do. Several stretches
//! are read in turn, a few megabytes each; of each there is one chunk in memory, because the next is read when the learner
//! has taken the last.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, mpsc};

use super::files::DataDirs;
use super::news::News;
use super::wake::Wake;
use crate::base::LinkId;
use crate::replica::{Stretch, StretchEffect, StretchNews};

/// The executor's end. The thread ends with it.
pub struct Stretches {
    wanted: mpsc::Sender<StretchEffect>,
    news: Arc<News<StretchNews>>,
}

/// How much less than others the thread is to get of a CPU they want too.
const NICE: i32 = 10;

impl Stretches {
    /// `executor` is rung when there is news. Call it from a thread that is not bound to an executor's CPU.
    ///
    /// Errors: the thread could not be made.
    pub fn start(dirs: DataDirs, executor: Arc<Wake>) -> io::Result<Stretches> {
        let news = Arc::new(News::new(executor));
        let (wanted, hear) = mpsc::channel();
        let theirs = news.clone();
        std::thread::Builder::new().name("journal-reader".to_owned()).spawn(move || {
            // Of this thread alone on Linux. Where it is refused, the readers of the journal are only less polite.
            let _ = rustix::process::setpriority_process(None, NICE);
            read(&dirs, &hear, &theirs);
        })?;
        Ok(Stretches { wanted, news })
    }

    pub fn submit(&self, effect: StretchEffect) {
        // The thread lives as long as this sender.
        let _ = self.wanted.send(effect);
    }

    pub fn has_news(&self) -> bool {
        self.news.are_there()
    }

    pub fn take_news(&self) -> Vec<StretchNews> {
        let mut news = Vec::new();
        self.news.take(&mut news);
        news
    }
}

fn read(dirs: &DataDirs, wanted: &mpsc::Receiver<StretchEffect>, told: &News<StretchNews>) {
    let mut stretches: BTreeMap<LinkId, Stretch> = BTreeMap::new();
    loop {
        let is_busy = stretches.values().any(Stretch::is_busy);
        let next = if is_busy { wanted.try_recv() } else { wanted.recv().map_err(Into::into) };
        match next {
            Ok(StretchEffect::Read(order)) => {
                stretches.insert(order.link, Stretch::new(order));
            }
            Ok(StretchEffect::ReadOn { link }) => {
                if let Some(stretch) = stretches.get_mut(&link) {
                    stretch.read_on();
                }
            }
            Ok(StretchEffect::Forget { link }) => {
                stretches.remove(&link);
            }
            Err(mpsc::TryRecvError::Disconnected) => return,
            Err(mpsc::TryRecvError::Empty) => {
                let news = stretches.values_mut().filter_map(|stretch| stretch.step(dirs)).collect::<Vec<_>>();
                stretches.retain(|_, stretch| !stretch.is_over());
                if !news.is_empty() {
                    told.tell(news);
                }
            }
        }
    }
}
