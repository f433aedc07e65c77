//! Sessions: who is alive, until when, and how ids and passwords are made.
//!
//! Deadlines are judged in heard time ([`HearingClock`]): a stall of the server expires nobody.
//!
//! Does not know: connections, znodes, or how a closeSession gets committed; it only says who must go.

mod hearing;
mod ids;
mod local;
mod password;
mod table;

pub use hearing::HearingClock;
pub use ids::{HighestIds, SessionIds};
pub use local::{LocalSessions, Upgrading};
pub use password::{password, password_is};
pub use table::{Owner, SessionTable};
