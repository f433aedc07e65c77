//! Two whole drivers on executors of their own: links between them, and epoch files written in order.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;

use super::super::disk::{DiskPort, DiskSettings};
use super::super::driver::{Driver, ReplicaSide};
use super::super::epochs::{self, EpochPort, write_epochs};
use super::super::files::DataDirs;
use super::super::host::Board;
use super::super::journal_thread::JournalThread;
use super::super::machines::ReplicaMachine;
use super::super::placement::{self, Place, Queues};
use super::super::stop::Stop;
use super::super::wake::Wake;
use super::*;
use crate::base::{PeerAddress, Zxid};
use crate::journal::{BatchId, SegmentId};
use crate::mail::{HostFacts, ToReplica};
use crate::replica::{BootMedia, EpochFile, Halt, Reload, StretchNews};
use crate::shard::Shard;

/// Plays ball with its peer: the number in the message goes up with every flight, and each is written as an epoch
/// before it is answered. Whoever sees the last one ends.
struct Player {
    /// The one who dials.
    serves: Option<u16>,
    link: Option<LinkId>,
    buffer: Vec<u8>,
    written: Vec<(EpochFile, i64)>,
    ended: mpsc::Sender<Vec<(EpochFile, i64)>>,
}

const FLIGHTS: i64 = 40;

impl Player {
    fn play(&mut self, number: i64, out: &mut Effects) {
        out.peer.push(PeerEffect::WriteEpoch { file: EpochFile::Accepted, epoch: number });
        out.peer.push(PeerEffect::WriteEpoch { file: EpochFile::Current, epoch: number });
    }

    fn end(&mut self, out: &mut Effects) {
        let _ = self.ended.send(std::mem::take(&mut self.written));
        out.halt = Some(Halt("the game is over".to_owned()));
    }
}

impl ReplicaMachine for Player {
    fn on_mail(&mut self, _: ToReplica, _: Now, _: &mut Effects) {}
    fn on_turn_end(&mut self, _: Now, _: &mut Effects) {}
    fn on_batch_landed(&mut self, _: BatchId, _: Now, _: &mut Effects) {}
    fn on_disk_failed(&mut self, what: &str, _: &mut Effects) {
        panic!("{what}");
    }
    fn on_segment_ready(&mut self, _: SegmentId, _: Now, _: &mut Effects) {}
    fn on_snapshot_ready(&mut self, _: &mut Effects) {}
    fn on_snapshot_written(&mut self, _: Zxid, _: Now) {}
    fn on_snapshot_failed(&mut self, _: Zxid, _: &str) {}
    fn on_host(&mut self, _: HostFacts) {}
    fn on_reload(&mut self, _: Reload, _: &dyn BootMedia, _: Now, _: &mut Effects) {}
    fn on_stretch(&mut self, _: StretchNews, _: Now, _: &mut Effects) {}
    fn may_serve(&self) -> bool {
        true
    }
    fn leads(&self) -> bool {
        false
    }

    fn on_tick(&mut self, _: Now, out: &mut Effects) {
        if let Some(port) = self.serves.take() {
            // By name, so that the answer of another thread must wake the executor.
            let to = vec![PeerAddress { host: "localhost".to_owned(), port }];
            out.peer.push(PeerEffect::Dial { link: LinkId(2), to, timeout_ms: 10_000 });
        }
    }

    fn on_peer(&mut self, news: PeerNews<'_>, _: Now, out: &mut Effects) {
        match news {
            PeerNews::Accepted { link, .. } => self.link = Some(link),
            PeerNews::Connected { link } => {
                self.link = Some(link);
                self.play(1, out);
            }
            PeerNews::Bytes { bytes, .. } => {
                self.buffer.extend(bytes);
                if self.buffer.len() >= 8 {
                    let number = i64::from_be_bytes(self.buffer.drain(..8).collect::<Vec<_>>().try_into().unwrap());
                    match number {
                        FLIGHTS.. => self.end(out),
                        _ => self.play(number + 1, out),
                    }
                }
            }
            PeerNews::EpochWritten { file, epoch } => {
                self.written.push((file, epoch));
                if file == EpochFile::Current {
                    let link = self.link.unwrap();
                    out.peer.push(PeerEffect::Send { link, bytes: Bytes::copy_from_slice(&epoch.to_be_bytes()) });
                    if epoch >= FLIGHTS {
                        out.peer.push(PeerEffect::Close { link });
                        self.end(out);
                    }
                }
            }
            PeerNews::Drained { .. } | PeerNews::OracleSays { .. } => {}
            PeerNews::Closed { .. } => self.end(out),
        }
    }
}

/// Its port, its folder, the epochs it saw written, its thread.
type Running = (u16, PathBuf, mpsc::Receiver<Vec<(EpochFile, i64)>>, glommio::ExecutorJoinHandle<()>);

/// Starts a driver; returns its election port, and what its machine wrote when the game is over.
fn start(name: &str, serves: Option<u16>) -> Running {
    let folder = std::env::temp_dir().join(format!("ringkeeper-peers-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let door = PeerListen { port: PeerPort::Election, host: Some("127.0.0.1".to_owned()), number: 0 };
    let doors = bind_all(&[door], 1, || false).unwrap();
    let port = doors[0].1.local_addr().unwrap().port();
    let (ended, hear) = mpsc::channel();
    let wake = Wake::new().unwrap();
    let resolver = Resolver::start(wake.clone()).unwrap();
    let stop = Stop::new(vec![wake.clone()], 0).unwrap();
    let at = folder.clone();
    let dirs = DataDirs::new(&folder, &folder);
    let settings = DiskSettings { dirs: dirs.clone(), force_sync: true, slow_write: Duration::from_secs(60) };
    let journal = JournalThread::start(settings, wake.clone()).unwrap();
    let place = Place { cpu: None, replica: true, shard: None, may_spin: false };
    let main = move || async move {
        let queues = Queues::create();
        let epochs = Rc::new(EpochPort::default());
        glommio::spawn_local_into(write_epochs(epochs.clone(), at), queues.chores).unwrap().detach();
        let replica = ReplicaSide {
            machine: Player { serves, link: None, buffer: Vec::new(), written: Vec::new(), ended },
            from_shards: Vec::new(),
            to_shards: Vec::new(),
            disk: Rc::new(DiskPort::new(journal)),
            dirs,
            host: Arc::new(Board::default()),
            peers: Some(Peers::new(doors, resolver, epochs, None, false)),
            stretches: None,
        };
        let driver = Driver::<Shard, Player>::new(None, Some(replica), wake, stop, 0).unwrap();
        glommio::spawn_local_into(driver.run(Effects::default()), queues.turns).unwrap().await;
    };
    (port, folder, hear, placement::start(&place, main).unwrap())
}

#[test]
fn two_drivers_talk_and_write_their_epochs_in_order() {
    let (port, folder_b, hear_b, thread_b) = start("b", None);
    let (_, folder_a, hear_a, thread_a) = start("a", Some(port));
    for (hear, folder, first) in [(hear_a, folder_a, 1), (hear_b, folder_b, 2)] {
        let written = hear.recv_timeout(Duration::from_secs(60)).expect("the game ends");
        let expected: Vec<(EpochFile, i64)> = (first..=FLIGHTS)
            .step_by(2)
            .flat_map(|epoch| [(EpochFile::Accepted, epoch), (EpochFile::Current, epoch)])
            .collect();
        assert_eq!(written, expected);
        let last = expected.last().unwrap().1;
        let on_disk = epochs::read(&folder).unwrap();
        assert_eq!((on_disk.accepted, on_disk.current, on_disk.current_tmp), (Some(last), Some(last), None));
        std::fs::remove_dir_all(&folder).unwrap();
    }
    thread_a.join().unwrap();
    thread_b.join().unwrap();
}
