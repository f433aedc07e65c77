"""Clients under load: kazoo sessions that write registers, count by compare-and-set, draw sequence numbers and hold ephemerals.

Each worker is a thread with a kazoo client over all the members. What it did goes into the history. A worker that loses its session starts over with the next one, as any application does.
"""

import logging
import random
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, ConnectionLoss, KazooException, NoNodeError, OperationTimeoutError, SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState

from history import Gone, Made, Read, Violation, Write

logging.getLogger("kazoo").setLevel(logging.CRITICAL)
UNSURE = (ConnectionLoss, SessionExpiredError, OperationTimeoutError, KazooTimeoutError, KazooException)
ROOT = "/load"
# So many of the nodes it made a worker leaves alone; beyond that it deletes as many as it makes.
KEPT = 30


class Worker(threading.Thread):
    """One session at a time, until `stop()`."""

    fired = 0

    def __init__(self, number, hosts, history, seed, registers=8, timeout=8.0, pause=0.008):
        super().__init__(daemon=True)
        self.history, self.registers, self.pause = history, registers, pause
        self.name = f"k{number}"
        self.dice = random.Random(f"{seed}/{number}")
        self.ending = threading.Event()
        self.mine = []
        self.session, self.number, self.lost, self.values, self.trouble = 0, 0, 0, 0, None
        self.kazoo = KazooClient(
            hosts=hosts, timeout=timeout, randomize_hosts=True,
            connection_retry={"max_tries": -1, "delay": 0.02, "backoff": 1.5, "max_delay": 0.3, "max_jitter": 0.1},
            command_retry={"max_tries": 0})
        self.kazoo.add_listener(self.listen)

    def listen(self, state):
        if state == KazooState.LOST and not self.ending.is_set():
            self.lost += 1

    def begin(self):
        self.kazoo.start(40)
        self.start()

    def stop(self):
        """Ends the work, keeps the session."""
        self.ending.set()
        self.join(60)
        if self.is_alive():
            raise AssertionError(f"worker {self.name} does not end")
        if self.trouble:
            raise self.trouble

    def close(self):
        """Ends the session as well."""
        self.kazoo.stop()
        self.kazoo.close()

    def current(self):
        """The session right now."""
        self.session = self.kazoo.client_id[0] if self.kazoo.client_id else 0
        return self.session

    @property
    def connected(self):
        return self.kazoo.connected

    def sessions(self):
        return {self.current()}

    def begun(self):
        """For a request that is about to be sent: its session, its number, the time."""
        self.number += 1
        return self.current(), self.number, time.monotonic()

    def run(self):
        operations = [self.write] * 4 + [self.read] * 4 + [self.count] * 2 + [self.draw] * 2 + [self.hold, self.read_synced]
        operations += [self.drop] * 3
        try:
            while not self.ending.is_set():
                if not self.kazoo.connected:
                    time.sleep(0.02)
                    continue
                self.dice.choice(operations)()
                time.sleep(self.pause)
        except Exception as trouble:  # told to whoever stops the worker
            self.trouble = trouble

    def register(self):
        return f"{ROOT}/registers/{self.dice.randrange(self.registers)}"

    def _write(self, path, value, version=-1):
        begun = self.begun()
        try:
            stat = self.kazoo.set_async(path, value, version).get(timeout=30)
        except BadVersionError:
            self.history.add(self.history.writes, Write(path, value, "fail", *begun, time.monotonic(), 0, 0))
            return
        except UNSURE:
            self.history.add(self.history.writes, Write(path, value, "info", *begun, time.monotonic(), 0, 0))
            return
        self.history.add(self.history.writes, Write(path, value, "ok", *begun, time.monotonic(), stat.mzxid, stat.version))

    def write(self):
        self.values += 1
        self._write(self.register(), f"{self.name}:{self.values}".encode())

    def read(self, path=None, synced=None):
        path, begun = path or self.register(), self.begun()
        try:
            value, stat = self.kazoo.get_async(path).get(timeout=30)
        except UNSURE:
            return None
        if self.current() != begun[0]:
            return None
        self.history.add(self.history.reads, Read(path, value, *begun, time.monotonic(), stat.mzxid, stat.version, synced))
        return value, stat

    def read_synced(self):
        path, session, began = self.register(), self.current(), time.monotonic()
        try:
            self.kazoo.sync_async(path).get(timeout=30)
        except UNSURE:
            return
        if self.current() == session:
            self.read(path, synced=began)

    def count(self):
        path = f"{ROOT}/counters/{self.dice.randrange(3)}"
        seen = self.read(path)
        if seen:
            # The value says who counted, so that it is unique; the number in it must be the version it makes.
            self._write(path, f"{seen[1].version + 1}:{self.name}:{self.values}".encode(), seen[1].version)
            self.values += 1

    def _create(self, path, **how):
        begun = self.begun()
        try:
            made, stat = self.kazoo.create_async(path, b"", include_data=True, **how).get(timeout=30)
        except UNSURE:
            return Made(path, "info", *begun, time.monotonic(), 0)
        return Made(made, "ok", stat.ephemeralOwner or begun[0], *begun[1:], time.monotonic(), stat.czxid)

    def draw(self):
        self._made(self.history.sequence, self._create(f"{ROOT}/sequence/n-", sequence=True))

    def hold(self):
        self.values += 1
        self._made(self.history.ephemerals, self._create(f"{ROOT}/ephemerals/{self.name}-{self.values}", ephemeral=True))

    def _made(self, where, made):
        self.history.add(where, made)
        if made.outcome == "ok":
            self.mine.append(made)

    def drop(self):
        """Deletes one of its own nodes; an ephemeral only in the session that made it, so that it has to be there."""
        if len(self.mine) < KEPT:
            return
        made = self.mine.pop(self.dice.randrange(len(self.mine)))
        begun = self.begun()
        if "/ephemerals/" in made.path and made.session != begun[0]:
            return
        outcome = "ok"
        try:
            self.kazoo.delete_async(made.path).get(timeout=30)
        except NoNodeError:
            if "/ephemerals/" not in made.path or self.current() == made.session:
                raise Violation(f"{made} is not there any more") from None
            return
        except UNSURE:
            outcome = "info"
        self.history.add(self.history.gone, Gone(made.path, outcome, *begun, time.monotonic()))


def prepare(client, registers=8):
    """The nodes the workers need."""
    client.ensure(ROOT)
    for folder in ("registers", "counters", "sequence", "ephemerals"):
        client.ensure(f"{ROOT}/{folder}")
    for number in range(registers):
        client.ensure(f"{ROOT}/registers/{number}")
    for number in range(3):
        client.ensure(f"{ROOT}/counters/{number}")


def look(tree):
    """What a tree holds of the load: registers and counters, sequence nodes."""
    final, names = {}, {}
    for path, (data, czxid, mzxid, _, _, version, *_) in tree.items():
        if path.startswith((f"{ROOT}/registers/", f"{ROOT}/counters/")):
            final[path] = (data, version, mzxid)
        elif path.startswith(f"{ROOT}/sequence/"):
            names[path] = czxid
    return final, names


def held(member):
    """The ephemerals as this member tells them: path to owner."""
    with member.connect() as client:
        client.sync(ROOT)
        tree = client.walk(f"{ROOT}/ephemerals")
    return {path: fields[8] for path, fields in tree.items() if path != f"{ROOT}/ephemerals"}


def check_counters(final):
    for path, (value, version, _) in final.items():
        if "/counters/" in path and version and int(value.split(b":")[0]) != version:
            raise AssertionError(f"{path} has version {version} and value {value!r}")


def judge(cluster, workers, history, strict_sync):
    """Stops the load, lets the ensemble come to rest, and holds everything against the history. Closes the workers.

    Returns a line of numbers."""
    for worker in workers:
        worker.stop()
    cluster.settle(90)
    limit = time.monotonic() + 60
    while not all(worker.connected for worker in workers):
        if time.monotonic() > limit:
            raise AssertionError("a worker finds no server")
        time.sleep(0.05)
    live = set().union(*(worker.sessions() for worker in workers))
    # Sessions that were lost on the way expire within their timeout and two ticks.
    limit = time.monotonic() + 20 + 20 * cluster.tick / 1000 + 4
    while not set(held(cluster.leader()).values()) <= live and time.monotonic() < limit:
        time.sleep(0.3)
    cluster.settle()
    final, names = look(cluster.check_trees())
    check_counters(final)
    stale = history.judge(final, names, strict_sync)
    history.check_ephemerals(held(cluster.leader()), live)
    half = workers[::2]
    gone = set().union(*(worker.sessions() for worker in half))
    for worker in half:
        worker.close()
    live -= gone
    cluster.settle()
    for member in cluster.awake():
        history.check_ephemerals(held(member), live)
    for worker in workers[1::2]:
        worker.close()
    cluster.settle()
    if held(cluster.leader()):
        raise AssertionError("ephemerals are left though every session was closed")
    cluster.check_digests()
    lost, fired = sum(worker.lost for worker in workers), sum(worker.fired for worker in workers)
    unsure = sum(write.outcome == "info" for write in history.writes)
    told = [f"{history.acknowledged} acknowledged writes", f"{len(history.reads)} reads", f"{unsure} unsure",
            f"{len(history.sequence)} sequence nodes", f"{len(history.ephemerals)} ephemerals", f"{len(history.gone)} deleted"]
    told += [f"{fired} watches fired"] if fired else []
    told += [f"{lost} sessions lost"] + ([f"{stale} stale syncs"] if stale else [])
    return ", ".join(told)
