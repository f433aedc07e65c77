//! Requests in, replies out, and which replies wait for the disk.

use ringkeeper::bench::answers::Answers;
use ringkeeper::bench::wire::{self, op};

use super::disk::Batch;

/// One client among all that ever were: a slot is used again, a generation is not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Id {
    pub slot: u32,
    pub generation: u32,
}

/// The clients by slot. `L` is what the engine keeps of each.
pub struct Clients<L> {
    slots: Vec<Option<Client<L>>>,
    generation: u32,
    open: usize,
}

pub struct Client<L> {
    pub link: L,
    generation: u32,
    greeted: bool,
    /// The beginning of a frame whose rest has not come yet.
    partial: Vec<u8>,
    replies: Vec<u8>,
    /// Bytes of `replies` that have been sent.
    sent: usize,
    /// Where in `replies` the first reply begins that waits for the batch on its way to the disk, and the first
    /// that waits for the batch after it. Replies leave in order, so these hold back all that follow.
    in_flight: Option<usize>,
    gathered: Option<usize>,
}

/// A frame longer than this is a broken stream.
const FRAME_BYTES_MAX: usize = 4 << 20;
/// Sent bytes in front of held ones are cut off once they are this many.
const CUT_BYTES: usize = 64 << 10;

impl<L> Clients<L> {
    pub fn new() -> Clients<L> {
        Clients { slots: Vec::new(), generation: 0, open: 0 }
    }

    pub fn insert(&mut self, slot: u32, link: L) -> Id {
        let place = slot as usize;
        if self.slots.len() <= place {
            self.slots.resize_with(place + 1, || None);
        }
        self.generation += 1;
        self.open += 1;
        let client = Client {
            link,
            generation: self.generation,
            greeted: false,
            partial: Vec::new(),
            replies: Vec::new(),
            sent: 0,
            in_flight: None,
            gathered: None,
        };
        assert!(self.slots[place].replace(client).is_none(), "slot {slot} still has a client");
        Id { slot, generation: self.generation }
    }

    pub fn get(&mut self, id: Id) -> Option<&mut Client<L>> {
        self.slots.get_mut(id.slot as usize)?.as_mut().filter(|client| client.generation == id.generation)
    }

    pub fn remove(&mut self, id: Id) -> Option<Client<L>> {
        self.get(id)?;
        self.open -= 1;
        self.slots[id.slot as usize].take()
    }

    pub fn open(&self) -> usize {
        self.open
    }
}

impl<L> Client<L> {
    /// Answers every complete frame; the bytes of writes go into `batch`. Returns whether this client waits for
    /// `batch` now and did not before, or `None` for what is no client.
    pub fn take(&mut self, bytes: &[u8], answers: &Answers, batch: &mut Batch) -> Option<bool> {
        let waited = self.gathered.is_some();
        if self.partial.is_empty() {
            let used = self.answer(bytes, answers, batch)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(bytes);
            let used = self.answer(&joined, answers, batch)?;
            joined.drain(..used);
            self.partial = joined;
        }
        Some(self.gathered.is_some() && !waited)
    }

    /// Returns how many bytes were complete frames.
    fn answer(&mut self, bytes: &[u8], answers: &Answers, batch: &mut Batch) -> Option<usize> {
        let mut at = 0;
        while bytes.len() - at >= 4 {
            let length = usize::try_from(wire::int_at(bytes, at)).ok().filter(|length| *length <= FRAME_BYTES_MAX)?;
            let Some(frame) = bytes.get(at + 4..at + 4 + length) else { break };
            at += 4 + length;
            let start = self.replies.len();
            if !self.greeted {
                self.greeted = true;
                self.replies.extend_from_slice(answers.greeting());
                continue;
            }
            if frame.len() < 8 {
                return None;
            }
            let op = wire::int_at(frame, 4);
            self.replies.extend_from_slice(answers.to(op));
            self.replies[start + wire::XID_AT..start + wire::XID_AT + 4].copy_from_slice(&frame[..4]);
            if matches!(op, op::SET_DATA | op::CREATE | op::DELETE | op::MULTI) {
                batch.push(frame);
                self.gathered.get_or_insert(start);
            }
        }
        Some(at)
    }

    /// The batch it waits for has left for the disk.
    pub fn depart(&mut self) {
        self.in_flight = self.gathered.take();
    }

    /// The batch that had left is durable.
    pub fn land(&mut self) {
        self.in_flight = None;
    }

    /// What may be sent now.
    pub fn sendable(&self) -> &[u8] {
        &self.replies[self.sent..self.held_at()]
    }

    fn held_at(&self) -> usize {
        self.in_flight.or(self.gathered).unwrap_or(self.replies.len())
    }

    /// Notes that the first `count` bytes of what was sendable are sent.
    pub fn note_sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.replies.len() {
            self.replies.clear();
            self.sent = 0;
        } else if self.sent >= CUT_BYTES {
            self.replies.drain(..self.sent);
            for held in [&mut self.in_flight, &mut self.gathered].into_iter().flatten() {
                *held -= self.sent;
            }
            self.sent = 0;
        }
    }
}
