//! What shards and the replica say to each other; nothing else ever crosses cores.
//!
//! Every message is `Send`. The way to a shard is a FIFO: whatever the replica answers after a commit is
//! read by the shard after that commit, so "applied before answered" needs no further protocol.
//!
//! Does not know: how messages travel (rings, queues, an invented network), or what either side does with them.

pub mod metrics;
mod survey;
mod to_replica;
mod to_shard;

pub use survey::{
    ConnReport, HostFacts, LeadingReport, LearnerState, MemberReport, QuotaReport, ReplicaReport, Report, ShardReport,
    Sizes, SurveyKind, TreeReport,
};
pub use to_replica::{Connect, Submit, ToReplica};
pub use to_shard::{Answer, AnswerKind, Body, Changes, Entry, Past, Service, ToShard};
