"""Clocks of one member's own: a wall clock that jumps while it runs, a monotonic clock that begins elsewhere when it starts.

The wall clock is moved by a small library (wall.c) that stands between the process and libc; it moves Rust's and Java's alike, at once
and in either direction. The monotonic clock is moved by a time namespace (root), which the kernel allows only before the first
instruction: that is a machine which was booted anew, or long ago. A running monotonic clock cannot be made to jump, and on a real
machine does not; standing still and going on is what SIGSTOP shows.
"""

import ctypes
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "wall.c"
CLONE_NEWTIME = 0x80
SECOND_NS = 10**9


class Clocks:
    """The clocks of the members of a cluster; its files lie in `directory`."""

    def __init__(self, directory):
        self.library, self.directory = directory / "wall.so", directory
        self.wall = self._build()
        self.monotonic = _may_move_monotonic()
        self.bases = {}

    def _build(self):
        compiler = shutil.which("gcc") or shutil.which("cc")
        if not compiler:
            return False
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(self.library), str(SOURCE)], check=True)
        return True

    def _offset(self, sid):
        return self.directory / f"wall{sid}"

    def environment(self, sid):
        """What the process of this member needs in its environment."""
        if not self.wall:
            return {}
        if not self._offset(sid).exists():
            self._offset(sid).write_bytes(bytes(8))
        return {"LD_PRELOAD": str(self.library), "WALL_CLOCK_OFFSET": str(self._offset(sid))}

    def move_wall(self, sid, seconds):
        """From now on the member believes that it is so many seconds later, or earlier, than it is."""
        with open(self._offset(sid), "r+b", buffering=0) as file:
            file.write(struct.pack("q", int(seconds * 1000)))

    def boot(self, sid, age):
        """When the member starts the next time, its machine was booted `age` seconds ago."""
        self.bases[sid] = age

    def enter(self, sid):
        """For the child process between fork and exec."""
        if sid in self.bases:
            _enter_time_namespace(self.bases[sid])

    def close(self):
        """The files go with the directory."""


def _enter_time_namespace(age):
    libc = ctypes.CDLL("libc.so.6", use_errno=True)
    if libc.unshare(CLONE_NEWTIME) != 0:
        os._exit(96)
    with open("/proc/self/timens_offsets", "w") as file:
        for name, clock in (("monotonic", time.CLOCK_MONOTONIC), ("boottime", time.CLOCK_BOOTTIME)):
            seconds, nanoseconds = divmod(int(age * SECOND_NS) - time.clock_gettime_ns(clock), SECOND_NS)
            file.write(f"{name} {seconds} {nanoseconds}\n")
    # The new namespace is for children; the kernel lets a process of one thread go there itself.
    handle = os.open("/proc/self/ns/time_for_children", os.O_RDONLY)
    if libc.setns(handle, CLONE_NEWTIME) != 0:
        os._exit(96)
    os.close(handle)


def _may_move_monotonic():
    child = os.fork()
    if child == 0:
        try:
            _enter_time_namespace(1000)
            with open("/proc/uptime") as file:
                os._exit(0 if 999 <= float(file.read().split()[0]) < 1100 else 1)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0
