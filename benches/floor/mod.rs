//! The floor, measured beside the servers: what clients and disk cost when nothing is done between them.
//!
//! It takes the bytes of requests from sockets, makes the bytes of writes durable in groups, and sends replies that
//! are always the same. It keeps no tree, no sessions and no watches, checks nothing and recovers nothing; so no
//! server that does all this on the same kernel can be much faster, and how far one is from here is what its own
//! work costs. Two engines, because nobody knows in advance which way through the kernel is shorter.
//!
//!     clients   requests in, replies out, and which replies wait for the disk
//!     commit    writes that become durable together
//!     disk      a file prepared once, and the thread that writes it
//!     epoll     one receive and one send per client and turn
//!     uring     one system call per turn
//!     buffers   where the kernel puts what the ring receives
//!
//! `versus` starts it as `versus floor --engine epoll --port 2181 --file PATH`.

mod buffers;
mod clients;
mod commit;
mod disk;
mod epoll;
mod uring;

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use ringkeeper::bench::answers::Answers;
use socket2::SockRef;

/// Bytes of data in each znode the floor pretends to have: what the generator writes unless told otherwise.
const VALUE_BYTES: usize = 100;

/// The way through the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Engine {
    Epoll,
    Uring,
}

#[derive(Clone, Debug, clap::Args)]
pub struct FloorArgs {
    /// The way through the kernel
    #[arg(long, value_enum)]
    engine: Engine,
    /// Port of 127.0.0.1 to serve
    #[arg(long)]
    port: u16,
    /// File to write to; made anew
    #[arg(long)]
    file: PathBuf,
    /// Microseconds to look for work before sleeping
    #[arg(long, default_value_t = 0)]
    spin_us: u64,
}

/// Serves until it is killed.
pub fn run(args: &FloorArgs) -> Result<(), String> {
    // Or accepting the first thousand clients takes as long as the kernel needs to enlarge its table.
    ringkeeper::runtime::make_room();
    let disk = disk::Disk::start(&args.file).map_err(|e| format!("{}: {e}", args.file.display()))?;
    let listen = || {
        let listener = TcpListener::bind(("127.0.0.1", args.port))?;
        // What it accepts inherits the option.
        SockRef::from(&listener).set_tcp_nodelay(true)?;
        Ok(listener)
    };
    let listener = listen().map_err(|e: std::io::Error| format!("port {}: {e}", args.port))?;
    let (commit, answers) = (commit::Commit::new(disk), Answers::new(VALUE_BYTES));
    let spin = Duration::from_micros(args.spin_us);
    match args.engine {
        Engine::Epoll => epoll::serve(listener, commit, &answers, spin),
        Engine::Uring => uring::serve(listener, commit, &answers, spin),
    }
    .map_err(|e| format!("floor on {:?}: {e}", args.engine))
}
