"""An ensemble of real processes, each member Apache 3.8, Apache 3.9 or ringkeeper, that can be hurt and mended.

    with Cluster(["apache38", "apache39", "ringkeeper"], observers=["ringkeeper"]) as cluster:
        leader = cluster.leader()
        leader.kill(); leader.launch(); cluster.settle()

Every member has the same zoo.cfg but for its own lines, so that a member's kind can be changed in place (`replace`). Everything that
was started dies with the program (see tests/lib/servers.py), and every wait here has a limit. Launch from the main thread only: the
kernel ends a child together with the thread that made it.
"""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "lib"), str(TESTS / "parity"), str(TESTS / "ensemble")]

import servers  # noqa: E402
from client import Refused  # noqa: E402
from clock import Clocks  # noqa: E402
from disk import Disks  # noqa: E402
from member import Failed, Member, wait_for  # noqa: E402
from network import Network, usable  # noqa: E402

KINDS = {"a38": "apache38", "a39": "apache39", "rk": "ringkeeper"}
KINDS |= {kind: kind for kind in servers.TARGETS}
_open = set()


def kinds(text):
    """`rk,a38,apache39` as a list of kinds."""
    unknown = [word for word in text.split(",") if word and word not in KINDS]
    if unknown:
        raise SystemExit(f"unknown kind {unknown[0]}: a38, a39 or rk")
    return [KINDS[word] for word in text.split(",") if word]


def unused_ports(count):
    """Ports below the range the kernel gives to outgoing connections: nobody takes them while their member is down."""
    found = []
    for port in random.SystemRandom().sample(range(12000, 32000), 2000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


class Cluster:
    """Members 1, 2, 3, ...: the voters first, then the observers. With `hurtable` each has, as far as this machine allows, a network that
    can be cut, a disk that can be slowed down and clocks that can be moved."""

    def __init__(self, voters, observers=(), tick=2000, init=10, sync=5, settings="", heap="256m", jvm=(), hurtable=False,
                 prealloc=1024):
        self.tick, self.sync, self.init = tick, sync, init
        self.heap, self.jvm = heap, list(jvm)
        # Left out when trees are compared node by node: the server's own corner, and what a test finds too big (digests cover it).
        self.not_walked = ("/zookeeper",)
        self.settings = (f"tickTime={tick}\ninitLimit={init}\nsyncLimit={sync}\nmaxClientCnxns=0\nadmin.enableServer=false\n"
                         f"4lw.commands.whitelist=*\npreAllocSize={prealloc}\n{settings}")
        everyone = [*voters, *observers]
        servers.install("debian", *(["venv", "jars39"] if "apache39" in everyone else []))
        self.directory = Path(tempfile.mkdtemp(prefix="ringkeeper-ensemble-"))
        self.network = Network(len(everyone)) if hurtable and usable() else None
        self.disks = Disks(len(everyone)) if hurtable else None
        self.clocks = Clocks(self.directory) if hurtable else None
        ports = [] if self.network else unused_ports(3 * len(everyone))
        self.members = []
        _open.add(self)
        for at, kind in enumerate(everyone):
            mine = (2181, 2888, 3888) if self.network else ports[3 * at:3 * at + 3]
            self.members.append(Member(self, at + 1, kind, at >= len(voters), mine))

    @property
    def grips(self):
        """What holds the members' surroundings, for each process to be put into."""
        return [grip for grip in (self.network, self.disks, self.clocks) if grip]

    def __enter__(self):
        try:
            self.launch()
            wait_for("every member serves", self._all_serve, 60)
            self.settle(60)
        except BaseException as reason:
            if isinstance(reason, Failed):
                self.report()
            self.close()
            raise
        return self

    def _all_serve(self):
        for member in self.members:
            if not member.running:
                raise Failed(f"{member} ended instead of serving: {member.last_words}")
        return all(member.status() for member in self.members)

    def __exit__(self, kind, *_):
        if kind is not None and kind is not SystemExit:
            self.report()
        self.close()

    def launch(self):
        for member in self.members:
            if not member.running:
                member.launch()

    def close(self):
        """Kills every member and removes the directory and the networks; a second time there is nothing to do."""
        if self not in _open:
            return
        _open.discard(self)
        for member in self.members:
            if member.process and member.process.poll() is None:
                member.process.kill()
                member.process.wait()
        for grip in self.grips:
            grip.close()
        for member in self.members:
            if member.data.is_mount():
                subprocess.run(["umount", "-l", str(member.data)], capture_output=True)
        if os.environ.get("RINGKEEPER_KEEP"):
            print(f"kept: {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def report(self):
        """Where everybody stands and the end of every log, for a failed run."""
        for member in self.members:
            print(f"--- {member}: running {member.running}, paused {member.paused}, status {member.status()}\n{member.tail()}")

    def __getitem__(self, sid):
        return self.members[sid - 1]

    @property
    def voters(self):
        return [member for member in self.members if not member.observer]

    @property
    def hosts(self):
        return ",".join(member.where for member in self.members)

    def awake(self):
        return [member for member in self.members if member.awake]

    def leader(self, seconds=30, among=None):
        """The member that leads and serves."""
        return wait_for("a leader", lambda: next(
            (member for member in among or self.awake() if member.mode == "leader"), None), seconds)

    def followers(self):
        return [member for member in self.awake() if member.mode == "follower"]

    def wait_serving(self, members=None, seconds=40):
        """Until every awake member (or those named) serves."""
        members = members or self.awake()
        wait_for(f"{members} serve", lambda: all(member.status() for member in members), seconds)

    def settle(self, seconds=40):
        """Until all awake members serve, one of them leads, and all stand at the same zxid; returns that zxid.

        A leader counts its new epoch before its first txn does: a delete that fails makes that txn (a local session makes none).
        """
        def touched():
            try:
                with self.leader(seconds).connect() as client:
                    client.delete("/settle")
                return True
            except Refused:
                return True
            except (OSError, ConnectionError):
                return False

        def same():
            statuses = [member.status() for member in self.awake()]
            if not all(statuses) or sum(mode == "leader" for mode, _ in statuses) != 1:
                return None
            zxids = {zxid for _, zxid in statuses}
            return zxids.pop() if len(zxids) == 1 else None

        try:
            wait_for("a session", touched, seconds)
            first = wait_for("one leader and equal zxids", same, seconds)
        except Failed as reason:
            raise Failed(f"{reason}: {[(member, member.status()) for member in self.members]}") from None
        return first

    def check_digests(self):
        """Writes until a digest is logged, then every member must have it, alike; no Java member may ever have seen another one."""
        before = {member: member.mismatches() for member in self.awake()}
        with self.leader().connect() as client:
            if client.exists("/digest-probe") is None:
                client.create("/digest-probe")
            for _ in range(2):
                client.pipeline([("set", "/digest-probe", b"x")] * 130)
        self.settle()
        logged = {member: member.digests() for member in self.awake()}
        common = set.intersection(*(set(digests) for digests in logged.values()))
        if not common:
            raise Failed(f"no digest at a common zxid: { {m: sorted(d)[-3:] for m, d in logged.items()} }")
        newest = max(common)
        for zxid in sorted(common):
            told = {member: digests[zxid] for member, digests in logged.items() if zxid > member.replayed_to}
            if len(set(told.values())) > 1:
                raise Failed(f"digests differ at zxid {zxid:#x}: {told}")
        if newest <= max(member.replayed_to for member in logged):
            raise Failed(f"no digest at a common zxid since all serve: {newest:#x}")
        for member, count in before.items():
            if member.mismatches() != count:
                raise Failed(f"{member} counted {count} digest mismatches and then {member.mismatches()}")
        self.check_mismatches()
        return newest

    def check_mismatches(self, at_rest=True):
        """The Java members compare every txn with the digest it carries: their count of mismatches must be 0."""
        for member in self.awake():
            count = member.mismatches()
            if count != member.replay_mismatches and (count is not None or at_rest):
                raise Failed(f"{member} counts {count} digest mismatches, {member.replay_mismatches} of its own replay")

    def check_trees(self, root="/"):
        """Every member, asked itself, tells the same tree: names, data, every field of the stat, ACLs."""
        reference = None
        for member in self.awake():
            with member.connect() as client:
                client.sync("/")
                tree = client.walk(root, self.not_walked)
            if reference is None:
                reference, first = tree, member
            elif tree != reference:
                odd = sorted(path for path in tree.keys() | reference.keys() if tree.get(path) != reference.get(path))
                raise Failed(f"{first} and {member} differ at {len(odd)} znodes, first {odd[0]}: "
                             f"{reference.get(odd[0])} and {tree.get(odd[0])}")
        return reference

    def check_same(self):
        """All that must be equal at rest."""
        self.settle()
        self.check_trees()
        return self.check_digests()

    def lead(self, kind, rounds=12):
        """Restarts leaders until one of `kind` leads; only there are two kinds."""
        for _ in range(rounds):
            leader = self.leader()
            if leader.kind == kind:
                return leader
            leader.stop()
            self.leader()
            leader.launch()
            self.settle()
        raise Failed(f"no {kind} became leader in {rounds} rounds")

    def replace(self, member, kind, how):
        """Stops a member and starts another kind in its place: with nothing (`network`), with its data converted (`convert`), or with
        its data converted to ringkeeper's form and to Apache's again (`roundtrip`)."""
        if member.running:
            member.stop()
        old, before = member.data, member.kind
        member.kind = kind
        member.generation += 1
        new = member.directory / f"data{member.generation}"
        if how == "roundtrip":
            between = member.directory / f"between{member.generation}"
            steps = [("import", old, between), ("export", between, new)]
        elif how == "convert" and kind != before and "ringkeeper" in (before, kind):
            steps = [("import" if kind == "ringkeeper" else "export", old, new)]
        else:
            steps = []
            if how == "convert":
                os.rename(old, new)
        for verb, source, target in steps:
            words = [verb, source, "--data-dir", target] if verb == "import" else [verb, "--data-dir", source, target]
            done = subprocess.run([servers.ringkeeper_binary(), *map(str, words)], capture_output=True, text=True, timeout=600)
            if done.returncode != 0:
                raise Failed(f"ringkeeper {verb} failed: {done.stderr[-1500:]}")
        member.data = new
        shutil.rmtree(old, ignore_errors=True)
        member.launch()


def _close_all():
    for cluster in list(_open):
        cluster.close()


atexit.register(_close_all)


def limit_seconds(seconds):
    """Ends the program, servers included, when it takes longer than anything reasonable."""
    def end(*_):
        print(f"gave up after {seconds} s", flush=True)
        _close_all()
        os._exit(124)
    signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
