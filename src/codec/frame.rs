//! Cutting a byte stream into frames: a big-endian length, then that many bytes (parity W-01, W-02).

use super::Malformed;

/// The length word in front of every frame.
pub const LENGTH_BYTES: usize = 4;

/// Looks for one whole frame at the front of `bytes`.
///
/// Returns its payload and how many bytes it took with its length word; `None` while it is not complete.
/// Errors as soon as the length word is known to be out of `0..=payload_bytes_max`, without waiting for more.
pub fn cut(bytes: &[u8], payload_bytes_max: usize) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some((word, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = usize::try_from(i32::from_be_bytes(*word)).map_err(|_| Malformed("negative frame length"))?;
    if length > payload_bytes_max {
        return Err(Malformed("frame longer than jute.maxbuffer"));
    }
    Ok(rest.get(..length).map(|payload| (payload, LENGTH_BYTES + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_judged_by_its_length_word_alone() {
        assert_eq!(cut(&[0, 0], 10), Ok(None));
        assert_eq!(cut(&[0, 0, 0, 2, 7], 10), Ok(None));
        assert_eq!(cut(&[0, 0, 0, 2, 7, 8, 9], 10), Ok(Some((&[7, 8][..], 6))));
        assert!(cut(&[0, 0, 0, 11], 10).is_err());
        assert!(cut(&[0xff, 0, 0, 0], 10).is_err());
    }
}
