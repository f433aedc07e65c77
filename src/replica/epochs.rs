//! The two numbers a member keeps beside its data, and whether they fit it (ZK: QuorumPeer.loadDataBase).
//!
//! On a disk of ours `epoch of the last zxid <= currentEpoch <= acceptedEpoch` holds at every instant but one: a
//! history was extended by a new leader's, and the power went before currentEpoch could follow. Such a history may
//! not be whole, so it must not vote. One that was *replaced* begins with a snapshot that names the epoch, so that
//! both take effect in one instant, and the file may follow later (closes ZOOKEEPER-1653, 2354).

use super::EpochFile;
use crate::base::Zxid;

/// What the epoch files say; `None` for one that does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Epochs {
    pub accepted: Option<i64>,
    pub current: Option<i64>,
    /// `currentEpoch.tmp`: a write that a cut has kept from getting its name. `None` also if it holds no number.
    pub current_tmp: Option<i64>,
}

/// The epochs a member goes on with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JudgedEpochs {
    pub accepted: i64,
    pub current: i64,
    /// The history is that of an epoch currentEpoch does not vouch for: the member goes on as one without data
    /// (zxid -1 in votes and ACKEPOCH) until a leader has given it a history.
    pub is_ahead: bool,
    /// To be written, in this order: what was missing, or adopted from a write that was cut short.
    pub write: Vec<(EpochFile, i64)>,
}

/// Why the epoch files cannot be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EpochError {
    /// More was followed than was ever promised: a file was lost, or restored without the other.
    AcceptedBelowCurrent { accepted: i64, current: i64 },
    /// An epoch is 0 to 2^31 - 1.
    OutOfRange { file: EpochFile, epoch: i64 },
}

impl std::fmt::Display for EpochError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EpochError::AcceptedBelowCurrent { accepted, current } => write!(
                f,
                "acceptedEpoch is {accepted} but currentEpoch {current}: one of the files is not this server's last; \
                 empty its data directory, other members will fill it again"
            ),
            EpochError::OutOfRange { file, epoch } => write!(
                f,
                "{}Epoch is {epoch}, which no epoch can be; empty this server's data directory, other members will \
                 fill it again",
                match file {
                    EpochFile::Accepted => "accepted",
                    EpochFile::Current => "current",
                }
            ),
        }
    }
}

impl std::error::Error for EpochError {}

/// Judges the epoch files against the epoch that the snapshots vouch for (0: none) and the last zxid on disk
/// ([`Zxid::ZERO`] on an empty one).
pub fn judge_epochs(epochs: &Epochs, vouched: i64, last_zxid: Zxid) -> Result<JudgedEpochs, EpochError> {
    let of_history = last_zxid.epoch();
    let least = of_history.max(vouched);
    let mut write = Vec::new();
    let in_range = |file, epoch: Option<i64>| match epoch {
        Some(epoch) if !(0..=i64::from(i32::MAX)).contains(&epoch) => Err(EpochError::OutOfRange { file, epoch }),
        other => Ok(other),
    };
    let accepted = in_range(EpochFile::Accepted, epochs.accepted)?.unwrap_or_else(|| {
        write.push((EpochFile::Accepted, least));
        least
    });
    let current = in_range(EpochFile::Current, epochs.current)?;
    let mut current = current.filter(|current| *current >= vouched).unwrap_or_else(|| {
        let known = if current.is_some() { vouched } else { least };
        write.push((EpochFile::Current, known));
        known
    });
    if accepted < current {
        return Err(EpochError::AcceptedBelowCurrent { accepted, current });
    }
    // The history was complete when the write began, so its number counts as much as if it had got its name.
    if let Some(cut_short) = epochs.current_tmp
        && of_history > current
        && (of_history..=accepted).contains(&cut_short)
    {
        current = cut_short;
        write.push((EpochFile::Current, cut_short));
    }
    Ok(JudgedEpochs { accepted, current, is_ahead: of_history > current, write })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(accepted: Option<i64>, current: Option<i64>, tmp: Option<i64>, epoch: i64) -> (i64, i64, bool, usize) {
        let judged = judge_epochs(&Epochs { accepted, current, current_tmp: tmp }, 0, Zxid(epoch << 32 | 7)).unwrap();
        (judged.accepted, judged.current, judged.is_ahead, judged.write.len())
    }

    #[test]
    fn a_snapshot_that_replaced_a_history_brings_its_epoch() {
        let judge = |accepted, current| {
            judge_epochs(&Epochs { accepted, current, current_tmp: None }, 6, Zxid(5 << 32 | 7))
                .map(|it| (it.current, it.write))
        };
        assert_eq!(judge(Some(6), Some(2)), Ok((6, vec![(EpochFile::Current, 6)])));
        assert_eq!(judge(Some(7), Some(7)), Ok((7, vec![])));
        assert_eq!(judge(Some(6), None), Ok((6, vec![(EpochFile::Current, 6)])));
        assert_eq!(judge(Some(5), Some(5)), Err(EpochError::AcceptedBelowCurrent { accepted: 5, current: 6 }));
    }

    #[test]
    fn what_is_missing_comes_from_the_history() {
        assert_eq!(judge(None, None, None, 3), (3, 3, false, 2));
        assert_eq!(judge(Some(5), None, None, 3), (5, 3, false, 1));
        assert_eq!(judge(Some(5), Some(4), Some(5), 3), (5, 4, false, 0));
        let lost = judge_epochs(&Epochs { current: Some(4), ..Epochs::default() }, 0, Zxid(3 << 32));
        assert_eq!(lost, Err(EpochError::AcceptedBelowCurrent { accepted: 3, current: 4 }));
    }

    #[test]
    fn a_history_ahead_of_its_epoch_is_adopted_with_the_cut_write_or_does_not_vote() {
        assert_eq!(judge(Some(6), Some(4), Some(6), 6), (6, 6, false, 1));
        assert_eq!(judge(Some(6), Some(4), None, 6), (6, 4, true, 0));
        assert_eq!(judge(Some(6), Some(4), Some(5), 6), (6, 4, true, 0), "it does not vouch for this history either");
        assert_eq!(judge(Some(6), Some(4), Some(9), 6), (6, 4, true, 0), "never promised");
        let odd = judge_epochs(&Epochs { accepted: Some(-1), ..Epochs::default() }, 0, Zxid(0));
        assert_eq!(odd, Err(EpochError::OutOfRange { file: EpochFile::Accepted, epoch: -1 }));
    }
}
