//! Where the kernel puts what the ring receives: buffers it picks by itself from a ring that is shared with it.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The group's number among those of the ring; there is no other.
pub const GROUP: u16 = 0;
/// Few enough to stay in the processor's cache together, more than are usually filled before we look again.
const COUNT: u16 = 256;
const BYTES: usize = 4096;

#[repr(C, align(4096))]
struct Entries([BufRingEntry; COUNT as usize]);

pub struct Buffers {
    /// Shared with the kernel, which reads the entries and fills the bytes; allocated once and never freed.
    entries: *mut BufRingEntry,
    bytes: *mut u8,
    /// Entries ever given to the kernel; what lies before the tail published last is the kernel's.
    tail: u16,
}

impl Buffers {
    /// Registers the group, all of it the kernel's to fill.
    pub fn register(submitter: &Submitter<'_>) -> io::Result<Buffers> {
        // SAFETY: the entries are structs of integers, for which all zeros is a valid value.
        let entries = Box::leak(unsafe { Box::<Entries>::new_zeroed().assume_init() });
        let bytes = Box::leak(vec![0; usize::from(COUNT) * BYTES].into_boxed_slice());
        let entries = (&raw mut entries.0).cast::<BufRingEntry>();
        // SAFETY: the entries begin at a page, are as many as said, and stay allocated for ever.
        unsafe { submitter.register_buf_ring_with_flags(entries as u64, COUNT, GROUP, 0)? };
        let mut buffers = Buffers { entries, bytes: bytes.as_mut_ptr(), tail: 0 };
        for number in 0..COUNT {
            buffers.give(number);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The first `count` bytes of a buffer that a completion has named.
    pub fn filled(&self, number: u16, count: usize) -> &[u8] {
        assert!(number < COUNT && count <= BYTES, "the kernel fills what it was given");
        // SAFETY: within the allocation, which lives for ever and was zeroed, so initialised. The kernel has handed the
        // buffer over and does not write to it until `give`, which takes `&mut self` and so ends this borrow.
        unsafe { std::slice::from_raw_parts(self.bytes.add(usize::from(number) * BYTES), count) }
    }

    /// Gives a buffer back, once its bytes were looked at; the kernel learns of it with `publish`.
    pub fn give(&mut self, number: u16) {
        assert!(number < COUNT);
        // SAFETY: both are within their allocations. The kernel does not look at an entry behind the published tail, and
        // no more than COUNT are ever given, so this one is behind it.
        unsafe {
            let entry = &mut *self.entries.add(usize::from(self.tail % COUNT));
            entry.set_addr(self.bytes.add(usize::from(number) * BYTES) as u64);
            entry.set_len(BYTES as u32);
            entry.set_bid(number);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    pub fn publish(&mut self) {
        // SAFETY: the tail is an aligned u16 inside the first entry, which nobody accesses meanwhile: the kernel reads it,
        // and `give` writes the entry's other fields only.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
