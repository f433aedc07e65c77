//! A shard driven with bytes and hand-made mail; the replica is a tree that plans and a list of answers.

mod fuzz;
mod limits;
mod read_only;
mod reads;
pub(super) mod rig;
mod watches;
mod words;
mod writes;
