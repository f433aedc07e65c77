//! Jute primitives (parity J-01..J-23): big-endian numbers, length-prefixed strings and buffers, vectors.

use std::borrow::Cow;

use crate::base::{Acl, Id, SessionId, Stat, WallMs, Zxid};

/// Bytes that are not the record they were taken for. The text says which rule they break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed(pub &'static str);

impl Malformed {
    /// A string that must be there is null. Told apart because the reference notices it later than other
    /// faults, when the request has its zxid already.
    pub const NULL_STRING: Malformed = Malformed("null string");
    /// An ACL entry has a scheme but no id, which the reference notices later still.
    pub const NULL_ACL_ID: Malformed = Malformed("ACL entry without an id");
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// Takes jute values off the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    field_bytes_max: usize,
}

impl<'a> Reader<'a> {
    /// A reader that trusts the frame for its only bound: a field cannot be longer than what is left.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader::with_limit(bytes, usize::MAX)
    }

    /// As [`Reader::new`], refusing strings and buffers longer than `field_bytes_max` (parity J-11).
    pub fn with_limit(bytes: &'a [u8], field_bytes_max: usize) -> Reader<'a> {
        Reader { rest: bytes, field_bytes_max }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Exactly `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Malformed("record ends early"))?;
        self.rest = tail;
        Ok(head)
    }

    /// Whether these bytes come next; takes them if so.
    pub fn skip(&mut self, bytes: &[u8]) -> bool {
        let tail = self.rest.strip_prefix(bytes);
        self.rest = tail.unwrap_or(self.rest);
        tail.is_some()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Malformed("record ends early"))?;
        self.rest = tail;
        Ok(*head)
    }

    /// Any byte but 0 is true (parity J-02).
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.array::<1>()?[0] != 0)
    }

    pub fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A buffer; `None` is null, which is not the same as empty (parity J-07).
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("negative length"))?;
                if length > self.field_bytes_max {
                    return Err(Malformed("field longer than jute.maxbuffer allows"));
                }
                self.take(length).map(Some)
            }
        }
    }

    /// A string; malformed UTF-8 becomes U+FFFD as Java's decoder has it (parity J-13).
    pub fn string_or_null(&mut self) -> Result<Option<Cow<'a, str>>, Malformed> {
        Ok(self.buffer()?.map(decode_utf8))
    }

    /// A string where null makes no sense.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.string_or_null()?.ok_or(Malformed::NULL_STRING)
    }

    /// A vector's element count; `None` is null, any other negative count is empty (parity J-08).
    pub fn count(&mut self) -> Result<Option<usize>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            count => Ok(Some(usize::try_from(count).unwrap_or(0))),
        }
    }

    /// A vector of strings; a null one is malformed, and so is a null element.
    pub fn strings(&mut self) -> Result<Vec<Cow<'a, str>>, Malformed> {
        let count = self.count()?.ok_or(Malformed("null vector"))?;
        // A count is a claim; memory is only taken for what the bytes can hold (4 each at least).
        let mut strings = Vec::with_capacity(count.min(self.rest.len() / 4));
        for _ in 0..count {
            strings.push(self.string()?);
        }
        Ok(strings)
    }

    /// An ACL vector; `None` when it is null, an entry is `None` when no server takes it: its scheme is null, or
    /// its id is and the scheme has nobody to trip over that. The id of scheme `auth` is ignored by every server,
    /// so it may be null.
    pub fn acl(&mut self) -> Result<Option<Vec<Option<Acl>>>, Malformed> {
        let Some(count) = self.count()? else { return Ok(None) };
        let mut list = Vec::with_capacity(count.min(self.rest.len() / 12));
        for _ in 0..count {
            let perms = self.i32()?;
            let scheme = self.string_or_null()?;
            let id = self.string_or_null()?;
            list.push(match (scheme, id) {
                (None, _) => None,
                (Some(scheme), Some(id)) => Some(Acl { perms, id: Id::new(&scheme, &id) }),
                (Some(scheme), None) if scheme == "auth" => Some(Acl { perms, id: Id::new(&scheme, "") }),
                // ZK: PrepRequestProcessor.fixupACL looks into the ids of these, and into no others.
                (Some(scheme), None) if matches!(&*scheme, "world" | "digest" | "ip") => {
                    return Err(Malformed::NULL_ACL_ID);
                }
                (Some(_), None) => None,
            });
        }
        Ok(Some(list))
    }

    pub fn zxid(&mut self) -> Result<Zxid, Malformed> {
        self.i64().map(Zxid)
    }
}

/// Decodes as Java does: what is malformed becomes U+FFFD, and a surrogate's three bytes are malformed as one,
/// where Rust's own decoder sees three faults (parity J-13).
pub(crate) fn decode_utf8(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let (mut text, mut rest) = (String::with_capacity(bytes.len()), bytes);
    while let Err(fault) = std::str::from_utf8(rest) {
        let (good, bad) = rest.split_at(fault.valid_up_to());
        text.push_str(std::str::from_utf8(good).unwrap_or_default());
        text.push(char::REPLACEMENT_CHARACTER);
        let skipped = match bad {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
            _ => fault.error_len().unwrap_or(bad.len()),
        };
        rest = &bad[skipped..];
    }
    text.push_str(std::str::from_utf8(rest).unwrap_or_default());
    Cow::Owned(text)
}

/// Puts jute values at the end of a byte vector.
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    pub fn bool(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    pub fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.i32(-1),
            Some(bytes) => {
                self.i32(bytes.len() as i32);
                self.0.extend_from_slice(bytes);
            }
        }
    }

    /// A string in plain UTF-8, for all that must be read back the same: transactions, snapshots, peers. What Java's
    /// encoder makes of characters beyond the first plane (parity J-12) its own decoder does not give back (J-13).
    pub fn text(&mut self, value: &str) {
        self.buffer(Some(value.as_bytes()));
    }

    /// A string as Java's encoder writes it: per UTF-16 unit, so that a supplementary character takes two
    /// three-byte sequences (parity J-12).
    pub fn string(&mut self, value: &str) {
        if value.bytes().all(|byte| byte < 0xf0) {
            return self.buffer(Some(value.as_bytes()));
        }
        let mut encoded = Vec::with_capacity(value.len() + value.len() / 2);
        for c in value.chars() {
            if u32::from(c) < 0x1_0000 {
                encoded.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    encoded.extend_from_slice(&[
                        0xe0 | (*unit >> 12) as u8,
                        0x80 | (*unit >> 6 & 0x3f) as u8,
                        0x80 | (*unit & 0x3f) as u8,
                    ]);
                }
            }
        }
        self.buffer(Some(&encoded));
    }

    pub fn acl(&mut self, list: &[Acl]) {
        self.i32(list.len() as i32);
        for acl in list {
            self.i32(acl.perms);
            self.string(&acl.id.scheme);
            self.string(&acl.id.id);
        }
    }

    pub fn stat(&mut self, stat: &Stat) {
        let mut bytes = [0u8; STAT_BYTES];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(&stat.czxid.0.to_be_bytes());
        put(&stat.mzxid.0.to_be_bytes());
        put(&stat.ctime.0.to_be_bytes());
        put(&stat.mtime.0.to_be_bytes());
        put(&stat.version.to_be_bytes());
        put(&stat.cversion.to_be_bytes());
        put(&stat.aversion.to_be_bytes());
        put(&stat.ephemeral_owner.0.to_be_bytes());
        put(&stat.data_length.to_be_bytes());
        put(&stat.num_children.to_be_bytes());
        put(&stat.pzxid.0.to_be_bytes());
        self.0.extend_from_slice(&bytes);
    }
}

/// A `Stat` on the wire.
pub const STAT_BYTES: usize = 68;

impl Reader<'_> {
    /// A `Stat` record, as clients read it.
    pub fn stat(&mut self) -> Result<Stat, Malformed> {
        Ok(Stat {
            czxid: self.zxid()?,
            mzxid: self.zxid()?,
            ctime: WallMs(self.i64()?),
            mtime: WallMs(self.i64()?),
            version: self.i32()?,
            cversion: self.i32()?,
            aversion: self.i32()?,
            ephemeral_owner: SessionId(self.i64()?),
            data_length: self.i32()?,
            num_children: self.i32()?,
            pzxid: self.zxid()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_empty_stay_apart() {
        let mut bytes = Vec::new();
        let mut writer = Writer(&mut bytes);
        writer.buffer(None);
        writer.buffer(Some(b""));
        writer.string("é");
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.buffer(), Ok(None));
        assert_eq!(reader.buffer(), Ok(Some(&b""[..])));
        assert_eq!(reader.string().unwrap(), "é");
        assert!(reader.is_empty());
    }

    #[test]
    fn supplementary_characters_are_written_as_surrogates() {
        let mut bytes = Vec::new();
        Writer(&mut bytes).string("a😀");
        assert_eq!(bytes, [0, 0, 0, 7, b'a', 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]);
    }

    #[test]
    fn malformed_utf8_is_replaced_as_java_replaces_it() {
        assert_eq!(decode_utf8(b"x\xed\xa0\x80y"), "x\u{fffd}y");
        assert_eq!(decode_utf8(b"\xed\xa0\xbd\xed\xb8\x80"), "\u{fffd}\u{fffd}");
        assert_eq!(decode_utf8(b"a\xff\xc3"), "a\u{fffd}\u{fffd}");
        assert_eq!(decode_utf8("é😀".as_bytes()), "é😀");
    }

    #[test]
    fn a_claimed_count_takes_no_memory_by_itself() {
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff]).strings(), Err(Malformed("record ends early")));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xfe]).strings(), Ok(vec![]));
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xfe]).buffer().is_err());
    }

    #[test]
    fn a_stat_survives_the_round_trip() {
        let stat = Stat { czxid: Zxid(1), version: -3, pzxid: Zxid(9), data_length: 5, ..Stat::default() };
        let mut bytes = Vec::new();
        Writer(&mut bytes).stat(&stat);
        assert_eq!(bytes.len(), STAT_BYTES);
        assert_eq!(Reader::new(&bytes).stat(), Ok(stat));
    }
}
