//! Mixes: workloads that are a weighted choice of operations on znodes and values of many sizes.
//!
//! They are the workloads of ClickHouse's keeper-bench, by name or from a file of its own format. Requests differ
//! in length, so they are encoded when they are sent, though without allocating: values are cut out of one
//! block of noise, and the znodes a connection has created are remembered as numbers.
//!
//!     spec          what a mix is, as it is written down
//!     clickhouse    the published mixes by name
//!     yaml          YAML as a tree, with the line of everything in it
//!     keeper_bench  keeper-bench's configuration: from YAML to a spec
//!     setup         the znodes a mix starts from
//!     compile       a spec made ready: names become numbers
//!     draw          the next request of a connection

pub mod clickhouse;
mod compile;
mod draw;
pub mod keeper_bench;
mod setup;
pub mod spec;
mod yaml;

pub use compile::Mix;
pub use draw::Own;

#[cfg(test)]
mod tests;
