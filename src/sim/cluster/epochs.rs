//! The two numbers beside a member's data as its invented disk keeps them: written one after the other, each either
//! there or not when the power goes, at times with what was written aside left over.

use std::collections::VecDeque;

use super::super::rng::Rng;
use crate::replica::EpochFile;

#[derive(Clone, Default, Debug)]
pub struct EpochFiles {
    pub accepted: Option<i64>,
    pub current: Option<i64>,
    /// A snapshot beside them says so, with its name.
    pub vouched: i64,
    /// Written aside, never renamed.
    pub current_tmp: Option<i64>,
    under_way: VecDeque<(EpochFile, i64)>,
}

impl EpochFiles {
    pub fn write(&mut self, file: EpochFile, epoch: i64) {
        self.under_way.push_back((file, epoch));
    }

    /// The oldest write is on the disk. Neither number ever goes back (invariant 23).
    pub fn land(&mut self) -> Result<Option<(EpochFile, i64)>, String> {
        let Some((file, epoch)) = self.under_way.pop_front() else { return Ok(None) };
        let before = self.get(file);
        self.put(file, epoch);
        match before {
            Some(before) if before > epoch => {
                Err(format!("{file:?} goes back from {before} to {epoch} (invariant 23)"))
            }
            _ => Ok(Some((file, epoch))),
        }
    }

    pub fn get(&self, file: EpochFile) -> Option<i64> {
        match file {
            EpochFile::Accepted => self.accepted,
            EpochFile::Current => self.current,
        }
    }

    /// What a boot would find to be current.
    pub fn in_force(&self) -> Option<i64> {
        self.current.map(|current| current.max(self.vouched))
    }

    fn put(&mut self, file: EpochFile, epoch: i64) {
        match file {
            EpochFile::Accepted => self.accepted = Some(epoch),
            EpochFile::Current => {
                self.current = Some(epoch);
                self.current_tmp = None;
            }
        }
    }

    /// The power is cut: the oldest write is there, not there, or there under its other name.
    pub fn cut(&mut self, dice: &mut Rng) {
        let Some((file, epoch)) = self.under_way.pop_front() else { return };
        self.under_way.clear();
        match (dice.below(3), file) {
            (0, _) => self.put(file, epoch),
            (1, EpochFile::Current) => self.current_tmp = Some(epoch),
            _ => {}
        }
    }
}
