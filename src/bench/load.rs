//! The load itself: threads that each own some connections and turn one epoll loop around them.
//!
//! Closed loop: every answer is followed by the next request on the same connection, and all that one read
//! answered goes out again in one write. Open loop: requests are due at fixed times, whatever the server
//! does, and latency counts from when a request was due, so that a stalled server cannot make its stall
//! look like a single slow request (coordinated omission). Whatever was due in the window counts, even if it is
//! answered after it or was never sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::beside::{Disturbance, Done};
use super::conn::{Conn, READ_BYTES_MIN};
use super::plan::{Plan, Rng};
use super::tally::{Counted, Tally};
use super::{BenchArgs, session, system};

/// How long a server may keep silent with requests on their way before the run fails.
const SILENCE_MAX: u64 = 30_000_000_000;
/// How long after the end of the window the last answers may come.
const DRAIN_MAX: u64 = 30_000_000_000;
/// How often idle connections and silence are looked at.
const HOUSEKEEPING: u64 = 500_000_000;

/// What a load thread needs besides its connections.
struct Task {
    plan: Arc<Plan>,
    base: Instant,
    /// The end of the window; nothing is sent after it.
    end: u64,
    outstanding: usize,
    /// Open loop: nanoseconds between two requests of this thread.
    interval: Option<f64>,
    /// Open loop: when this thread's first request is due.
    first_due: f64,
    cpu: Option<usize>,
    /// A disturbance works on the same processors.
    is_disturbed: bool,
    seed: u64,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    /// The thread's id, once it runs.
    thread_id: Arc<AtomicU32>,
}

/// What came out of a run.
pub struct Outcome {
    pub tally: Tally,
    /// Length of the window in seconds.
    pub seconds: f64,
    /// CPU seconds per second of the servers, over the window; resident bytes at its end.
    pub server: Option<(f64, u64)>,
    /// CPU seconds per second of the load threads, over the window.
    pub own_cpu: f64,
    pub beside: Option<Done>,
}

/// Opens the connections, runs warm-up and window, and returns what was measured.
/// What the plan asks for must have been prepared below `root`.
pub fn run(args: &BenchArgs, root: &str, plan: Plan) -> Result<Outcome, String> {
    let servers = session::resolve(args.server())?;
    let cpus = args.cpus()?;
    let plan = Arc::new(plan);
    let disturbance = args.beside.map(|what| Disturbance::prepare(what, args, root)).transpose()?;
    let opened = session::open_many(&servers, args.connections(), args.session_timeout_ms(), |_| {})?;
    let mut conns: Vec<Vec<Conn>> = (0..args.threads).map(|_| Vec::new()).collect();
    for (id, one) in opened.into_iter().enumerate() {
        let conn = Conn::new(one.stream, one.timeout_ms, id as u32, args.outstanding(), &plan)?;
        conns[id % args.threads].push(conn);
    }
    let (begin, end) = (args.warmup().as_nanos() as u64, (args.warmup() + args.duration()).as_nanos() as u64);
    let by = if args.rate.is_some() { Counted::ByDue } else { Counted::ByAnswer };
    let answered = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let base = Instant::now();
    let mut threads = Vec::new();
    let mut thread_ids = Vec::new();
    for (number, conns) in conns.into_iter().enumerate() {
        let interval = args.rate.map(|rate| 1e9 * args.threads as f64 / rate);
        let task = Task {
            plan: plan.clone(),
            base,
            end,
            outstanding: args.outstanding(),
            interval,
            first_due: interval.unwrap_or(0.0) * number as f64 / args.threads as f64,
            cpu: (!cpus.is_empty()).then(|| cpus[number % cpus.len()]),
            is_disturbed: disturbance.is_some(),
            seed: number as u64 + 1,
            answered: answered.clone(),
            stop: stop.clone(),
            thread_id: Arc::default(),
        };
        thread_ids.push(task.thread_id.clone());
        let mut tally = Tally::new(begin, end, by);
        threads.push(std::thread::spawn(move || drive(conns, &task, &mut tally).map(|()| tally)));
    }
    let window = (base + args.warmup(), base + args.warmup() + args.duration());
    let beside = disturbance.map(|disturbance| disturbance.start(window.0, window.1, stop.clone()));
    let samples = supervise(args, base, &threads, &thread_ids, &answered);
    // Should this thread have failed (a wrong pid), the others need not go on.
    stop.store(samples.is_err(), Ordering::Relaxed);
    let mut total = Tally::new(begin, end, by);
    let tallies: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
    stop.store(true, Ordering::Relaxed);
    let beside = beside.map(JoinHandle::join);
    for tally in tallies {
        total.merge(&tally.map_err(|_| "a load thread died")??);
    }
    let beside = beside.map(|done| done.map_err(|_| "the disturbance died")?).transpose()?;
    let (first, last) = samples?;
    let seconds = args.duration().as_secs_f64();
    let span = (last.at - first.at).as_secs_f64();
    let server = first.server.zip(last.server).map(|(a, b)| ((b.0 - a.0) / span, b.1));
    Ok(Outcome { tally: total, seconds, server, own_cpu: (last.own_cpu - first.own_cpu) / span, beside })
}

struct Sample {
    at: Instant,
    /// CPU seconds and resident bytes of the servers.
    server: Option<(f64, u64)>,
    own_cpu: f64,
}

impl Sample {
    fn take(args: &BenchArgs, thread_ids: &[Arc<AtomicU32>]) -> Result<Sample, String> {
        let pids = &args.server_pid;
        let server = match pids.is_empty() {
            true => None,
            false => Some((system::cpu_seconds(pids)?, system::resident_bytes(pids)?)),
        };
        // A thread that has failed is gone, and its failure is what will be reported.
        let own_cpu =
            thread_ids.iter().filter_map(|id| system::thread_cpu_seconds(id.load(Ordering::Relaxed)).ok()).sum();
        Ok(Sample { at: Instant::now(), server, own_cpu })
    }
}

/// Waits through warm-up and window, tells the progress, and samples processes at both ends.
fn supervise<T>(
    args: &BenchArgs,
    base: Instant,
    threads: &[JoinHandle<T>],
    thread_ids: &[Arc<AtomicU32>],
    answered: &AtomicU64,
) -> Result<(Sample, Sample), String> {
    let wait_until = |when: Duration| {
        let mut told = (base.elapsed(), answered.load(Ordering::Relaxed));
        while base.elapsed() < when && !threads.iter().any(JoinHandle::is_finished) {
            std::thread::sleep((when - base.elapsed().min(when)).min(Duration::from_millis(200)));
            let now = base.elapsed();
            if now - told.0 >= Duration::from_secs(2) {
                let count = answered.load(Ordering::Relaxed);
                let rate = (count - told.1) as f64 / (now - told.0).as_secs_f64();
                let phase = if now < args.warmup() { "warming up" } else { "measuring" };
                let whole = (args.warmup() + args.duration()).as_secs();
                args.progress(&format!("{phase}, {} s of {whole}: {rate:.0} operations/s", now.as_secs()));
                told = (now, count);
            }
        }
    };
    wait_until(args.warmup());
    let first = Sample::take(args, thread_ids)?;
    wait_until(args.warmup() + args.duration());
    Ok((first, Sample::take(args, thread_ids)?))
}

/// The loop of one thread.
fn drive(mut conns: Vec<Conn>, task: &Task, tally: &mut Tally) -> Result<(), String> {
    task.thread_id.store(system::thread_id(), Ordering::Relaxed);
    if let Some(cpu) = task.cpu {
        system::pin_to(cpu)?;
    }
    let base = task.base;
    let clock = || base.elapsed().as_nanos() as u64;
    let mut poll = Poll::new().map_err(|e| format!("epoll: {e}"))?;
    let mut events = Events::with_capacity(1024);
    let mut inbuf = vec![0; 4 * READ_BYTES_MIN];
    let mut rng = Rng::new(task.seed);
    for (number, conn) in conns.iter_mut().enumerate() {
        conn.register(poll.registry(), Token(number))?;
    }
    let mut open = task.interval.map(|interval| OpenLoop::new(interval, task, conns.len()));
    if open.is_none() {
        let now = clock();
        for conn in &mut conns {
            for _ in 0..task.outstanding {
                conn.issue(&task.plan, &mut rng, now);
            }
            conn.flush(poll.registry(), now)?;
        }
    }
    let (mut last_answer, mut next_look) = (clock(), 0);
    loop {
        let mut now = clock();
        if now >= task.end || task.stop.load(Ordering::Relaxed) {
            break;
        }
        if let Some(open) = &mut open {
            open.issue_due(now, &mut conns, task, &mut rng, poll.registry())?;
        }
        let patience = open.as_ref().map_or(Duration::from_millis(100), |open| open.patience(clock()));
        if task.is_disturbed && patience.is_zero() {
            std::thread::yield_now();
        }
        wait(&mut poll, &mut events, patience)?;
        for event in &events {
            let number = event.token().0;
            let conn = &mut conns[number];
            if event.is_writable() && conn.has_unwritten() {
                conn.flush(poll.registry(), clock())?;
            }
            if !event.is_readable() {
                continue;
            }
            let count = conn.receive(&mut inbuf, event.is_read_closed(), clock, tally)?;
            if count == 0 {
                continue;
            }
            now = clock();
            last_answer = now;
            match &mut open {
                Some(open) => open.free(number, count),
                None if now < task.end => {
                    for _ in 0..count {
                        conn.issue(&task.plan, &mut rng, now);
                    }
                    conn.flush(poll.registry(), now)?;
                }
                None => {}
            }
        }
        task.answered.store(tally.total, Ordering::Relaxed);
        if now >= next_look {
            next_look = now + HOUSEKEEPING;
            look_after(&mut conns, &poll, now, last_answer)?;
        }
    }
    if let Some(open) = &open {
        open.count_unsent(task, tally);
    }
    drain(conns, poll, events, inbuf, task, tally)
}

fn wait(poll: &mut Poll, events: &mut Events, patience: Duration) -> Result<(), String> {
    match poll.poll(events, Some(patience)) {
        Err(e) if e.kind() != std::io::ErrorKind::Interrupted => Err(format!("epoll: {e}")),
        _ => Ok(()),
    }
}

/// Pings idle sessions; fails if the server owes answers and keeps silent.
fn look_after(conns: &mut [Conn], poll: &Poll, now: u64, last_answer: u64) -> Result<(), String> {
    let mut waiting = false;
    for conn in conns {
        waiting |= conn.in_flight() > 0;
        conn.ping_if_idle(poll.registry(), now)?;
    }
    if waiting && now.saturating_sub(last_answer) > SILENCE_MAX {
        return Err("the server has answered nothing for 30 s".into());
    }
    Ok(())
}

/// Takes the last answers, so that a request which is never answered makes the run fail, and closes.
fn drain(
    mut conns: Vec<Conn>,
    mut poll: Poll,
    mut events: Events,
    mut inbuf: Vec<u8>,
    task: &Task,
    tally: &mut Tally,
) -> Result<(), String> {
    let clock = || task.base.elapsed().as_nanos() as u64;
    let mut owed: usize = conns.iter().map(Conn::in_flight).sum();
    let deadline = clock() + DRAIN_MAX;
    while owed > 0 && !task.stop.load(Ordering::Relaxed) {
        if clock() > deadline {
            return Err(format!("{owed} requests were never answered"));
        }
        wait(&mut poll, &mut events, Duration::from_millis(100))?;
        for event in &events {
            let conn = &mut conns[event.token().0];
            if event.is_writable() && conn.has_unwritten() {
                conn.flush(poll.registry(), clock())?;
            }
            if event.is_readable() {
                owed -= conn.receive(&mut inbuf, event.is_read_closed(), clock, tally)?;
            }
        }
    }
    for conn in conns {
        conn.close(poll.registry());
    }
    Ok(())
}

/// The timetable of an open loop.
struct OpenLoop {
    interval: f64,
    next_due: f64,
    /// Connections that may take a request, one entry for each they may take; oldest first.
    slots: VecDeque<u32>,
    /// Connections with bytes to hand over, and whether each is in the list.
    dirty: Vec<u32>,
    is_dirty: Vec<bool>,
}

impl OpenLoop {
    fn new(interval: f64, task: &Task, conns: usize) -> Self {
        let slots = (0..task.outstanding).flat_map(|_| 0..conns as u32).collect();
        let dirty = Vec::with_capacity(conns);
        OpenLoop { interval, next_due: task.first_due, slots, dirty, is_dirty: vec![false; conns] }
    }

    /// Sends what is due, as far as connections are free.
    fn issue_due(
        &mut self,
        now: u64,
        conns: &mut [Conn],
        task: &Task,
        rng: &mut Rng,
        registry: &mio::Registry,
    ) -> Result<(), String> {
        while self.next_due <= now as f64 {
            let Some(number) = self.slots.pop_front() else { break };
            conns[number as usize].issue(&task.plan, rng, self.next_due as u64);
            self.next_due += self.interval;
            if !std::mem::replace(&mut self.is_dirty[number as usize], true) {
                self.dirty.push(number);
            }
        }
        for number in self.dirty.drain(..) {
            self.is_dirty[number as usize] = false;
            conns[number as usize].flush(registry, now)?;
        }
        Ok(())
    }

    fn free(&mut self, number: usize, count: usize) {
        for _ in 0..count {
            self.slots.push_back(number as u32);
        }
    }

    /// How long epoll may sleep. It counts in milliseconds, so the last one is spent awake.
    fn patience(&self, now: u64) -> Duration {
        if self.slots.is_empty() {
            return Duration::from_millis(100);
        }
        let ahead = (self.next_due - now as f64).max(0.0) as u64;
        Duration::from_millis((ahead / 1_000_000).min(100))
    }

    /// Requests due before the end of the window that never found a free connection.
    fn count_unsent(&self, task: &Task, tally: &mut Tally) {
        let mut due = self.next_due;
        while due < task.end as f64 {
            tally.never_sent(task.plan.usual_kind(), due as u64);
            due += self.interval;
        }
    }
}
