"""A network of its own for every member, so that links between two of them can be cut in one direction or in both.

Each member lives in a network namespace; a bridge joins them, and the clients sit on the bridge. A cut makes the sender believe in a
wrong hardware address for the receiver: its packets leave and nobody takes them, which is what a lost packet looks like to both
ends. Needs root and nothing beyond `ip`. What a killed run left behind is removed by the next one.
"""

import ctypes
import os
import shutil
import subprocess

CLIENTS = 0
NOWHERE = "02:00:00:00:ff:fe"
CLONE_NEWNET = 0x40000000


def ip(*words, check=True):
    return subprocess.run(["ip", *map(str, words)], check=check, capture_output=True, text=True)


def usable():
    """Whether this machine lets us make namespaces."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    try:
        ip("netns", "add", f"rkprobe{os.getpid()}")
        ip("netns", "del", f"rkprobe{os.getpid()}")
        return True
    except subprocess.CalledProcessError:
        return False


class Network:
    """Namespaces for the members 1..count. `cut(a, b)` loses what a sends to b; CLIENTS stands for all the clients."""

    def __init__(self, count):
        self.members = range(1, count + 1)
        self.cuts = set()
        remove_left_behind()
        for self.number in range(1, 250):
            if ip("link", "add", self.bridge, "type", "bridge", check=False).returncode == 0:
                break
        else:
            raise RuntimeError("no bridge could be made")
        ip("link", "set", self.bridge, "alias", f"pid {os.getpid()}")
        ip("addr", "add", f"{self.address(CLIENTS)}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        for member in self.members:
            space, outer = self.space(member), f"rkv{self.number}-{member}"
            ip("netns", "add", space)
            ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", outer, "master", self.bridge, "up")
            ip("-n", space, "addr", "add", f"{self.address(member)}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", "eth0", "up")

    @property
    def bridge(self):
        return f"rkb{self.number}"

    def space(self, member):
        return f"rk{self.number}-{member}"

    def address(self, member):
        return f"10.213.{self.number}.{254 if member == CLIENTS else member}"

    def enter(self, member):
        """For the child process between fork and exec: moves it into the member's namespace."""
        handle = os.open(f"/run/netns/{self.space(member)}", os.O_RDONLY)
        if ctypes.CDLL("libc.so.6", use_errno=True).setns(handle, CLONE_NEWNET) != 0:
            os._exit(97)
        os.close(handle)

    def _neighbour(self, sender, receiver, *rest):
        where, device = ([], self.bridge) if sender == CLIENTS else (["-n", self.space(sender)], "eth0")
        verb, *rest = rest
        ip(*where, "neigh", verb, self.address(receiver), *rest, "dev", device)

    def cut(self, sender, receiver):
        """From now on everything `sender` sends to `receiver` is lost."""
        self._neighbour(sender, receiver, "replace", "lladdr", NOWHERE, "nud", "permanent")
        self.cuts.add((sender, receiver))

    def separate(self, one, other):
        """Cuts both directions."""
        self.cut(one, other)
        self.cut(other, one)

    def heal(self):
        """Ends every cut."""
        for sender, receiver in sorted(self.cuts):
            self._neighbour(sender, receiver, "del")
        self.cuts.clear()

    def close(self):
        remove(self.number)


def remove(number):
    """Takes a network down. The kernel takes its time to empty a namespace, so the link into it goes first: its name is free at once."""
    for device in os.listdir("/sys/class/net"):
        if device.startswith(f"rkv{number}-"):
            ip("link", "del", device, check=False)
    for space in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        if space.startswith(f"rk{number}-"):
            ip("netns", "del", space, check=False)
    ip("link", "del", f"rkb{number}", check=False)


def remove_left_behind():
    """Removes the bridges and namespaces of runs whose process is gone."""
    for folder in os.listdir("/sys/class/net"):
        if not folder.startswith("rkb"):
            continue
        alias = ip("-o", "link", "show", folder, check=False).stdout
        owner = open(f"/sys/class/net/{folder}/ifalias").read().split() if os.path.exists(f"/sys/class/net/{folder}/ifalias") else []
        if not alias or len(owner) != 2 or os.path.exists(f"/proc/{owner[1]}"):
            continue
        remove(folder[3:])
