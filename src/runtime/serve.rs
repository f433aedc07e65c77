//! A server from its start to its end: probe, lock, boot, executors, signals, orderly stop.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use glommio::ExecutorJoinHandle;
use rustix::event::{EventfdFlags, eventfd};

use super::accept::{Acceptor, Admission, Arrival, Way, listen};
use super::chores::do_chores;
use super::clock;
use super::descriptors;
use super::disk::{DiskPort, DiskSettings};
use super::driver::{Driver, Post, ReplicaSide, ShardSide};
use super::epochs::{EpochPort, write_epochs};
use super::files::{DataDirs, LockError};
use super::host::Board;
use super::journal_thread::JournalThread;
use super::machines::{ReplicaMachine, ShardMachine};
use super::mailbox::{Inbox, mailbox};
use super::net::Net;
use super::peers::{self, BindError, Oracle, PeerListen, Peers, RETRY_PAUSE_MS, Resolver, Unbound, bind_all};
use super::placement::{self, Place, Queues};
use super::probe;
use super::signals::{StopSignals, Woken};
use super::stop::{Phase, Stop};
use super::stretches::Stretches;
use super::wake::Wake;
use crate::base::{Now, limits};
use crate::mail::{ToReplica, ToShard};
use crate::replica::{self, PeerPort};

/// Everything the driver must be told.
pub struct Setup {
    /// Exactly one hosts the replica; shards are numbered from 0 without gaps, each on one place.
    pub places: Vec<Place>,
    /// Client addresses; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    pub backlog: i32,
    pub keepalive: bool,
    pub admission: Arc<dyn Admission>,
    pub data_dir: PathBuf,
    pub data_log_dir: PathBuf,
    pub force_sync: bool,
    /// `fsync.warningthresholdms`.
    pub slow_write_ms: u64,
    /// How long an executor that has its CPU to itself looks for news before it sleeps.
    pub spin_micros: u64,
    /// Where the replica looks for news of the machine.
    pub host: Arc<Board>,
    /// `None`: there are no other members.
    pub peers: Option<PeerSetup>,
}

/// How a member of an ensemble is reached by the others.
pub struct PeerSetup {
    pub listen: Vec<PeerListen>,
    /// Attempts to bind each; 0 = for ever (`electionPortBindRetry`).
    pub bind_attempts: u32,
    /// SO_KEEPALIVE on connections between members (`tcpKeepAlive`).
    pub keepalive: bool,
    /// The file that says whether this one of two voters may go on without the other (`oraclePath`).
    pub oracle: Option<PathBuf>,
}

/// The machines as the boot made them.
pub struct Booted<S, R> {
    pub replica: R,
    /// In the order of their numbers.
    pub shards: Vec<S>,
    /// What the replica wants first.
    pub says: replica::Effects,
}

/// Why a server did not start, or did not go on.
#[derive(Debug)]
pub enum ServeError {
    /// io_uring is refused; the text says what to change.
    NoRing(String),
    Listen {
        address: SocketAddr,
        error: io::Error,
    },
    /// A port for the other members cannot be bound.
    PeerListen(Unbound),
    Lock(LockError),
    /// The data could not be read; the text names the file.
    Boot(String),
    /// An executor could not start.
    Start(String),
    /// The server stopped itself: its disk failed.
    Halted(String),
    /// The orderly stop hung; whatever was acknowledged is on disk.
    StopTimedOut,
    /// A second signal during the orderly stop; whatever was acknowledged is on disk.
    StopInterrupted,
}

impl ServeError {
    /// As Apache's (parity PX-01): 3 for a data directory that cannot be used, 14 for a port for members (CF-52), 1 for
    /// the rest; never 0 (UB-19).
    pub fn exit_code(&self) -> u8 {
        match self {
            ServeError::Lock(_) | ServeError::Boot(_) => 3,
            ServeError::PeerListen(_) => 14,
            _ => 1,
        }
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::NoRing(advice) => f.write_str(advice),
            ServeError::Listen { address, error } => {
                let what = match error.kind() {
                    io::ErrorKind::AddrInUse => "another program listens there (clientPort, clientPortAddress)",
                    io::ErrorKind::AddrNotAvailable => "this machine does not have that address (clientPortAddress)",
                    io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
                    _ => return write!(f, "cannot listen on {address}: {error}"),
                };
                write!(f, "cannot listen on {address}: {what}")
            }
            ServeError::PeerListen(unbound) => {
                let Unbound { listen, error } = unbound;
                let host = listen.host.as_deref().unwrap_or("*");
                write!(
                    f,
                    "cannot listen on {host}:{} for other members: {error}; this server's own server.N line must name \
                     an address of this machine and ports that are free (or set quorumListenOnAllIPs=true)",
                    listen.number
                )
            }
            ServeError::Lock(error) => error.fmt(f),
            ServeError::Boot(what) | ServeError::Start(what) => f.write_str(what),
            ServeError::Halted(why) => write!(f, "the server stopped: {why}"),
            ServeError::StopTimedOut => {
                write!(f, "the orderly stop took longer than {} s and was cut short", STOP_MS / 1000)
            }
            ServeError::StopInterrupted => {
                f.write_str("a second signal cut the orderly stop short; whatever was acknowledged is on disk")
            }
        }
    }
}

impl std::error::Error for ServeError {}

/// An orderly stop that takes longer is hung (a disk that does not answer).
const STOP_MS: u64 = 10_000;

/// Runs a server until SIGINT, SIGTERM or a fault. Call it from the first thread, before any other exists.
///
/// `boot` reads the data and makes the machines; `ready` is told the addresses once clients are served.
pub fn serve<S: ShardMachine, R: ReplicaMachine>(
    setup: Setup,
    boot: impl FnOnce(&DataDirs, Now) -> Result<Booted<S, R>, String>,
    ready: impl FnOnce(&[SocketAddr]),
) -> Result<(), ServeError> {
    let signals = StopSignals::take().map_err(|error| ServeError::Start(format!("cannot take signals: {error}")))?;
    let descriptors = descriptors::make_room();
    probe::io_uring().map_err(ServeError::NoRing)?;
    let dirs = DataDirs::new(&setup.data_dir, &setup.data_log_dir);
    let _lock = dirs.lock().map_err(ServeError::Lock)?;
    let mut listeners = Vec::new();
    for &address in &setup.listen {
        let listener = listen(address, setup.backlog, setup.keepalive);
        listeners.push(listener.map_err(|error| ServeError::Listen { address, error })?);
    }
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let doors = match bind_for_peers(&setup, &signals)? {
        Some(doors) => doors,
        None => return Ok(()), // Told to stop while it waited for a port.
    };
    if !setup.force_sync {
        tracing::warn!("forceSync=no: what clients are told is written may be lost when the machine loses power");
    }
    let booted = boot(&dirs, clock::now()).map_err(ServeError::Boot)?;
    let disk =
        DiskSettings { dirs, force_sync: setup.force_sync, slow_write: Duration::from_millis(setup.slow_write_ms) };
    let plan = Plan::draw(&setup, booted, listeners, doors, disk, descriptors)
        .map_err(|error| ServeError::Start(error.to_string()))?;
    let stop = plan.stop.clone();
    let threads = plan.start()?;
    let ended = wait_for_end(&signals, &stop, || {
        banner(&setup, &addresses);
        ready(&addresses);
    });
    if matches!(ended, Err(ServeError::StopTimedOut | ServeError::StopInterrupted)) {
        return ended; // Their threads may hang; joining them would, too.
    }
    for thread in threads {
        let _ = thread.join();
    }
    ended
}

/// Binds the ports for other members; `None` when a signal came first.
fn bind_for_peers(setup: &Setup, signals: &StopSignals) -> Result<Option<Doors>, ServeError> {
    let Some(peers) = &setup.peers else { return Ok(Some(Vec::new())) };
    let never = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| ServeError::Start(error.to_string()))?;
    let pause = || matches!(signals.wait(&never, Some(RETRY_PAUSE_MS)), Ok(Woken::TimedOut));
    match bind_all(&peers.listen, peers.bind_attempts, pause) {
        Ok(doors) => {
            for (port, listener) in &doors {
                if let Ok(address) = listener.local_addr() {
                    tracing::info!("listening for members on {address} ({port:?})");
                }
            }
            Ok(Some(doors))
        }
        Err(BindError::Interrupted) => Ok(None),
        Err(BindError::Failed(unbound)) => Err(ServeError::PeerListen(unbound)),
    }
}

/// `serving` is called once, when the first client may come; never if the end comes before.
fn wait_for_end(signals: &StopSignals, stop: &Stop, serving: impl FnOnce()) -> Result<(), ServeError> {
    let failed = |error: io::Error| ServeError::Halted(format!("cannot wait for signals: {error}"));
    let mut serving = Some(serving);
    while !stop.has_ended() {
        if signals.wait(&stop.bell, None).map_err(failed)? == Woken::Signal {
            tracing::info!("stopping: no new connections, what was taken in is being written");
            stop.enter(Phase::Quieting);
            wait_for_rest(signals, stop)?;
            break;
        }
        stop.hear();
        if stop.phase() == Phase::Running
            && let Some(serving) = serving.take()
        {
            serving();
        }
    }
    match stop.why() {
        Some(why) => Err(ServeError::Halted(why)),
        None => Ok(()),
    }
}

/// The orderly stop: until the last executor has ended, [`STOP_MS`] are over or somebody asks again.
fn wait_for_rest(signals: &StopSignals, stop: &Stop) -> Result<(), ServeError> {
    let failed = |error: io::Error| ServeError::Halted(format!("cannot wait for signals: {error}"));
    let since = clock::now().mono;
    while !stop.has_ended() {
        let left_ms = STOP_MS.saturating_sub(clock::now().mono.millis_since(since));
        match signals.wait(&stop.bell, Some(left_ms as i64)).map_err(failed)? {
            Woken::Other => stop.hear(),
            Woken::Signal => return Err(ServeError::StopInterrupted),
            Woken::TimedOut => return Err(ServeError::StopTimedOut),
        }
    }
    Ok(())
}

fn banner(setup: &Setup, addresses: &[SocketAddr]) {
    let addresses = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    let places = setup.places.iter().map(Place::name).collect::<Vec<_>>().join(" ");
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data = %setup.data_dir.display(),
        cores = %places,
        "serving clients on {addresses}"
    );
}

/// Machines and mailboxes, dealt to the places before any thread starts.
struct Plan<S, R> {
    stop: Arc<Stop>,
    seats: Vec<Seat<S, R>>,
}

/// The listeners for other members.
type Doors = Vec<(PeerPort, TcpListener)>;

/// What the replica's executor needs to make its [`Peers`].
struct PeerSeat {
    doors: Doors,
    resolver: Resolver,
    stretches: Stretches,
    oracle: Option<Oracle>,
    keepalive: bool,
}

/// The replica, its ways from and to the shards, its disk's settings and journal, and what the boot wants.
type ReplicaSeat<R> = (R, Vec<Inbox<ToReplica>>, Vec<Post<ToShard>>, DiskSettings, JournalThread, replica::Effects);

/// What one executor's thread takes with it.
struct Seat<S, R> {
    place: Place,
    shard: Option<ShardSide<S>>,
    replica: Option<ReplicaSeat<R>>,
    wake: Arc<Wake>,
    spin_micros: u64,
    host: Arc<Board>,
    peers: Option<PeerSeat>,
}

impl<S: ShardMachine, R: ReplicaMachine> Plan<S, R> {
    fn draw(
        setup: &Setup,
        booted: Booted<S, R>,
        listeners: Vec<TcpListener>,
        doors: Doors,
        disk: DiskSettings,
        descriptors: u64,
    ) -> io::Result<Plan<S, R>> {
        let places = &setup.places;
        let shard_count = booted.shards.len();
        let replica_at = places.iter().position(|place| place.replica).expect("one place hosts the replica");
        assert_eq!(places.iter().filter(|place| place.replica).count(), 1, "one place hosts the replica");
        let at: Vec<usize> = (0..shard_count)
            .map(|shard| {
                places.iter().position(|place| place.shard == Some(shard as u16)).expect("every shard has a place")
            })
            .collect();
        let wakes = places.iter().map(|_| Wake::new()).collect::<io::Result<Vec<_>>>()?;
        let stop = Stop::new(wakes.clone(), shard_count)?;
        let loads: Vec<Arc<AtomicUsize>> = at.iter().map(|_| Arc::default()).collect();

        let mut seats: Vec<Seat<S, R>> = Vec::new();
        for (place, wake) in places.iter().zip(&wakes) {
            let spin_micros = if place.may_spin { setup.spin_micros } else { 0 };
            seats.push(Seat {
                place: *place,
                shard: None,
                replica: None,
                wake: wake.clone(),
                spin_micros,
                host: setup.host.clone(),
                peers: None,
            });
        }
        let (mut from_shards, mut to_shards) = (Vec::new(), Vec::new());
        let mut ways = Vec::new();
        for (shard, machine) in booted.shards.into_iter().enumerate() {
            let seat = at[shard];
            let (to_replica, from_replica) = if seat == replica_at {
                to_shards.push(Post::Here);
                (Post::Here, None)
            } else {
                let (up, up_end) = mailbox(limits::MAILBOX_MESSAGES, &wakes[seat], &wakes[replica_at]);
                let (down, down_end) = mailbox(limits::MAILBOX_MESSAGES, &wakes[replica_at], &wakes[seat]);
                from_shards.push(up_end);
                to_shards.push(Post::There(down));
                (Post::There(up), Some(down_end))
            };
            let arrivals = if seat == at[0] {
                ways.push(Way::Here);
                None
            } else {
                let (out, end) = mailbox::<Arrival>(limits::MAILBOX_MESSAGES, &wakes[at[0]], &wakes[seat]);
                ways.push(Way::There(out));
                Some(end)
            };
            let net = Net::new(setup.admission.clone(), loads[shard].clone());
            seats[seat].shard = Some(ShardSide { machine, net, arrivals, acceptor: None, to_replica, from_replica });
        }
        let mut acceptor = Acceptor::new(listeners, ways, loads, setup.admission.clone(), descriptors)?;
        if setup.peers.is_some() {
            acceptor.keep_back(peers::DESCRIPTORS_MAX);
        }
        seats[at[0]].shard.as_mut().expect("placed above").acceptor = Some(acceptor);
        let journal = JournalThread::start(disk.clone(), wakes[replica_at].clone())?;
        let dirs = disk.dirs.clone();
        seats[replica_at].replica = Some((booted.replica, from_shards, to_shards, disk, journal, booted.says));
        if let Some(peers) = &setup.peers {
            let resolver = Resolver::start(wakes[replica_at].clone())?;
            let stretches = Stretches::start(dirs, wakes[replica_at].clone())?;
            let path = peers.oracle.clone();
            let oracle = path.map(|path| Oracle::start(path, wakes[replica_at].clone())).transpose()?;
            seats[replica_at].peers = Some(PeerSeat { doors, resolver, stretches, oracle, keepalive: peers.keepalive });
        }
        Ok(Plan { stop, seats })
    }

    /// Starts every executor and waits until each runs.
    fn start(self) -> Result<Vec<ExecutorJoinHandle<()>>, ServeError> {
        let (told, hear) = mpsc::channel();
        let count = self.seats.len();
        let mut threads = Vec::new();
        for seat in self.seats {
            let (stop, told, place) = (self.stop.clone(), told.clone(), seat.place);
            let started = placement::start(&place, move || run(seat, stop, told));
            threads.push(started.map_err(|error| ServeError::NoRing(probe::advice(&error)))?);
        }
        drop(told);
        // Each executor says so when it runs; one that fails drops its end of the channel instead.
        if hear.iter().take(count).count() == count {
            return Ok(threads);
        }
        self.stop.halt("an executor did not start".to_owned());
        let failures = threads.into_iter().filter_map(|thread| thread.join().err());
        let advice = failures.map(|error| probe::advice(&error.into())).next();
        Err(ServeError::NoRing(advice.unwrap_or_else(|| self.stop.why().unwrap_or_default())))
    }
}

/// An executor's main task.
async fn run<S: ShardMachine, R: ReplicaMachine>(seat: Seat<S, R>, stop: Arc<Stop>, told: mpsc::Sender<()>) {
    let queues = Queues::create();
    spawn(placement::heartbeat(), queues.chores);
    let mut boot = replica::Effects::default();
    let mut replica = None;
    let (mut peers, mut stretches) = (None, None);
    if let (Some(seat), Some((_, _, _, settings, _, _))) = (seat.peers, &seat.replica) {
        let epochs = Rc::new(EpochPort::default());
        spawn(write_epochs(epochs.clone(), settings.dirs.snapshot_folder().to_path_buf()), queues.chores);
        peers = Some(Peers::new(seat.doors, seat.resolver, epochs, seat.oracle, seat.keepalive));
        stretches = Some(seat.stretches);
    }
    if let Some((machine, from_shards, to_shards, settings, journal, effects)) = seat.replica {
        let disk = Rc::new(DiskPort::new(journal));
        let dirs = settings.dirs.clone();
        spawn(do_chores(disk.clone(), settings), queues.chores);
        boot = effects;
        replica = Some(ReplicaSide { machine, from_shards, to_shards, disk, dirs, host: seat.host, peers, stretches });
    }
    match Driver::new(seat.shard, replica, seat.wake, stop.clone(), seat.spin_micros) {
        Ok(driver) => {
            let turns = glommio::spawn_local_into(driver.run(boot), queues.turns).expect("the queue was just made");
            let _ = told.send(());
            drop(told);
            turns.await;
        }
        Err(error) => stop.halt(format!("an executor did not start: {error}")),
    }
    stop.executor_ended();
}

fn spawn(task: impl Future<Output = ()> + 'static, queue: glommio::TaskQueueHandle) {
    glommio::spawn_local_into(task, queue).expect("the queue was just made").detach();
}
