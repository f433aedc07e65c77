//! Is io_uring to be had? Asked once before anything starts, so that a refusal is one message and not a panic.

use std::io;

/// What glommio asks for per executor before it starts at all.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

/// Sets up the smallest ring and lets go of it.
///
/// Errors: what refuses io_uring here, and what to change.
pub fn io_uring() -> Result<(), String> {
    // The kernel's io_uring_params are 120 bytes of integers; all zeros asks for the defaults.
    let mut params = [0u64; 15];
    // SAFETY: io_uring_setup(2) reads and writes 120 bytes at the second argument, which lives across the call and
    // is ours alone; the first is a plain number.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 2, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(advice(&io::Error::last_os_error()));
    }
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    unsafe { libc::close(fd as i32) };
    memlock()
}

fn memlock() -> Result<(), String> {
    match rustix::process::getrlimit(rustix::process::Resource::Memlock).current {
        Some(limit) if limit < MEMLOCK_BYTES_MIN => Err(format!(
            "the limit of locked memory is {} KiB, and io_uring needs {} KiB for each core: set LimitMEMLOCK=infinity \
             in the systemd unit, --ulimit memlock=-1 for docker, or `ulimit -l unlimited` in the shell",
            limit >> 10,
            MEMLOCK_BYTES_MIN >> 10
        )),
        _ => Ok(()),
    }
}

/// What to change when io_uring, or an executor's ring, is refused with this error.
pub fn advice(error: &io::Error) -> String {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match (error.raw_os_error(), disabled.trim()) {
        (Some(libc::EPERM), "1" | "2") => format!(
            "io_uring is switched off on this machine (kernel.io_uring_disabled={}): run `sysctl kernel.io_uring_disabled=0`, \
             or with the value 1 add the server's user to the group in kernel.io_uring_group",
            disabled.trim()
        ),
        (Some(libc::EPERM | libc::EACCES), _) => "io_uring is forbidden to this process, most likely by a container's seccomp \
             profile: allow io_uring_setup, io_uring_enter and io_uring_register in it (docker: --security-opt seccomp=PROFILE, \
             or seccomp=unconfined to try; kubernetes: securityContext.seccompProfile)"
            .to_owned(),
        (Some(libc::ENOSYS), _) => {
            "this kernel has no io_uring: Linux 5.19 or later is needed, with CONFIG_IO_URING (or a seccomp profile answers \
             ENOSYS for it: allow io_uring_setup, io_uring_enter and io_uring_register)"
                .to_owned()
        }
        (Some(libc::ENOMEM), _) => format!(
            "io_uring could not get memory ({error}): raise the limit of locked memory (systemd: LimitMEMLOCK=infinity; \
             docker: --ulimit memlock=-1; shell: ulimit -l unlimited) or place fewer shards (ringkeeper.shards)"
        ),
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            format!("io_uring could not get a file descriptor ({error}): raise the limit of open files (ulimit -n, LimitNOFILE=)")
        }
        _ => format!("io_uring cannot be used: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_change() {
        for (errno, word) in [
            (libc::EPERM, "io_uring"),
            (libc::ENOSYS, "5.19"),
            (libc::ENOMEM, "LimitMEMLOCK"),
            (libc::EMFILE, "LimitNOFILE"),
        ] {
            let text = advice(&io::Error::from_raw_os_error(errno));
            assert!(text.contains(word), "{text}");
        }
    }
}
