//! Many small `Bytes` out of few allocations.

use bytes::{Bytes, BytesMut};

/// Encodes one thing after the other into memory they share. What is freed last keeps all of its chunk.
#[derive(Debug, Default)]
pub struct Chunks {
    scratch: Vec<u8>,
    chunk: BytesMut,
}

const CHUNK_BYTES: usize = 32 << 10;

/// From here on a thing gets memory of its own.
const LARGE_BYTES: usize = CHUNK_BYTES / 8;

impl Chunks {
    /// What `encode` appends to the empty vector it is given.
    pub fn bytes(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        self.scratch.clear();
        encode(&mut self.scratch);
        if self.scratch.len() >= LARGE_BYTES {
            return std::mem::take(&mut self.scratch).into();
        }
        if self.chunk.capacity() < self.scratch.len() {
            self.chunk = BytesMut::with_capacity(CHUNK_BYTES);
        }
        self.chunk.extend_from_slice(&self.scratch);
        self.chunk.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_bytes_whatever_their_size() {
        let mut chunks = Chunks::default();
        let lengths = [0, 1, 300, LARGE_BYTES - 1, LARGE_BYTES, 7, 2 * CHUNK_BYTES, 9].repeat(20);
        let made: Vec<Bytes> = lengths
            .iter()
            .enumerate()
            .map(|(at, length)| chunks.bytes(|out| out.extend(std::iter::repeat_n(at as u8, *length))))
            .collect();
        for (at, (bytes, length)) in made.iter().zip(lengths).enumerate() {
            assert!(bytes.len() == length && bytes.iter().all(|byte| *byte == at as u8), "{at}");
        }
    }

    #[test]
    fn small_ones_lie_side_by_side() {
        let mut chunks = Chunks::default();
        let [one, two] = [b"one", b"two"].map(|text| chunks.bytes(|out| out.extend_from_slice(text)));
        assert_eq!(one.as_ptr().wrapping_add(3), two.as_ptr());
    }
}
