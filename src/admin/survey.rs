//! Gathering: one question goes to every shard, and is answered when the last part is in.
//!
//! Lives on: the replication core, inside the replica, which adds its own part last so that every number in
//! one report is of about the same moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Origin, ShardId};
use crate::mail::{HostFacts, ReplicaReport, Report, ShardReport, SurveyKind, ToShard};

/// Trace mask until somebody sets it (ZK: ZooTrace).
const TRACE_MASK: i64 = 306;

#[derive(Debug)]
pub struct Survey {
    shard_count: u16,
    next_ticket: u64,
    open: BTreeMap<u64, Open>,
    host: Arc<HostFacts>,
    trace_mask: i64,
}

#[derive(Debug)]
struct Open {
    to: Origin,
    kind: SurveyKind,
    parts: BTreeMap<ShardId, ShardReport>,
}

/// Every shard's part is in; the replica's is missing.
#[derive(Debug)]
pub struct Gathered {
    pub to: Origin,
    pub kind: SurveyKind,
    shards: Vec<ShardReport>,
}

impl Gathered {
    /// The answer for the shard that asked.
    pub fn into_mail(self, replica: ReplicaReport) -> (ShardId, ToShard) {
        let report = Arc::new(Report { shards: self.shards, replica });
        (self.to.shard, ToShard::Report { conn: self.to.conn, kind: self.kind, report })
    }
}

impl Survey {
    pub fn new(shard_count: u16) -> Survey {
        Survey { shard_count, next_ticket: 1, open: BTreeMap::new(), host: Arc::default(), trace_mask: TRACE_MASK }
    }

    /// What the driver knows of the machine; every later report shows it.
    pub fn set_host(&mut self, host: HostFacts) {
        self.host = Arc::new(host);
    }

    pub fn host(&self) -> &Arc<HostFacts> {
        &self.host
    }

    pub fn trace_mask(&self) -> i64 {
        self.trace_mask
    }

    /// Somebody asks: questions for the shards are appended to `mail`, or, when they have nothing to do with
    /// it, the answer is ready at once.
    pub fn on_ask(&mut self, to: Origin, kind: SurveyKind, mail: &mut Vec<(ShardId, ToShard)>) -> Option<Gathered> {
        if let SurveyKind::TraceMask { set: Some(mask) } = kind {
            self.trace_mask = mask;
        }
        if !kind.needs_shards() {
            return Some(Gathered { to, kind, shards: Vec::new() });
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.open.insert(ticket, Open { to, kind, parts: BTreeMap::new() });
        mail.extend((0..self.shard_count).map(|shard| (ShardId(shard), ToShard::Survey { ticket, kind })));
        None
    }

    /// One shard's part; the whole when it was the last one.
    pub fn on_surveyed(&mut self, ticket: u64, shard: ShardId, report: ShardReport) -> Option<Gathered> {
        let open = self.open.get_mut(&ticket)?;
        open.parts.insert(shard, report);
        if open.parts.len() < usize::from(self.shard_count) {
            return None;
        }
        let Open { to, kind, parts } = self.open.remove(&ticket)?;
        Some(Gathered { to, kind, shards: parts.into_values().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ConnId;

    const ASKER: Origin = Origin { shard: ShardId(1), conn: ConnId { slot: 3, generation: 1 } };

    #[test]
    fn a_report_waits_for_every_shard_and_keeps_their_order() {
        let (mut survey, mut mail) = (Survey::new(2), Vec::new());
        assert!(survey.on_ask(ASKER, SurveyKind::Totals, &mut mail).is_none());
        assert_eq!(mail.iter().map(|(shard, _)| shard.0).collect::<Vec<_>>(), [0, 1]);
        let part = |count| ShardReport { connection_count: count, ..ShardReport::default() };
        assert!(survey.on_surveyed(1, ShardId(1), part(5)).is_none());
        assert!(survey.on_surveyed(9, ShardId(0), part(9)).is_none());
        let gathered = survey.on_surveyed(1, ShardId(0), part(4)).unwrap();
        let (shard, mail) = gathered.into_mail(ReplicaReport::default());
        let ToShard::Report { conn, report, .. } = mail else { panic!() };
        assert_eq!((shard, conn), (ASKER.shard, ASKER.conn));
        assert_eq!(report.shards.iter().map(|s| s.connection_count).collect::<Vec<_>>(), [4, 5]);
        assert!(survey.open.is_empty());
    }

    #[test]
    fn the_trace_mask_is_one_for_the_server() {
        let mut survey = Survey::new(2);
        assert_eq!(survey.trace_mask(), 306);
        let mut mail = Vec::new();
        assert!(survey.on_ask(ASKER, SurveyKind::TraceMask { set: Some(7) }, &mut mail).is_some());
        assert!(mail.is_empty());
        assert_eq!(survey.trace_mask(), 7);
    }
}
