//! Jute values off the front of bytes that may not all be there yet: links between members carry bare records, no
//! frame says in advance how long one is.

use super::Malformed;

/// Why a value could not be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// With at least this many bytes from where the [`Partial`] began, it is worth another try.
    Bytes(usize),
    Malformed(Malformed),
}

impl From<Malformed> for Lack {
    fn from(fault: Malformed) -> Lack {
        Lack::Malformed(fault)
    }
}

/// Takes values as [`Reader`](super::Reader) does, and tells what is cut off from what is wrong.
#[derive(Clone, Debug)]
pub struct Partial<'a> {
    bytes: &'a [u8],
    at: usize,
    field_bytes_max: usize,
}

impl<'a> Partial<'a> {
    /// Strings and buffers longer than `field_bytes_max` are malformed: nobody waits for them.
    pub fn new(bytes: &'a [u8], field_bytes_max: usize) -> Partial<'a> {
        Partial { bytes, at: 0, field_bytes_max }
    }

    /// Bytes taken so far.
    pub fn taken(&self) -> usize {
        self.at
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Lack> {
        let array = self.bytes[self.at..].first_chunk::<N>().ok_or(Lack::Bytes(self.at + N))?;
        self.at += N;
        Ok(*array)
    }

    pub fn i32(&mut self) -> Result<i32, Lack> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, Lack> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A buffer or a string's bytes; `None` is null.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, Lack> {
        let length = match self.i32()? {
            -1 => return Ok(None),
            length => usize::try_from(length).map_err(|_| Malformed("negative length"))?,
        };
        if length > self.field_bytes_max {
            return Err(Malformed("field longer than jute.maxbuffer allows").into());
        }
        let end = self.at.saturating_add(length);
        let bytes = self.bytes.get(self.at..end).ok_or(Lack::Bytes(end))?;
        self.at = end;
        Ok(Some(bytes))
    }

    /// A string where null makes no sense.
    pub fn text(&mut self) -> Result<&'a [u8], Lack> {
        self.buffer()?.ok_or(Lack::Malformed(Malformed::NULL_STRING))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_from_what_is_wrong() {
        let bytes = [0, 0, 0, 3, b'a', b'b', b'c', 0xff, 0xff, 0xff, 0xff];
        let mut whole = Partial::new(&bytes, 3);
        assert_eq!((whole.text(), whole.buffer(), whole.taken()), (Ok(&b"abc"[..]), Ok(None), 11));
        assert_eq!(whole.i64(), Err(Lack::Bytes(19)));
        assert_eq!(Partial::new(&bytes[..2], 3).buffer(), Err(Lack::Bytes(4)));
        assert_eq!(Partial::new(&bytes[..6], 3).buffer(), Err(Lack::Bytes(7)));
        assert!(matches!(Partial::new(&bytes[..4], 2).buffer(), Err(Lack::Malformed(_))));
        assert!(matches!(Partial::new(&[0xff, 0xff, 0xff, 0xfe], 2).buffer(), Err(Lack::Malformed(_))));
        assert_eq!(Partial::new(&bytes[7..], 2).text(), Err(Lack::Malformed(Malformed::NULL_STRING)));
    }
}
