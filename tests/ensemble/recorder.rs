//! Clients of the crate `zookeeper-client` that load an ensemble and tell what they saw, for the judge of `history.py`.
//!
//!     recorder HOSTS CLIENTS TIMEOUT_MS SEED        (started by recorder.py; the nodes of workers.py's `prepare` must exist)
//!
//! Unlike the kazoo workers each session has several requests on their way, so that its order is put to the test, and holds a watch:
//! who sees a change before the event of the watch it had armed, or never gets that event, says `violation`. Every line on standard
//! output is one thing that happened, its fields parted by tabs; times are seconds of CLOCK_MONOTONIC. On standard input `rest` ends
//! the load (`resting` and the living sessions answer), `end` closes the sessions; its end ends the program at any time.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_lite::future::poll_once;
use rustix::time::{ClockId, clock_gettime};
use zookeeper_client as zk;

const REGISTERS: u64 = 8;
const SEQUENCE: &str = "/load/sequence/n-";
const BURST_MAX: u64 = 6;
/// So many of the nodes it made in a session a client leaves alone; beyond that it deletes as many as it makes.
const KEPT: usize = 30;
/// How long a client waits between two bursts, in milliseconds: from, to.
const PAUSE_MS: (u64, u64) = (10, 40);

/// What is asked of all clients: one of the following, which only grows.
static PHASE: AtomicU8 = AtomicU8::new(LOAD);
const LOAD: u8 = 0;
const REST: u8 = 1;
const END: u8 = 2;

fn phase() -> u8 {
    PHASE.load(Ordering::Relaxed)
}

fn now() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// SplitMix64: this needs no better dice.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A request yet to be sent.
enum Step {
    Set { path: String, value: String },
    Get { path: String },
    SyncAndGet { path: String },
    GetAndWatch { path: String },
    Draw,
    Hold { path: String },
    Drop { path: String },
}

enum Answer {
    Changed(zk::Stat),
    Seen(Vec<u8>, zk::Stat),
    Watched(Vec<u8>, zk::Stat, zk::OneshotWatcher),
    Made(zk::Stat, zk::CreateSequence),
    Deleted,
}

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Answer, zk::Error>> + 'a>>;

/// Sends the request now, whenever its answer is waited for.
fn send<'a>(client: &'a zk::Client, step: &'a Step) -> Waiting<'a> {
    match step {
        Step::Set { path, value } => {
            let answer = client.set_data(path, value.as_bytes(), None);
            Box::pin(async { answer.await.map(Answer::Changed) })
        }
        Step::Get { path } => {
            let answer = client.get_data(path);
            Box::pin(async { answer.await.map(|(data, stat)| Answer::Seen(data, stat)) })
        }
        Step::SyncAndGet { path } => {
            let (synced, answer) = (client.sync(path), client.get_data(path));
            Box::pin(async {
                synced.await?;
                answer.await.map(|(data, stat)| Answer::Seen(data, stat))
            })
        }
        Step::GetAndWatch { path } => {
            let answer = client.get_and_watch_data(path);
            Box::pin(async { answer.await.map(|(data, stat, watcher)| Answer::Watched(data, stat, watcher)) })
        }
        Step::Draw => {
            let mode = zk::CreateMode::PersistentSequential.with_acls(zk::Acls::anyone_all());
            let answer = client.create(SEQUENCE, b"", &mode);
            Box::pin(async { answer.await.map(|(stat, sequence)| Answer::Made(stat, sequence)) })
        }
        Step::Drop { path } => {
            let answer = client.delete(path, None);
            Box::pin(async { answer.await.map(|()| Answer::Deleted) })
        }
        Step::Hold { path } => {
            let mode = zk::CreateMode::Ephemeral.with_acls(zk::Acls::anyone_all());
            let answer = client.create(path, b"", &mode);
            Box::pin(async { answer.await.map(|(stat, sequence)| Answer::Made(stat, sequence)) })
        }
    }
}

/// Errors that no fault of the ensemble explains: the nodes are there, open to all, and every name is new.
fn never_due(error: &zk::Error) -> bool {
    use zk::Error::*;
    matches!(
        error,
        NoNode
            | NodeExists
            | NotEmpty
            | BadVersion
            | NoAuth
            | InvalidAcl
            | NoChildrenForEphemerals
            | MarshallingError
            | Unimplemented
    )
}

/// The watch a session has armed, and the state of the register it was armed on.
struct Armed {
    path: String,
    zxid: i64,
    event: Pin<Box<dyn Future<Output = zk::WatchedEvent>>>,
}

/// One client: a session at a time, until the end.
struct Recorder {
    name: String,
    hosts: Rc<str>,
    timeout: Duration,
    dice: Dice,
    values: u64,
    /// Requests sent in this session; their answers come in this order.
    number: u64,
    armed: Option<Armed>,
    /// Nodes made in this session: they have to be there until they are deleted.
    mine: Vec<String>,
}

impl Recorder {
    async fn connect(&self) -> zk::Client {
        loop {
            let connector = zk::Client::connector().with_session_timeout(self.timeout);
            match connector.connect(&self.hosts).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Loads, rests and closes; a session that is lost on the way is followed by another one.
    async fn run(mut self) {
        loop {
            let client = self.connect().await;
            let session = client.session_id().0;
            println!("session\t{}\t{session}", self.name);
            (self.number, self.armed) = (0, None);
            self.mine.clear();
            while !client.state().is_terminated() && phase() == LOAD {
                self.burst(&client, session).await;
                let pause = PAUSE_MS.0 + self.dice.below(PAUSE_MS.1 - PAUSE_MS.0);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            if phase() > LOAD && self.rest(&client, session).await {
                return self.close(client).await;
            }
            println!("lost\t{}\t{session}", self.name);
        }
    }

    fn plan(&mut self) -> Step {
        self.values += 1;
        let path = format!("/load/registers/{}", self.dice.below(REGISTERS));
        match self.dice.below(17) {
            0..5 => Step::Set { path, value: format!("{}:{}", self.name, self.values) },
            5..9 => Step::Get { path },
            9 => Step::SyncAndGet { path },
            10 if self.armed.is_none() => Step::GetAndWatch { path },
            10..13 => Step::Draw,
            13 => Step::Hold { path: format!("/load/ephemerals/{}-{}", self.name, self.values) },
            _ if self.mine.len() > KEPT => {
                let place = self.dice.below(self.mine.len() as u64) as usize;
                Step::Drop { path: self.mine.swap_remove(place) }
            }
            _ => Step::Get { path },
        }
    }

    /// Several requests at once, then their answers.
    async fn burst(&mut self, client: &zk::Client, session: i64) {
        let mut steps: Vec<Step> = (0..=self.dice.below(BURST_MAX)).map(|_| self.plan()).collect();
        let mut watches = 0;
        steps.retain(|step| {
            watches += usize::from(matches!(step, Step::GetAndWatch { .. }));
            !matches!(step, Step::GetAndWatch { .. }) || watches == 1
        });
        let sent: Vec<(f64, Waiting)> = steps.iter().map(|step| (now(), send(client, step))).collect();
        for (step, (began, waiting)) in steps.iter().zip(sent) {
            self.number += 1;
            let answer = waiting.await;
            self.take_event().await;
            if let Err(error) = &answer
                && never_due(error)
            {
                println!("violation\t{} got {error} in session {session:#x}", self.name);
            }
            self.tell(step, answer.ok(), session, began);
        }
    }

    fn tell(&mut self, step: &Step, answer: Option<Answer>, session: i64, began: f64) {
        let outcome = if answer.is_some() { "ok" } else { "info" };
        // Who asked, which of its requests it was, from when to when.
        let (number, ended) = (self.number, now());
        let when = format!("{session}\t{number}\t{began}\t{ended}");
        match (step, answer) {
            (Step::Set { path, value }, answer) => {
                let (zxid, version) = match answer {
                    Some(Answer::Changed(stat)) => (stat.mzxid, stat.version),
                    _ => (0, 0),
                };
                println!("write\t{path}\t{value}\t{outcome}\t{when}\t{zxid}\t{version}");
            }
            (Step::Draw, Some(Answer::Made(stat, sequence))) => {
                println!("draw\t{SEQUENCE}{sequence}\tok\t{when}\t{}", stat.czxid);
                self.mine.push(format!("{SEQUENCE}{sequence}"));
            }
            (Step::Draw, _) => println!("draw\t{SEQUENCE}\tinfo\t{when}\t0"),
            (Step::Hold { path }, answer) => {
                let mut zxid = 0;
                if let Some(Answer::Made(stat, _)) = answer {
                    zxid = stat.czxid;
                    self.mine.push(path.clone());
                }
                println!("hold\t{path}\t{outcome}\t{when}\t{zxid}");
            }
            (Step::Drop { path }, _) => println!("drop\t{path}\t{outcome}\t{when}"),
            (Step::Get { path }, Some(Answer::Seen(data, stat))) => self.seen(path, &data, &stat, &when, ""),
            (Step::SyncAndGet { path }, Some(Answer::Seen(data, stat))) => {
                self.seen(path, &data, &stat, &when, &began.to_string());
            }
            (Step::GetAndWatch { path }, Some(Answer::Watched(data, stat, watcher))) => {
                self.seen(path, &data, &stat, &when, "");
                let (path, zxid, event) = (path.clone(), stat.mzxid, Box::pin(watcher.changed()));
                self.armed = Some(Armed { path, zxid, event });
            }
            // A read without an answer says nothing.
            _ => {}
        }
    }

    /// A register was read. The event of a watch that was armed before must have come by now if it changed since.
    fn seen(&self, path: &str, data: &[u8], stat: &zk::Stat, when: &str, synced: &str) {
        let value = String::from_utf8_lossy(data);
        println!("read\t{path}\t{value}\t{when}\t{}\t{}\t{synced}", stat.mzxid, stat.version);
        if let Some(armed) = &self.armed
            && armed.path == path
            && armed.zxid < stat.mzxid
        {
            println!(
                "violation\t{} sees {path} of {:#x} before the event of its watch on {:#x}",
                self.name, stat.mzxid, armed.zxid
            );
        }
    }

    /// Takes the event of the armed watch, if it has come. Events are handed over in the order they arrive, before later replies.
    async fn take_event(&mut self) {
        let Some(armed) = &mut self.armed else { return };
        let Some(event) = poll_once(&mut armed.event).await else { return };
        match event.event_type {
            zk::EventType::NodeDataChanged if event.path == armed.path => println!("fired\t{}", self.name),
            zk::EventType::Session => {}
            other => println!("violation\t{} watches {} and gets {other} of {}", self.name, armed.path, event.path),
        }
        self.armed = None;
    }

    /// After the load: waits until the session is heard again and its last watch is accounted for; false when it is lost.
    async fn rest(&mut self, client: &zk::Client, session: i64) -> bool {
        while !client.state().is_terminated() {
            if client.sync("/").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            self.take_event().await;
            if let Some(armed) = &self.armed {
                let step = Step::Get { path: armed.path.clone() };
                let began = now();
                let Ok(answer) = send(client, &step).await else { continue };
                self.take_event().await;
                self.number += 1;
                self.tell(&step, Some(answer), session, began);
            }
            println!("resting\t{}\t{session}", self.name);
            while phase() < END && !client.state().is_terminated() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return phase() == END;
        }
        false
    }

    async fn close(&self, client: zk::Client) {
        let mut state = client.state_watcher();
        drop(client);
        let closed = async { while !state.changed().await.is_terminated() {} };
        if tokio::time::timeout(Duration::from_secs(20), closed).await.is_err() {
            println!("violation\t{} cannot close its session", self.name);
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = || {
        let [hosts, clients, timeout_ms, seed] = &arguments[..] else { return None };
        Some((
            Rc::from(hosts.as_str()),
            clients.parse::<u64>().ok()?,
            timeout_ms.parse().ok()?,
            seed.parse::<u64>().ok()?,
        ))
    };
    let Some((hosts, clients, timeout_ms, seed)) = parsed() else {
        eprintln!("usage: recorder HOSTS CLIENTS TIMEOUT_MS SEED");
        std::process::exit(2);
    };
    let recorder = |number: u64| Recorder {
        name: format!("c{number}"),
        hosts: Rc::clone(&hosts),
        timeout: Duration::from_millis(timeout_ms),
        dice: Dice(seed.wrapping_mul(1000) + number),
        values: 0,
        number: 0,
        armed: None,
        mine: Vec::new(),
    };
    let local = tokio::task::LocalSet::new();
    let tasks: Vec<_> = (0..clients).map(|number| local.spawn_local(recorder(number).run())).collect();
    std::thread::spawn(take_orders);
    local
        .run_until(async {
            for task in tasks {
                task.await.expect("a client does not panic");
            }
        })
        .await;
    println!("ended");
}

fn take_orders() {
    for line in std::io::stdin().lines() {
        match line.as_deref() {
            Ok("rest") => PHASE.store(REST, Ordering::Relaxed),
            Ok("end") => PHASE.store(END, Ordering::Relaxed),
            other => println!("violation\tan order that is none: {other:?}"),
        }
    }
    // Whoever started this is gone.
    std::process::exit(1);
}
