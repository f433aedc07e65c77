//! What threads meet at, from the standard library. The files that take it from here are built a second time in
//! `tests/loom`, where the same names are loom's and every order in which threads may run is tried.

pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
