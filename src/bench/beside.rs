//! What disturbs the load while it is measured: a thread with connections of its own, which are not counted.
//!
//! It begins with the window that counts and shares the load threads' processors, so that the server is not
//! robbed of its own. The two give way to each other all the time: else the load would wait for the generator's scheduler, up to
//! 4 ms each time, and that would look like the server's tail. The disturbance rests between its turns, and the report says how
//! much processor time it took.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::measure::create_all;
use super::session::{self, Opened, Session};
use super::{BenchArgs, Beside, plan, system, wire};

/// The most connections that a disturbance has.
pub const CONNECTIONS_MAX: usize = STORM_CLIENTS + 1;

const STORM_CLIENTS: usize = 1000;
/// Just below what a request may be (jute.maxbuffer is a mebibyte).
const BIG_BYTES: usize = 900_000;
const LIST_NAMES: u64 = 100_000;
/// Together more than the kernel buffers, so that the server is left with most of it.
const UNREAD_REPLIES: i32 = 64;

/// A disturbance whose znodes are there.
pub struct Disturbance {
    what: Beside,
    servers: Vec<SocketAddr>,
    path: String,
    cpu: Option<usize>,
}

/// What a disturbance did.
pub struct Done {
    pub what: String,
    pub times: u64,
    pub slowest: Duration,
    /// CPU seconds per second of its thread.
    pub cpu: f64,
}

impl Disturbance {
    /// Makes the znodes it needs below `root`, which exists.
    pub fn prepare(what: Beside, args: &BenchArgs, root: &str) -> Result<Disturbance, String> {
        let servers = session::resolve(args.server())?;
        let path = format!("{root}/beside");
        let mut session = Session::open(&servers, 30_000)?;
        let bytes = if what == Beside::SilentReader { BIG_BYTES } else { 0 };
        create_all(&mut session, 1, |_| path.clone(), &plan::value(bytes))?;
        if what == Beside::BigList {
            create_all(&mut session, LIST_NAMES, |number| format!("{path}/name-{number:08}"), b"")?;
        }
        session.close()?;
        Ok(Disturbance { what, servers, path, cpu: args.cpus()?.first().copied() })
    }

    /// Works from `begin` to `end` on a thread of its own, or until told to stop.
    pub fn start(self, begin: Instant, end: Instant, stop: Arc<AtomicBool>) -> JoinHandle<Result<Done, String>> {
        std::thread::spawn(move || {
            let name = clap::ValueEnum::to_possible_value(&self.what).expect("no value is hidden");
            let what = name.get_name().to_string();
            self.work(what.clone(), begin, end, &stop).map_err(|e| format!("{what}: {e}"))
        })
    }

    fn work(self, what: String, begin: Instant, end: Instant, stop: &AtomicBool) -> Result<Done, String> {
        if let Some(cpu) = self.cpu {
            system::pin_to(cpu)?;
        }
        let rest_until = |due: Instant| {
            while Instant::now() < due && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(due.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
            }
        };
        rest_until(begin);
        let mut done = Done { what, times: 0, slowest: Duration::ZERO, cpu: 0.0 };
        // Not earlier, lest it expire while the load warms up.
        let mut session = Session::open(&self.servers, 30_000)?;
        let data = plan::value(BIG_BYTES);
        let mut silent = None;
        let period = self.period();
        let mut due = begin;
        while due < end && !stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            match self.what {
                Beside::ConnectStorm => self.storm()?,
                Beside::BigWrites => self.answered(&mut session, |xid, out| {
                    wire::set_data(out, xid, &self.path, &data);
                })?,
                Beside::BigList => self.answered(&mut session, |xid, out| {
                    wire::read(out, xid, wire::op::GET_CHILDREN, &self.path, false);
                })?,
                Beside::SilentReader => silent = Some(self.ask_and_forget()?),
            }
            done.times += 1;
            done.slowest = done.slowest.max(start.elapsed());
            // What it could not do in time it does not make up for.
            due = (due + period).max(Instant::now());
            rest_until(due.min(end));
        }
        done.cpu = system::thread_cpu_seconds(system::thread_id())? / begin.elapsed().as_secs_f64();
        drop(silent);
        session.close()?;
        Ok(done)
    }

    fn period(&self) -> Duration {
        match self.what {
            Beside::ConnectStorm => Duration::from_secs(1),
            Beside::BigWrites => Duration::from_millis(250),
            Beside::BigList => Duration::from_millis(100),
            // Once is enough: it lasts. A day is longer than any run.
            Beside::SilentReader => Duration::from_secs(86_400),
        }
    }

    fn answered(&self, session: &mut Session, encode: impl Fn(i32, &mut Vec<u8>)) -> Result<(), String> {
        match session.call(encode)? {
            (0, _) => Ok(()),
            (err, _) => Err(wire::error_name(err).into()),
        }
    }

    fn storm(&self) -> Result<(), String> {
        session::close_all(session::open_batch(&self.servers, 0, STORM_CLIENTS, 30_000)?)
    }

    fn ask_and_forget(&self) -> Result<Opened, String> {
        use std::io::Write;
        let opened = session::open_batch(&self.servers, 0, 1, 30_000)?.remove(0);
        let mut requests = Vec::new();
        for xid in 1..=UNREAD_REPLIES {
            wire::read(&mut requests, xid, wire::op::GET_DATA, &self.path, false);
        }
        (&opened.stream).write_all(&requests).map_err(|e| format!("lost the connection: {e}"))?;
        Ok(opened)
    }
}
