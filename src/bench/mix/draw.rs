//! The next request of a connection.
//!
//! Of the znodes that come and go, a connection reads and deletes those that it has created itself. Its requests
//! are carried out in order, so what it remembers is always there, without waiting for any answer. The znodes of
//! the setup stay, and all connections share them.

use super::compile::{Choice, Data, Mix, Op, Paths};
use super::setup::LETTERS;
use super::spec::Size;
use crate::bench::plan::{Asked, Rng};
use crate::bench::wire::{Ask, FrameWriter};

/// What a connection keeps for itself.
pub struct Own {
    /// Number among all connections of the run; part of the names of the znodes it creates.
    pub conn: u32,
    /// Requests it has issued.
    pub step: u64,
    /// Names it has given.
    named: u64,
    /// What it has created and not deleted.
    pools: Vec<Vec<Place>>,
    /// The path of the request that is being written.
    path: Vec<u8>,
}

impl Own {
    pub fn new(conn: u32) -> Own {
        Own { conn, step: 0, named: 0, pools: Vec::new(), path: Vec::new() }
    }
}

/// A znode: of the setup, or made by this connection, which remembers what its name was made of.
#[derive(Clone, Copy)]
enum Place {
    Setup(u32),
    Made { under: u32, name_length: u16, number: u64 },
}

impl Mix {
    /// What connection `conn` begins with: nothing created.
    pub fn own(&self, conn: u32) -> Own {
        Own { pools: vec![Vec::new(); self.pools], ..Own::new(conn) }
    }

    /// Appends the next request of a connection and says what it was.
    // Apart, so that the plain workloads' path, of which this is the other branch, stays small.
    #[inline(never)]
    pub fn next(&self, rng: &mut Rng, own: &mut Own, xid: i32, out: &mut Vec<u8>) -> Asked {
        // A pool is empty only until its create was chosen, and a create can always be asked.
        let chosen = self.requests.draw(rng, own).expect("a request that can be asked");
        let multi = match chosen {
            Op::Multi { op, size, parts } => {
                let frame = self.parts(rng, own, *size, parts, FrameWriter::request(out, xid, *op));
                frame.end_of_parts().finish();
                true
            }
            single => {
                self.ask(single, rng, own, |ask| ask.request(out, xid));
                false
            }
        };
        Asked { kind: chosen.kind(), multi }
    }

    fn parts<'a>(
        &self,
        rng: &mut Rng,
        own: &mut Own,
        size: Option<Size>,
        parts: &Choice,
        mut frame: FrameWriter<'a>,
    ) -> FrameWriter<'a> {
        match size {
            Some(size) => {
                for _ in 0..rng.within(size.min, size.max) {
                    let Some(part) = parts.draw(rng, own) else { break };
                    frame = self.ask(part, rng, own, |ask| frame.part(&ask));
                }
            }
            None => {
                for part in &parts.ops {
                    if part.can_be_asked(own) {
                        frame = self.ask(part, rng, own, |ask| frame.part(&ask));
                    }
                }
            }
        }
        frame
    }

    /// Settles path and value of one operation and hands it to `write`.
    fn ask<T>(&self, op: &Op, rng: &mut Rng, own: &mut Own, write: impl FnOnce(Ask<'_>) -> T) -> T {
        match op {
            Op::Create { under, name_length, data, remove_below, pool } => {
                if let Some(pool) = pool.map(|pool| &mut own.pools[pool])
                    && !pool.is_empty()
                    && rng.below(1 << 32) < *remove_below
                {
                    let place = pool.swap_remove(rng.below(pool.len() as u64) as usize);
                    self.spell(place, &mut own.path);
                    return write(Ask::Delete { path: &own.path });
                }
                let number = own.named * self.connections as u64 + u64::from(own.conn);
                own.named += 1;
                let name_length = rng.within(name_length.min, name_length.max) as u16;
                let under = under[rng.below(under.len() as u64) as usize];
                let place = Place::Made { under, name_length, number };
                if let Some(pool) = pool {
                    own.pools[*pool].push(place);
                }
                self.spell(place, &mut own.path);
                write(Ask::Create { path: &own.path, data: self.value(data, rng) })
            }
            Op::Set { at, data } => {
                self.spell(at.draw(rng, own), &mut own.path);
                write(Ask::SetData { path: &own.path, data: self.value(data, rng) })
            }
            Op::Read { op, at, watch_below } => {
                self.spell(at.draw(rng, own), &mut own.path);
                let watch = *watch_below > 0 && rng.below(1 << 32) < *watch_below;
                write(Ask::Read { op: *op, path: &own.path, watch })
            }
            Op::Multi { .. } => unreachable!("a multi is written part by part"),
        }
    }

    fn value<'a>(&'a self, data: &'a Data, rng: &mut Rng) -> &'a [u8] {
        match data {
            Data::Fixed(text) => text,
            Data::Noise(size) => {
                let bytes = rng.within(size.min, size.max) as usize;
                let at = rng.below((self.noise.len() - bytes) as u64) as usize;
                &self.noise[at..at + bytes]
            }
        }
    }

    fn spell(&self, place: Place, path: &mut Vec<u8>) {
        path.clear();
        match place {
            Place::Setup(number) => path.extend_from_slice(self.znodes[number as usize].path.as_bytes()),
            Place::Made { under, name_length, number } => {
                path.extend_from_slice(self.znodes[under as usize].path.as_bytes());
                path.push(b'/');
                spell_name(number, name_length, path);
            }
        }
    }
}

/// Appends name number `number` of a length: it looks random, and no two numbers have the same name as long as
/// so many names of this length exist.
pub(super) fn spell_name(number: u64, length: u16, out: &mut Vec<u8>) {
    // Ten digits hold more names than a run can use. An odd factor that 31 does not divide permutes them.
    const DIGITS: u16 = 10;
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15;
    let names = 62u128.pow(u32::from(length.min(DIGITS)));
    let mut digits = u128::from(number) * FACTOR % names;
    for _ in 0..length.min(DIGITS) {
        out.push(LETTERS[(digits % 62) as usize]);
        digits /= 62;
    }
    let mut rng = Rng::new(number);
    out.extend((DIGITS..length).map(|_| LETTERS[rng.below(62) as usize]));
}

impl Choice {
    /// Chooses an operation; the one behind it where the chosen one lacks znodes.
    fn draw(&self, rng: &mut Rng, own: &Own) -> Option<&Op> {
        let number = rng.below(*self.limits.last()?);
        let first = self.limits.partition_point(|limit| *limit <= number);
        self.ops[first..].iter().chain(&self.ops[..first]).find(|op| op.can_be_asked(own))
    }
}

impl Op {
    fn can_be_asked(&self, own: &Own) -> bool {
        match self {
            Op::Create { .. } => true,
            Op::Set { at, .. } | Op::Read { at, .. } => at.count(own) > 0,
            Op::Multi { parts, .. } => parts.ops.iter().any(|part| part.can_be_asked(own)),
        }
    }
}

impl Paths {
    fn count(&self, own: &Own) -> usize {
        self.fixed.len() + self.pools.iter().map(|pool| own.pools[*pool].len()).sum::<usize>()
    }

    /// One of the paths, of which there must be some.
    fn draw(&self, rng: &mut Rng, own: &Own) -> Place {
        let mut at = rng.below(self.count(own) as u64) as usize;
        if let Some(number) = self.fixed.get(at) {
            return Place::Setup(*number);
        }
        at -= self.fixed.len();
        for pool in &self.pools {
            match own.pools[*pool].get(at) {
                Some(place) => return *place,
                None => at -= own.pools[*pool].len(),
            }
        }
        unreachable!("a number below the count")
    }
}
