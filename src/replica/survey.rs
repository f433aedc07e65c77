//! The replica's part in a survey of the server.

use super::{Effects, Replica};
use crate::base::{Now, Origin, ShardId};
use crate::mail::{Entry, ShardReport, SurveyKind};

pub(super) struct Survey {}

impl Survey {
    pub(super) fn new(_shard_count: u16, _now: Now) -> Survey {
        Survey {}
    }

    pub(super) fn on_committed(&mut self, _entries: &[Entry], _now: Now) {}
}

impl Replica {
    pub(super) fn on_survey(&mut self, _origin: Origin, _kind: SurveyKind, _out: &mut Effects) {}

    pub(super) fn on_surveyed(&mut self, _ticket: u64, _shard: ShardId, _report: ShardReport, _out: &mut Effects) {}
}
