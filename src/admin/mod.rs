//! The operator's questions: which words there are, how their numbers are gathered, and the text they get.
//!
//! ```text
//!   shard (word) --Survey--> replica: Survey::on_ask --Survey to every shard--> shards: their parts
//!   shard (text) <--Report-- replica: Survey::on_surveyed <--------Surveyed---------+
//! ```
//!
//! Used by both machines, leaning on neither: a word's text depends on a [`crate::mail::Report`] alone.
//!
//! Does not know: sockets, or how any number comes about.

mod lists;
mod monitor;
mod render;
mod survey;
mod words;

pub use render::{not_whitelisted, render};
pub use survey::{Gathered, Survey};
pub use words::{Whitelist, Word};
