//! Every bound of the server in one place, with the relations between them checked when it compiles.
//!
//! A queue without a bound is a promise to fall over later. What happens at each bound is said beside it.

/// The journal's unit of alignment: O_DIRECT on every common disk accepts it.
pub const BLOCK_BYTES: usize = 4096;

/// The most a single journal batch carries. What queues beyond it waits for the next write.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// The most one transaction record may take; a request that would exceed it is refused before it is logged.
pub const RECORD_BYTES_MAX: usize = 3 << 20;

/// A journal segment's size unless `preAllocSize` says otherwise.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Requests a connection may have waiting behind its own writes before the shard stops reading from it.
pub const CONN_PENDING_MAX: usize = 4096;

/// Reply bytes a connection may leave unread before the shard stops reading its requests.
pub const CONN_OUTPUT_PAUSE_BYTES: usize = 1 << 20;

/// Reply bytes (watch events included) after which a client that never reads is cut off.
pub const CONN_OUTPUT_MAX_BYTES: usize = 64 << 20;

/// Messages one shard may have under way to the replica; beyond it the shard stops reading from clients.
pub const MAILBOX_MESSAGES: usize = 16 * 1024;

/// Bytes that may wait to be sent to another member; beyond it the link is cut, and the learner synchronizes anew.
pub const PEER_OUTPUT_MAX_BYTES: usize = 256 << 20;

/// Bytes of transactions that may wait behind a learner's synchronization; beyond it the learner begins anew. All of it
/// goes to the link at once in the end, so it is well below what may wait there.
pub const BACKLOG_BYTES_MAX: usize = PEER_OUTPUT_MAX_BYTES / 2;

/// Read from a socket at a time: some hundreds of small requests, which is how long one client makes the others of its
/// shard wait.
pub const READ_CHUNK_BYTES: usize = 16 * 1024;

const _: () = assert!(BATCH_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(SEGMENT_BYTES.is_multiple_of(BLOCK_BYTES as u64));
// The largest legal record must fit one batch with its headers, or it could be accepted and never commit.
const _: () = assert!(RECORD_BYTES_MAX + 2 * BLOCK_BYTES <= BATCH_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX as u64 * 2 <= SEGMENT_BYTES);
const _: () = assert!(BACKLOG_BYTES_MAX < PEER_OUTPUT_MAX_BYTES);
const _: () = assert!(CONN_OUTPUT_PAUSE_BYTES < CONN_OUTPUT_MAX_BYTES);
