//! Executors and their queues: which thread runs where, and who goes first on it.

use std::future::Future;
use std::io;
use std::time::Duration;

use glommio::{ExecutorJoinHandle, Latency, LocalExecutorBuilder, Placement, PoolPlacement, Shares, TaskQueueHandle};

/// One executor: a thread, and what it hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// `None` lets the kernel choose.
    pub cpu: Option<usize>,
    pub replica: bool,
    pub shard: Option<u16>,
    /// No other executor is on this CPU, so looking for news a while before sleeping takes time from nobody.
    pub may_spin: bool,
}

impl Place {
    /// As the banner and thread names have it: `replica+shard0@cpu1`.
    pub fn name(&self) -> String {
        let replica = self.replica.then(|| "replica".to_owned());
        let shard = self.shard.map(|shard| format!("shard{shard}"));
        let hosts = replica.into_iter().chain(shard).collect::<Vec<_>>().join("+");
        self.cpu.map(|cpu| format!("{hosts}@cpu{cpu}")).unwrap_or(hosts)
    }
}

/// The task queues of an executor.
///
/// None is `Latency::Matters`, on purpose. That would arm a short preempt timer, and glommio 0.9.0 goes to sleep
/// with tasks ready to run when that timer fires between its look at the ring and its first task (the thread lost
/// its CPU for a moment): `run_task_queues` then reports that nothing ran, and the executor parks, for ever if
/// nothing else is under way. The rule exists for wakes from other cores, and ours do not come through glommio:
/// they come through an eventfd, as readiness of a descriptor.
pub struct Queues {
    /// The driver's turns: acks and clients. It hears other cores and the ring.
    pub turns: TaskQueueHandle,
    /// Snapshots, segments, deletions.
    pub chores: TaskQueueHandle,
}

impl Queues {
    /// Within an executor only.
    pub fn create() -> Queues {
        let executor = glommio::executor();
        Queues {
            turns: executor.create_task_queue(Shares::Static(1000), Latency::NotImportant, "turns"),
            chores: executor.create_task_queue(Shares::Static(50), Latency::NotImportant, "chores"),
        }
    }
}

/// Requests the ring takes at once; ours are few (one sleep, one timer), and the rings' memory counts per executor.
const RING_DEPTH: usize = 128;

/// Memory registered with the ring. The least there is: containers allow 8 MiB of locked memory for all executors.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// Longer than any pause of a thread or machine, for the reason told at [`Queues`]. Tasks here give way by themselves.
const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);

/// A timer that always runs, so that an executor which went to sleep wrongly sleeps no longer than this.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Beats for as long as its executor runs.
pub async fn heartbeat() {
    loop {
        glommio::timer::sleep(HEARTBEAT).await;
    }
}

/// Starts an executor on a thread of its own.
///
/// Errors: the thread or (by the handle's join) the ring could not be made.
pub fn start<F, T>(place: &Place, main: impl FnOnce() -> F + Send + 'static) -> io::Result<ExecutorJoinHandle<T>>
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let pinned = place.cpu.map_or(Placement::Unbound, Placement::Fixed);
    let builder = LocalExecutorBuilder::new(pinned)
        .name(&place.name())
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT_TIMER)
        // Blocking file work must not sit on the executor's own CPU behind the executor.
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1));
    builder.spawn(main).map_err(io::Error::from)
}
