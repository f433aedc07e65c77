//! Apache's three containers of a snapshot: plain, gzip, and the stream format of snappy-java.

use std::io::{self, BufReader, Read};
use std::path::Path;

/// Opens a snapshot file by its last extension, as Apache does.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = std::fs::File::open(path)?;
    let file = BufReader::with_capacity(1 << 18, file);
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some("snappy") => Box::new(Snappy::new(file)?),
        _ => Box::new(file),
    })
}

const SNAPPY_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// snappy-java compresses 32 KiB at a time; anything much larger is not from it.
const SNAPPY_BLOCK_BYTES_MAX: usize = 64 << 20;

/// Blocks of {length u32 big-endian, raw snappy}; behind each other to the end of the file.
struct Snappy<R> {
    source: R,
    block: Vec<u8>,
    at: usize,
    decoder: snap::raw::Decoder,
}

impl<R: Read> Snappy<R> {
    fn new(mut source: R) -> io::Result<Snappy<R>> {
        let mut header = [0; 16];
        source.read_exact(&mut header)?;
        if header != SNAPPY_HEADER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no stream of snappy-java's"));
        }
        Ok(Snappy { source, block: Vec::new(), at: 0, decoder: snap::raw::Decoder::new() })
    }

    /// False at the end of the file.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut length = [0; 4];
        if self.source.read(&mut length[..1])? == 0 {
            return Ok(false);
        }
        self.source.read_exact(&mut length[1..])?;
        let length = u32::from_be_bytes(length) as usize;
        if length > SNAPPY_BLOCK_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a snappy block of {length} bytes")));
        }
        let mut packed = Vec::new();
        (&mut self.source).take(length as u64).read_to_end(&mut packed)?;
        if packed.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The block claims how long it will be; that much memory is taken for it.
        if snap::raw::decompress_len(&packed).map_err(io::Error::other)? > SNAPPY_BLOCK_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a snappy block that claims to unpack to too much"));
        }
        self.block = self.decoder.decompress_vec(&packed).map_err(io::Error::other)?;
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for Snappy<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..][..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snappy_stream_is_its_blocks() {
        let mut stream = SNAPPY_HEADER.to_vec();
        for block in [&b"hello "[..], &[b'x'; 40_000]] {
            let packed = snap::raw::Encoder::new().compress_vec(block).unwrap();
            stream.extend((packed.len() as u32).to_be_bytes());
            stream.extend(packed);
        }
        let mut plain = Vec::new();
        Snappy::new(&stream[..]).unwrap().read_to_end(&mut plain).unwrap();
        assert_eq!(plain.len(), 40_006);
        assert!(plain.starts_with(b"hello x"));
        stream.pop();
        assert!(Snappy::new(&stream[..]).unwrap().read_to_end(&mut Vec::new()).is_err());
        assert!(Snappy::new(&b"\x82SNAPPY\0\0\0\0\x02\0\0\0\x01"[..]).is_err());
    }
}
