//! The second driver: the same two machines in an invented world, from one seed.
pub mod client;
pub mod disk;
pub mod judge;
pub mod line;
pub mod model;
pub mod reads;
pub mod rng;
pub mod watches;
