//! What is asked: the workloads, encoded in advance where they can be.
//!
//! Every request of a plain workload is a template that lies ready in one table; to send it means to copy it and
//! to write the xid into it (and, for paths that must be new, sixteen digits). Nothing is encoded while measuring.
//! A mix, whose requests differ in length, is encoded as it goes (`mix`).

use super::mix::{Mix, Own};
use super::{BenchArgs, Workload, wire};

/// Reads and writes are counted and timed apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Read = 0,
    Write = 1,
}

/// What a request was, so that its reply can be judged and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    pub kind: Kind,
    /// The header of a multi's reply does not tell its failure: its body is to be looked into.
    pub multi: bool,
}

impl Asked {
    pub const READ: Asked = Asked { kind: Kind::Read, multi: false };
    pub const WRITE: Asked = Asked { kind: Kind::Write, multi: false };
}

/// A small generator of random numbers (xorshift64*): the choice of keys must cost next to nothing.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which must fit 32 bits.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound <= 1 << 32);
        ((self.next() >> 32) * bound) >> 32
    }

    /// A number from `min` to `max`, both included.
    #[inline]
    pub fn within(&mut self, min: u64, max: u64) -> u64 {
        min + self.below(max - min + 1)
    }
}

/// Frames of equal length, one per key.
#[derive(Default)]
struct Table {
    bytes: Vec<u8>,
    stride: usize,
    /// Where the sixteen digits of a new path lie in each frame; 0 if there are none.
    digits_at: usize,
}

impl Table {
    fn build(keys: usize, mut encode: impl FnMut(usize, &mut Vec<u8>)) -> Self {
        let mut bytes = Vec::new();
        for key in 0..keys {
            encode(key, &mut bytes);
        }
        assert!(keys > 0 && bytes.len() % keys == 0, "templates of one table have one length");
        let stride = bytes.len() / keys;
        Table { bytes, stride, digits_at: 0 }
    }

    /// Finds the placeholder of new paths, which is the same place in every frame.
    fn with_digits(mut self) -> Self {
        let frame = &self.bytes[..self.stride];
        self.digits_at = frame.windows(16).position(|w| w == PLACEHOLDER).expect("a placeholder in the template");
        self
    }

    #[inline]
    fn copy(&self, key: usize, xid: i32, out: &mut Vec<u8>) -> usize {
        let at = out.len();
        out.extend_from_slice(&self.bytes[key * self.stride..(key + 1) * self.stride]);
        out[at + wire::XID_AT..at + wire::XID_AT + 4].copy_from_slice(&xid.to_be_bytes());
        at
    }

    #[inline]
    fn copy_new_path(&self, key: usize, xid: i32, name: u64, out: &mut Vec<u8>) {
        let at = self.copy(key, xid, out) + self.digits_at;
        for (place, byte) in out[at..at + 16].iter_mut().enumerate() {
            *byte = b"0123456789abcdef"[((name >> (60 - 4 * place)) & 15) as usize];
        }
    }
}

const PLACEHOLDER: &[u8; 16] = b"################";

/// A workload, ready to be sent.
pub enum Plan {
    Templates(Templates),
    Mix(Mix),
}

impl Plan {
    /// The longest request, in bytes: what one outstanding request may need in a buffer.
    pub fn request_bytes_max(&self) -> usize {
        match self {
            Plan::Templates(templates) => templates.request_bytes_max(),
            Plan::Mix(mix) => mix.request_bytes_max(),
        }
    }

    /// How requests that could never be sent are counted: as what most of the workload is.
    pub fn usual_kind(&self) -> Kind {
        match self {
            Plan::Templates(templates) => templates.usual_kind(),
            Plan::Mix(mix) => mix.usual_kind(),
        }
    }

    /// What a connection keeps for itself, the `number`th of the run.
    pub fn own(&self, number: u32) -> Own {
        match self {
            Plan::Templates(_) => Own::new(number),
            Plan::Mix(mix) => mix.own(number),
        }
    }

    /// Appends the next request of a connection and says what it was.
    #[inline]
    pub fn next(&self, rng: &mut Rng, own: &mut Own, xid: i32, out: &mut Vec<u8>) -> Asked {
        match self {
            Plan::Templates(templates) => templates.next(rng, own.conn, own.step, xid, out),
            Plan::Mix(mix) => mix.next(rng, own, xid, out),
        }
    }
}

/// A workload of requests that differ in their key alone.
pub struct Templates {
    workload: Workload,
    reads: Table,
    writes: Table,
    deletes: Table,
    /// A 32-bit random number below this is a write (mixed only).
    write_below: u64,
    keys: usize,
}

/// Printable bytes without an obvious pattern, so that no server gains by compressing them.
pub fn value(bytes: usize) -> Vec<u8> {
    let mut rng = Rng::new(1);
    (0..bytes).map(|_| b'!' + (rng.next() >> 32) as u8 % 94).collect()
}

/// The path of key number `key` below `root`; all keys have paths of one length.
pub fn key_path(root: &str, key: usize) -> String {
    format!("{root}/k{key:07}")
}

impl Templates {
    pub fn new(args: &BenchArgs, root: &str) -> Templates {
        let (keys, data) = (args.keys, value(args.value_bytes));
        let path = |key: usize| key_path(root, key);
        let fresh = |key: usize| format!("{}/{}", path(key), std::str::from_utf8(PLACEHOLDER).expect("ASCII"));
        let read_op = match args.workload {
            Workload::Exists => wire::op::EXISTS,
            Workload::List => wire::op::GET_CHILDREN2,
            _ => wire::op::GET_DATA,
        };
        let reads = Table::build(keys, |key, out| wire::read(out, 0, read_op, &path(key), false));
        let writes = match args.workload {
            Workload::Create | Workload::Churn => {
                Table::build(keys, |key, out| wire::create(out, 0, &fresh(key), &data)).with_digits()
            }
            Workload::Multi => Table::build(keys, |key, out| {
                wire::multi(out, 0, &path((key + 1) % keys), &path(key), &data);
            }),
            _ => Table::build(keys, |key, out| wire::set_data(out, 0, &path(key), &data)),
        };
        let deletes = match args.workload {
            Workload::Churn => Table::build(keys, |key, out| wire::delete(out, 0, &fresh(key))).with_digits(),
            _ => Table::default(),
        };
        let write_below = ((1u64 << 32) as f64 / (args.read_ratio + 1.0)) as u64;
        Templates { workload: args.workload, reads, writes, deletes, write_below, keys }
    }

    fn request_bytes_max(&self) -> usize {
        self.reads.stride.max(self.writes.stride).max(self.deletes.stride)
    }

    fn usual_kind(&self) -> Kind {
        match self.workload {
            Workload::Read | Workload::Exists | Workload::List | Workload::Mixed => Kind::Read,
            _ => Kind::Write,
        }
    }

    #[inline]
    fn next(&self, rng: &mut Rng, conn: u32, step: u64, xid: i32, out: &mut Vec<u8>) -> Asked {
        let random = rng.next();
        let key = (((random >> 32) * self.keys as u64) >> 32) as usize;
        let name = |step: u64| (u64::from(conn) << 44) | step;
        match self.workload {
            Workload::Read | Workload::Exists | Workload::List => {
                self.reads.copy(key, xid, out);
                Asked::READ
            }
            Workload::Mixed if (random & 0xffff_ffff) >= self.write_below => {
                self.reads.copy(key, xid, out);
                Asked::READ
            }
            Workload::Multi => {
                self.writes.copy(key, xid, out);
                Asked { multi: true, ..Asked::WRITE }
            }
            Workload::Create => {
                self.writes.copy_new_path(key, xid, name(step), out);
                Asked::WRITE
            }
            // A connection's requests are served in order, so the delete always finds what was created.
            Workload::Churn => {
                let home = conn as usize % self.keys;
                let table = if step.is_multiple_of(2) { &self.writes } else { &self.deletes };
                table.copy_new_path(home, xid, name(step / 2), out);
                Asked::WRITE
            }
            // Mixed and Write. The published mixes never come here: they are no templates.
            _ => {
                self.writes.copy(key, xid, out);
                Asked::WRITE
            }
        }
    }
}
