//! Chance from a seed, and the ways in which a good input goes bad.

/// splitmix64: small, and every seed is a good one.
pub struct Dice(u64);

/// Numbers at which length checks and sums break.
const EDGES: [i64; 22] = [
    0,
    1,
    -1,
    -2,
    2,
    4,
    127,
    128,
    255,
    256,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0xf_ffff,
    0x10_0000,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
    i64::MAX - 1,
];

impl Dice {
    pub fn new(seed: u64, stream: u64, case: u64) -> Dice {
        let mut dice = Dice(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.0 = dice.next() ^ case;
        dice.next();
        dice
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// 0 up to `end`, which is not reached; 0 if there is nothing below it.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// An edge half of the time, otherwise something small or anything at all.
    pub fn number(&mut self) -> i64 {
        match self.below(8) {
            0..4 => self.pick(&EDGES),
            4..7 => self.below(300) as i64 - 20,
            _ => self.next() as i64,
        }
    }

    pub fn bytes(&mut self, end: usize) -> Vec<u8> {
        (0..self.below(end)).map(|_| self.next() as u8).collect()
    }

    pub fn path(&mut self) -> &'static str {
        const PATHS: [&str; 20] = [
            "/",
            "/a",
            "/a/b",
            "/a/b/c",
            "/b",
            "/c",
            "/zookeeper",
            "/zookeeper/quota",
            "/zookeeper/config",
            "/zookeeper/quota/a/zookeeper_limits",
            "/zookeeper/quota/a",
            "",
            "a",
            "/a/",
            "//",
            "/a/./b",
            "/a/..",
            "/\0",
            "/\u{fffd}\u{7fe}",
            "/s-0000000001",
        ];
        PATHS[if self.one_in(3) { self.below(PATHS.len()) } else { self.below(9) }]
    }

    /// Does damage `bytes` up to `times` times.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, times: usize) {
        for _ in 0..=self.below(times) {
            self.mutate_once(bytes);
        }
    }

    fn mutate_once(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let end = at + self.below((bytes.len() - at).min(64) + 1);
        match self.below(10) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 if !bytes.is_empty() => bytes[at] = self.next() as u8,
            2 => drop(bytes.splice(at..at, self.bytes(20))),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.truncate(at),
            5 => {
                let piece = bytes[at..end].to_vec();
                let to = self.below(bytes.len());
                drop(bytes.splice(to..to, piece));
            }
            6 => {
                let piece = bytes[at..end].to_vec();
                let to = self.below(bytes.len() - piece.len() + 1);
                bytes[to..to + piece.len()].copy_from_slice(&piece);
            }
            7 => self.put_edge(bytes, at, 8),
            8 => self.put_edge(bytes, at, 4),
            _ => {
                let length = self.length_position(bytes, at);
                self.put_edge(bytes, length, 4);
            }
        }
    }

    fn put_edge(&mut self, bytes: &mut [u8], at: usize, width: usize) {
        let edge = self.pick(&EDGES).to_be_bytes();
        let room = width.min(bytes.len() - at);
        bytes[at..at + room].copy_from_slice(&edge[8 - width..][..room]);
    }

    /// The next place from `from` on whose four bytes could be the length of what follows.
    fn length_position(&self, bytes: &[u8], from: usize) -> usize {
        let is_length = |at: &usize| {
            let word = bytes[*at..].first_chunk().map(|word| u32::from_be_bytes(*word));
            word.is_some_and(|word| word > 0 && word as usize <= bytes.len() - at)
        };
        (from..bytes.len()).find(is_length).unwrap_or(from)
    }
}

/// Several byte strings as one: an input must be a single one, to be kept and replayed.
pub fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u32).to_be_bytes()[..], part].concat()).collect()
}

/// What [`join`] joined; stops where it is not such a thing.
pub fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((word, rest)) = bytes.split_first_chunk() {
        let Some((part, rest)) = rest.split_at_checked(u32::from_be_bytes(*word) as usize) else { break };
        parts.push(part);
        bytes = rest;
    }
    parts
}
