//! The engine on io_uring: accept and receive are asked for once and answer many times, and all sends of a turn go to
//! the kernel with the one call that waits for the next turn.
//!
//! A send never waits (MSG_DONTWAIT) and says nothing when it has taken all its bytes, so that call wakes up for what
//! is new only, and when it returns all sends are over: the replies can be sent from where they are.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};
use ringkeeper::bench::answers::Answers;

use super::buffers::{self, Buffers};
use super::clients::{Clients, Id};
use super::commit::Commit;

const ENTRIES: u32 = 1024;
const COMPLETIONS: u32 = 8192;
/// Descriptors that are the ring's own: it need not look up and count the process' for every request.
const CLIENTS_MAX: u32 = 16_384;
/// What a completion is about: the top byte of its user data, above the client's slot and generation.
const ABOUT: u64 = 0xff << 56;
const ACCEPT: u64 = 1 << 56;
const BELL: u64 = 2 << 56;
const RECEIVE: u64 = 3 << 56;
const SEND: u64 = 4 << 56;
const ROOM: u64 = 5 << 56;
/// Nothing depends on how it ends.
const FAREWELL: u64 = 6 << 56;

/// What this engine keeps of a client.
#[derive(Default)]
struct Link {
    /// How many bytes the last send took, if not all.
    took: Option<usize>,
    /// Its socket is full; a poll tells when there is room.
    full: bool,
}

struct Engine<'a> {
    ring: IoUring,
    buffers: Buffers,
    listener: TcpListener,
    commit: Commit,
    answers: &'a Answers,
    clients: Clients<Link>,
    /// Clients that may have something to send.
    dirty: Vec<Id>,
    /// The sends of this turn, with their lengths.
    sends: Vec<(Id, usize)>,
    /// Where a read of the bell goes.
    bell_word: Box<[u8; 8]>,
}

/// Turns until something fails.
pub fn serve(listener: TcpListener, commit: Commit, answers: &Answers, spin: Duration) -> io::Result<()> {
    let ring = ring()?;
    ring.submitter().register_files_sparse(CLIENTS_MAX)?;
    let mut engine = Engine {
        buffers: Buffers::register(&ring.submitter())?,
        ring,
        listener,
        commit,
        answers,
        clients: Clients::new(),
        dirty: Vec::new(),
        sends: Vec::new(),
        bell_word: Box::default(),
    };
    engine.accept()?;
    engine.await_bell()?;
    let mut completions = Vec::with_capacity(COMPLETIONS as usize);
    loop {
        engine.wait(spin)?;
        completions.extend(engine.ring.completion());
        engine.settle_sends(&completions)?;
        for completion in completions.drain(..) {
            engine.complete(&completion)?;
        }
        engine.buffers.publish();
        engine.commit.depart(&mut engine.clients, &mut engine.dirty)?;
        engine.flush()?;
    }
}

/// A ring of one thread that runs the kernel's share of the work when it waits; a plain one before Linux 6.1.
fn ring() -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(COMPLETIONS).setup_submit_all();
    let mut one_thread = builder.clone();
    one_thread.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    one_thread.build(ENTRIES).or_else(|_| builder.build(ENTRIES))
}

const _: () = assert!(CLIENTS_MAX <= 1 << 24);

fn user_data(about: u64, id: Id) -> u64 {
    about | u64::from(id.slot) << 32 | u64::from(id.generation)
}

fn id(user_data: u64) -> Id {
    Id { slot: (user_data >> 32) as u32 & 0xff_ffff, generation: user_data as u32 }
}

impl Engine<'_> {
    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: what entries point at outlives their requests: the word of the bell lives as long as the ring. The replies of
        // a send lie still until it is over, which it is when it was submitted: between `flush` and `wait` nothing is changed.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).allocate_file_index(true).build();
        self.push(entry.user_data(ACCEPT))
    }

    fn await_bell(&mut self) -> io::Result<()> {
        let bell = Fd(self.commit.bell().as_raw_fd());
        let entry = opcode::Read::new(bell, self.bell_word.as_mut_ptr(), 8).build();
        self.push(entry.user_data(BELL))
    }

    fn receive(&mut self, id: Id) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fixed(id.slot), buffers::GROUP).build();
        self.push(entry.user_data(user_data(RECEIVE, id)))
    }

    /// Submits what was pushed and waits for something new, awake for as long as `spin`.
    fn wait(&mut self, spin: Duration) -> io::Result<()> {
        if !spin.is_zero() {
            self.ring.submit()?;
            let start = Instant::now();
            while start.elapsed() < spin {
                if !self.ring.completion().is_empty() {
                    return Ok(());
                }
                if self.ring.submission().taskrun() {
                    self.ring.submit()?;
                }
                std::hint::spin_loop();
            }
        }
        match self.ring.submit_and_wait(1) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
            _ => Ok(()),
        }
    }

    /// The sends of the turn are over. Only those that did not take everything have told so.
    fn settle_sends(&mut self, completions: &[cqueue::Entry]) -> io::Result<()> {
        for completion in completions.iter().filter(|completion| completion.user_data() & ABOUT == SEND) {
            if let Some(client) = self.clients.get(id(completion.user_data())) {
                client.link.took = Some(completion.result().max(0) as usize);
            }
        }
        let mut sends = std::mem::take(&mut self.sends);
        for (id, length) in sends.drain(..) {
            let Some(client) = self.clients.get(id) else { continue };
            let took = client.link.took.take();
            client.link.full = took.is_some();
            client.note_sent(took.unwrap_or(length));
            if client.link.full {
                let entry = opcode::PollAdd::new(Fixed(id.slot), libc::POLLOUT as u32).build();
                self.push(entry.user_data(user_data(ROOM, id)))?;
            }
        }
        self.sends = sends;
        Ok(())
    }

    fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let (data, result) = (completion.user_data(), completion.result());
        match data & ABOUT {
            ACCEPT => self.accepted(result, cqueue::more(completion.flags())),
            BELL => {
                self.commit.land(&mut self.clients, &mut self.dirty)?;
                self.await_bell()
            }
            RECEIVE => self.received(id(data), completion),
            ROOM => {
                if let Some(client) = self.clients.get(id(data)) {
                    client.link.full = false;
                    self.dirty.push(id(data));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn accepted(&mut self, result: i32, more: bool) -> io::Result<()> {
        if result >= 0 {
            let id = self.clients.insert(result as u32, Link::default());
            self.receive(id)?;
        } else {
            eprintln!("floor: a connection was not accepted: {}", io::Error::from_raw_os_error(-result));
        }
        if more { Ok(()) } else { self.accept() }
    }

    fn received(&mut self, id: Id, completion: &cqueue::Entry) -> io::Result<()> {
        let (result, more) = (completion.result(), cqueue::more(completion.flags()));
        if let Some(number) = cqueue::buffer_select(completion.flags()) {
            let bytes = self.buffers.filled(number, result.max(0) as usize);
            let is_request =
                self.clients.get(id).is_none_or(|client| self.commit.take(id, client, bytes, self.answers));
            self.buffers.give(number);
            self.dirty.push(id);
            if !is_request {
                let entry = opcode::Shutdown::new(Fixed(id.slot), libc::SHUT_RDWR).build();
                self.push(entry.user_data(user_data(FAREWELL, id)))?;
            }
        }
        match result > 0 || result == -libc::ENOBUFS {
            true if more => Ok(()),
            // It has answered as often as the kernel lets it, or there was no buffer; now there are some again.
            true => {
                self.buffers.publish();
                self.receive(id)
            }
            false => self.end(id),
        }
    }

    /// The client is gone.
    fn end(&mut self, id: Id) -> io::Result<()> {
        if self.clients.remove(id).is_some() {
            let entry = opcode::Close::new(Fixed(id.slot)).build();
            self.push(entry.user_data(user_data(FAREWELL, id)))?;
        }
        Ok(())
    }

    /// Queues the sends of a turn.
    fn flush(&mut self) -> io::Result<()> {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for id in dirty.drain(..) {
            let Some(client) = self.clients.get(id).filter(|client| !client.link.full) else { continue };
            let bytes = client.sendable();
            if bytes.is_empty() {
                continue;
            }
            // Asked to send all, the kernel takes less for a failure, and failures it tells.
            let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
            let entry = opcode::Send::new(Fixed(id.slot), bytes.as_ptr(), bytes.len() as u32).flags(flags).build();
            self.sends.push((id, bytes.len()));
            let entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
            self.push(entry.user_data(user_data(SEND, id)))?;
        }
        self.dirty = dirty;
        Ok(())
    }
}
