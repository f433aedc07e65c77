//! A survey of the whole server: every shard's part and the replica's, gathered for one asker.
//!
//! Four-letter words and the admin view are rendered from a [`Report`] alone, so they can show nothing
//! that was not measured, and never reach into a machine.

/// Which numbers are asked for; the cheap ones must not pay for the dear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SurveyKind {
    /// Counters and gauges (srvr, mntr, and the heads of others).
    Totals,
}

/// One shard's part.
#[derive(Clone, Debug, Default)]
pub struct ShardReport {}

/// One connection, as `cons` lists it.
#[derive(Clone, Debug, Default)]
pub struct ConnReport {}

/// The replication core's part.
#[derive(Clone, Debug, Default)]
pub struct ReplicaReport {}

/// Everything a word may print.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub shards: Vec<ShardReport>,
    pub replica: ReplicaReport,
}
