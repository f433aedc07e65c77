//! Reading a stretch of a journal that goes on being written: batch after batch, in little memory.
//!
//! Recovery reads a whole journal nobody writes to. A walk begins at some segment of one that is in use, to hand its
//! records out again; what it hands out it has checked as recovery does (checksums, the chain of batches, zxids that
//! follow each other). It ends where the next batch is not there, or not there yet: how far it must come is known to
//! whoever asked for it.

use std::collections::VecDeque;
use std::io;

use super::SegmentId;
use super::batch::{HEADER_BYTES, Header};
use crate::base::Zxid;

/// Bytes read at a time, unless one batch has more.
const WINDOW_BYTES: usize = 256 << 10;

/// Puts at most so many bytes at an offset of a segment in the place of what is in the buffer; fewer at the file's end.
pub type ReadSegment<'a> = dyn FnMut(SegmentId, u64, usize, &mut Vec<u8>) -> io::Result<()> + 'a;

/// A place in a journal.
#[derive(Debug)]
pub struct Walk {
    journal: u64,
    /// Still to be read, the first one from `offset` on.
    segments: VecDeque<SegmentId>,
    offset: u64,
    /// The batch before.
    last: Option<Header>,
    /// What was read of the first segment, from `window_at` on.
    window: Vec<u8>,
    window_at: u64,
}

/// One batch that a walk came to.
#[derive(Debug)]
pub struct Walked<'a> {
    header: Header,
    bytes: &'a [u8],
}

impl Walked<'_> {
    /// The journal's last zxid behind it; of an empty batch, a marker, that of the one before.
    pub fn through(&self) -> Zxid {
        Zxid(self.header.last_zxid.get())
    }

    /// What the journal holds from here on is newer than this.
    pub fn starts_after(&self) -> Zxid {
        self.header.starts_after()
    }

    /// In order, as they stand in the journal.
    pub fn records(&self) -> impl Iterator<Item = (Zxid, &[u8])> {
        // The zxids were looked at before the batch was handed out.
        self.header.bodies(self.bytes).filter_map(|body| Some((super::recover::record_zxid(body)?, body)))
    }

    /// How much of the disk it takes.
    pub fn disk_bytes(&self) -> usize {
        self.header.disk_bytes()
    }
}

impl Walk {
    /// From the beginning of the first of these segments, which follow each other in the journal of that identity.
    pub fn new(journal: u64, segments: Vec<SegmentId>) -> Walk {
        let segments = segments.into();
        Walk { journal, segments, offset: 0, last: None, window: Vec::new(), window_at: 0 }
    }

    /// The next batch; `None` where the journal ends.
    ///
    /// Errors: it cannot be read, or what is there does not continue what was before.
    pub fn next(&mut self, read: &mut ReadSegment<'_>) -> Result<Option<Walked<'_>>, String> {
        let Some((header, start)) = self.find(read)? else { return Ok(None) };
        let bytes = &self.window[start..start + header.disk_bytes()];
        self.follows(&header, bytes)?;
        self.offset += header.disk_bytes() as u64;
        self.last = Some(header);
        Ok(Some(Walked { header, bytes }))
    }

    /// The next whole batch and where in the window it begins: behind the last one, or at the front of a later segment.
    fn find(&mut self, read: &mut ReadSegment<'_>) -> Result<Option<(Header, usize)>, String> {
        while let Some(segment) = self.segments.front().copied() {
            let found = self.look(segment, read).map_err(|error| format!("{}: {error}", segment.file_name()))?;
            if found.is_some() {
                return Ok(found);
            }
            self.segments.pop_front();
            (self.offset, self.window_at) = (0, 0);
            self.window.clear();
        }
        Ok(None)
    }

    fn look(&mut self, segment: SegmentId, read: &mut ReadSegment<'_>) -> io::Result<Option<(Header, usize)>> {
        let mut start = self.fill(segment, HEADER_BYTES, read)?;
        let Some(header) = Header::read(&self.window[start..]) else { return Ok(None) };
        if header.segment() != segment || header.journal.get() != self.journal {
            return Ok(None); // Of the file's former life.
        }
        start = self.fill(segment, header.disk_bytes(), read)?;
        // Without its end it is being written, or was never finished.
        let is_whole = header.check_payload(&self.window[start..]).is_ok();
        Ok((is_whole && self.window.len() - start >= header.disk_bytes()).then_some((header, start)))
    }

    /// Makes the window hold so many bytes from the current place on, if the file does. Returns where that is in it.
    fn fill(&mut self, segment: SegmentId, bytes: usize, read: &mut ReadSegment<'_>) -> io::Result<usize> {
        let start = (self.offset - self.window_at) as usize;
        if start <= self.window.len() && self.window.len() - start >= bytes {
            return Ok(start);
        }
        read(segment, self.offset, bytes.max(WINDOW_BYTES), &mut self.window)?;
        self.window_at = self.offset;
        Ok(0)
    }

    fn follows(&self, header: &Header, bytes: &[u8]) -> Result<(), String> {
        let say = |what: String| format!("{} at offset {}: {what}", header.segment().file_name(), self.offset);
        let number = header.batch().0;
        if let Some(last) = &self.last
            && (number != last.batch().0 + 1 || header.previous_crc.get() != last.header_crc.get())
        {
            return Err(say(format!("batch {number} does not continue batch {}", last.batch().0)));
        }
        let mut previous = self.last.as_ref().map(|last| Zxid(last.last_zxid.get()));
        for body in header.bodies(bytes) {
            let zxid = super::recover::record_zxid(body).ok_or_else(|| say("a record is too short".into()))?;
            if previous.is_some_and(|previous| !previous.is_logged_before(zxid)) {
                return Err(say(format!("zxid {zxid} follows {}", previous.unwrap_or_default())));
            }
            previous = Some(zxid);
        }
        match previous {
            Some(previous) if previous.0 != header.last_zxid.get() => {
                Err(say(format!("the batch says it ends at zxid {:#x}", header.last_zxid.get())))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::written::Written;
    use super::*;

    impl Written {
        fn segments(&self) -> Vec<SegmentId> {
            self.journal.segments().map(|segment| segment.id).collect()
        }

        fn walk(&self, segments: Vec<SegmentId>) -> Result<Vec<i64>, String> {
            let mut walk = Walk::new(self.journal.identity(), segments);
            let mut found = Vec::new();
            let mut read = |segment: SegmentId, offset: u64, bytes: usize, into: &mut Vec<u8>| {
                let file = self.files.get(&segment).ok_or(io::ErrorKind::NotFound)?;
                let start = file.len().min(offset as usize);
                *into = file[start..file.len().min(start + bytes)].to_vec();
                Ok(())
            };
            while let Some(batch) = walk.next(&mut read)? {
                assert_eq!(batch.records().last().map_or(batch.through(), |(zxid, _)| zxid), batch.through());
                found.extend(batch.records().map(|(zxid, body)| {
                    assert!(body[20..].iter().all(|byte| *byte == zxid.0 as u8));
                    zxid.0
                }));
            }
            Ok(found)
        }
    }

    fn written() -> Written {
        let mut written = Written::behind(Zxid::ZERO, 16 << 10);
        written.flush();
        for zxid in 1..=30 {
            written.append(zxid, 20 + 100 * (zxid % 9 + 1) as usize);
            if zxid % 4 == 0 {
                written.flush();
            }
        }
        written.flush();
        written
    }

    #[test]
    fn a_walk_meets_every_record_from_its_first_segment_on() {
        let written = written();
        let segments = written.segments();
        assert!(segments.len() > 2);
        assert_eq!(written.walk(segments.clone()), Ok((1..=30).collect()));
        let later = written.walk(segments[1..].to_vec()).unwrap();
        assert!(later[0] > 1 && later.last() == Some(&30));
    }

    #[test]
    fn a_batch_that_is_being_written_is_where_the_walk_ends() {
        let mut written = written();
        let last = *written.segments().last().unwrap();
        let end = written.files[&last].chunks(4096).rposition(|block| block.iter().any(|byte| *byte != 0)).unwrap();
        written.files.get_mut(&last).unwrap()[end * 4096 + 90] ^= 1;
        let found = written.walk(written.segments()).unwrap();
        assert!(found.len() < 30 && found == (1..=found.len() as i64).collect::<Vec<_>>());
    }

    #[test]
    fn what_does_not_continue_is_an_error_and_never_handed_out() {
        let mut written = written();
        let segments = written.segments();
        // A file that is gone is a hole, whether the walk is told of it or not.
        let holey = [segments[0], segments[2]].to_vec();
        assert!(written.walk(holey).unwrap_err().contains("does not continue"));
        let lost = written.files.remove(&segments[1]).unwrap();
        assert!(written.walk(segments.clone()).is_err());
        // A batch that has gone bad in the middle.
        written.files.insert(segments[1], lost);
        written.files.get_mut(&segments[1]).unwrap()[4096 + 100] ^= 8;
        assert!(written.walk(segments.clone()).is_err());
    }

    #[test]
    fn batches_of_a_files_former_life_do_not_count() {
        let mut written = written();
        let segments = written.segments();
        let former = written.files[&segments[0]].clone();
        written.files.insert(*segments.last().unwrap(), former);
        let found = written.walk(segments).unwrap();
        assert!(!found.is_empty() && found.len() < 30);
    }
}
