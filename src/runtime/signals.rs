//! SIGINT and SIGTERM as something to wait for.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Takes the stop signals of the whole process. Make it before any other thread starts: threads inherit the mask.
pub struct StopSignals {
    signals: OwnedFd,
}

/// What ended the wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    Signal,
    /// The other descriptor became readable.
    Other,
    TimedOut,
}

impl StopSignals {
    pub fn take() -> io::Result<StopSignals> {
        // SAFETY: `set` is written by sigemptyset before it is read; all pointers are to it, for the call's length;
        // a null old mask is allowed. The descriptor returned is new and ours, and checked before it is owned.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGINT);
            libc::sigaddset(&mut set, libc::SIGTERM);
            let errno = libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            if errno != 0 {
                return Err(io::Error::from_raw_os_error(errno));
            }
            let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(StopSignals { signals: OwnedFd::from_raw_fd(fd) })
        }
    }

    /// Waits for a signal (which is then used up) or for `other` to become readable.
    pub fn wait(&self, other: impl AsFd, timeout_ms: Option<i64>) -> io::Result<Woken> {
        let timeout = timeout_ms.map(|ms| Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 });
        loop {
            let mut fds = [PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&other, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Ok(Woken::TimedOut),
                Ok(_) if fds[1].revents().is_empty() => {
                    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
                    let _ = rustix::io::read(&self.signals, &mut info);
                    return Ok(Woken::Signal);
                }
                Ok(_) => return Ok(Woken::Other),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
