"""Disks that can be made slow or full, one member at a time.

Slow: every member's process lives in a control group of its own (blkio of version 1 or io of version 2, as root), whose writes per second
to the device of its data directory can be limited; a synced append is some three writes, so a limit of ten makes it take a third of a
second. It holds for O_DIRECT writes as well as for fsync, the two ways in which the servers write. Full: a small ext4 file system of its
own for one member, in a file, to be filled.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

VERSION_1 = Path("/sys/fs/cgroup/blkio")
VERSION_2 = Path("/sys/fs/cgroup")
SMALL_BYTES = 256 << 20


class Disks:
    """The control groups of members 1..count; `slow` says whether they can be had."""

    def __init__(self, count):
        self.members, self.owner = range(1, count + 1), os.getpid()
        self.version = 1 if (VERSION_1 / "blkio.throttle.write_iops_device").exists() or VERSION_1.is_mount() else 2
        self.slow = self._make()
        self.limited, self.probed = {}, {}

    def _group(self, sid):
        return (VERSION_1 if self.version == 1 else VERSION_2) / f"rk{self.owner}-{sid}"

    def _make(self):
        if os.geteuid() != 0:
            return False
        remove_left_behind()
        try:
            if self.version == 2:
                (VERSION_2 / "cgroup.subtree_control").write_text("+io")
            for sid in self.members:
                self._group(sid).mkdir()
        except OSError:
            self.close()
            return False
        return True

    def enter(self, sid):
        """For the child process between fork and exec."""
        if self.slow:
            (self._group(sid) / "cgroup.procs").write_text(str(os.getpid()))

    def _limit(self, sid, device, writes_per_second):
        if self.version == 1:
            (self._group(sid) / "blkio.throttle.write_iops_device").write_text(f"{device} {writes_per_second or 0}")
        else:
            (self._group(sid) / "io.max").write_text(f"{device} wiops={writes_per_second or 'max'}")

    def slow_down(self, sid, data, writes_per_second):
        """From now on the device below `data` takes so many writes per second of this member."""
        self.limited[sid] = device_of(data)
        self._limit(sid, self.limited[sid], writes_per_second)

    def can_slow_down(self, sid, data):
        """Whether a limit on the device below `data` is felt: tried out once for each device."""
        device = device_of(data)
        if device not in self.probed:
            self.probed[device] = self.slow and self._probe(sid, data)
        return self.probed[device]

    def _probe(self, sid, data):
        try:
            self.slow_down(sid, data, 10)
        except OSError:
            return False
        child = os.fork()
        if child == 0:
            self.enter(sid)
            file = os.open(data / "probe", os.O_WRONLY | os.O_CREAT | os.O_DSYNC)
            for number in range(4):
                os.pwrite(file, bytes(4096), 4096 * number)
            os._exit(0)
        began = time.monotonic()
        os.waitpid(child, 0)
        took = time.monotonic() - began
        self.heal()
        (data / "probe").unlink(missing_ok=True)
        return took > 0.2

    def heal(self):
        """Ends every limit."""
        for sid, device in self.limited.items():
            self._limit(sid, device, None)
        self.limited.clear()

    def close(self):
        """Members must have ended."""
        for sid in self.members:
            try:
                self._group(sid).rmdir()
            except OSError:
                pass


def remove_left_behind():
    """Removes the groups of runs whose process is gone."""
    for root in (VERSION_1, VERSION_2):
        for group in root.glob("rk*-*"):
            owner = group.name[2:].split("-")[0]
            if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                try:
                    group.rmdir()
                except OSError:
                    pass


def device_of(path):
    """Major and minor number of the whole disk that holds `path`."""
    number = os.stat(path).st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    entry = Path(f"/sys/dev/block/{name}").resolve()
    return (entry.parent / "dev").read_text().strip() if (entry / "partition").exists() else name


def mount_small(directory):
    """A small file system of its own at `directory`; false where nothing can be mounted."""
    directory.mkdir(exist_ok=True)
    image = directory.with_name(directory.name + ".ext4")
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        return False
    with open(image, "wb") as file:
        file.truncate(SMALL_BYTES)
    done = subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", str(image)], capture_output=True)
    if done.returncode != 0 or subprocess.run(["mount", "-o", "loop", str(image), str(directory)], capture_output=True).returncode != 0:
        return False
    # What mkfs puts there is no data of a server.
    (directory / "lost+found").rmdir()
    return True
