//! The engine on io_uring: accept and receive are asked for once and answer many times, and all sends of a turn go to
//! the kernel with the one call that waits for the next turn.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use ringkeeper::bench::answers::Answers;

use super::buffers::{self, Buffers};
use super::clients::{Clients, Id};
use super::commit::Commit;

const ENTRIES: u32 = 1024;
const COMPLETIONS: u32 = 8192;
/// Descriptors that are the ring's own: it need not look up and count the process' for every request.
const CLIENTS_MAX: u32 = 16_384;
/// How long a turn's sends may hold up what comes after them, should one find its socket full.
const SEND_PATIENCE: Timespec = Timespec::new().nsec(1_000_000);

/// What a completion is about: the top byte of its user data, above the client's slot and generation.
const ABOUT: u64 = 0xff << 56;
const ACCEPT: u64 = 1 << 56;
const BELL: u64 = 2 << 56;
const RECEIVE: u64 = 3 << 56;
const SEND: u64 = 4 << 56;
/// Nothing depends on how it ends.
const FAREWELL: u64 = 5 << 56;

/// What this engine keeps of a client.
#[derive(Default)]
struct Link {
    /// What the kernel is sending; not to be touched until it says that it is done.
    out: Vec<u8>,
    sending: bool,
    /// The last receive is over: nothing comes any more.
    ended: bool,
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
    /// Sends submitted with the next call.
    sends: usize,
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
        sends: 0,
        bell_word: Box::default(),
    };
    engine.accept()?;
    engine.await_bell()?;
    let mut completions = Vec::with_capacity(COMPLETIONS as usize);
    loop {
        engine.wait(spin)?;
        completions.extend(engine.ring.completion());
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
        // SAFETY: what entries point at outlives their requests: the word of the bell lives as long as the ring, and
        // `Link::out` is neither changed nor dropped until its send is complete (`Link::sending`).
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
        // Sends complete at once while their sockets have room: that is not what to wake up for.
        let sends = std::mem::take(&mut self.sends);
        let (submitter, mut submission, mut completion) = self.ring.split();
        submission.sync();
        if !spin.is_zero() {
            submitter.submit()?;
            let start = Instant::now();
            while start.elapsed() < spin {
                completion.sync();
                if completion.len() > sends {
                    return Ok(());
                }
                if submission.taskrun() {
                    submitter.submit()?;
                }
                std::hint::spin_loop();
            }
        }
        let waited = match sends {
            0 => submitter.submit_and_wait(1),
            sends => submitter.submit_with_args(sends + 1, &SubmitArgs::new().timespec(&SEND_PATIENCE)),
        };
        match waited {
            Err(e) if ![libc::EINTR, libc::ETIME, libc::EBUSY].contains(&e.raw_os_error().unwrap_or(0)) => Err(e),
            _ => Ok(()),
        }
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
            SEND => self.sent(id(data), result),
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
        let Some(client) = self.clients.get(id) else { return Ok(()) };
        client.link.ended = true;
        if client.link.sending {
            return Ok(());
        }
        self.clients.remove(id);
        let entry = opcode::Close::new(Fixed(id.slot)).build();
        self.push(entry.user_data(user_data(FAREWELL, id)))
    }

    fn sent(&mut self, id: Id, result: i32) -> io::Result<()> {
        let Some(client) = self.clients.get(id) else { return Ok(()) };
        client.link.sending = false;
        client.link.out.clear();
        if client.link.ended {
            return self.end(id);
        }
        if result >= 0 {
            self.dirty.push(id);
        }
        Ok(())
    }

    /// Queues the sends of a turn.
    fn flush(&mut self) -> io::Result<()> {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let Some(client) = self.clients.get(id) else { continue };
            if client.link.sending || client.link.ended || client.sendable().is_empty() {
                continue;
            }
            let mut out = std::mem::take(&mut client.link.out);
            client.take_sendable(&mut out);
            // Asked to wait for all of it, the kernel goes on by itself after a part.
            let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
            let entry = opcode::Send::new(Fixed(id.slot), out.as_ptr(), out.len() as u32).flags(flags).build();
            client.link.out = out;
            client.link.sending = true;
            self.push(entry.user_data(user_data(SEND, id)))?;
            self.sends += 1;
        }
        self.dirty = dirty;
        Ok(())
    }
}
