"""What clients saw, kept as a history, and the judgement on it. No server is asked here.

An operation is `ok` (acknowledged), `fail` (an error that says it had no effect) or `info` (the connection went away: it may have
happened). Every acknowledged write brings its zxid and the version it made, which gives the order the servers claim; the checks hold
that order against real time, against what was read, and against each session's own order:

  - writes have one order consistent with real time: acknowledged before another began means a smaller zxid
  - a register's versions are its writes in zxid order: no version twice, none without a write to explain it
  - a read returns a write of that register
  - within a session each answer follows the ones before it: a write has a greater zxid than all the session had seen, a read is never
    older than what it had seen
  - sequence names are unique and follow their zxids
  - what was made is there unless it was deleted, and what was deleted stays away
"""

import bisect
import threading
from collections import defaultdict, namedtuple

# `number` says which request of its session it was: sent in this order, and so answered in this order.
Write = namedtuple("Write", "path value outcome session number began ended zxid version")
Read = namedtuple("Read", "path value session number began ended zxid version synced")
Made = namedtuple("Made", "path outcome session number began ended zxid")
# A sequence node or an ephemeral deleted by whoever made it.
Gone = namedtuple("Gone", "path outcome session number began ended")


class Violation(AssertionError):
    """The history is not one an ensemble may produce."""


class History:
    """Filled by many threads; judged once they are done."""

    def __init__(self):
        self.lock = threading.Lock()
        self.writes, self.reads, self.sequence, self.ephemerals, self.gone = [], [], [], [], []
        self.acknowledged = 0
        self.last_acknowledged = 0.0

    def add(self, where, entry):
        with self.lock:
            where.append(entry)
            if getattr(entry, "outcome", "") == "ok":
                self.acknowledged += 1
                self.last_acknowledged = max(self.last_acknowledged, entry.ended)

    def judge(self, final, names, strict_sync):
        """`final`: register to (value, version, zxid); `names`: sequence node to zxid, both as read at the end from every member.

        Returns how many reads after a sync were stale: a violation only when `strict_sync`; Apache's own leader answers syncs
        after it was replaced, as long as it does not know."""
        self._real_time()
        self._registers(final)
        self._sessions()
        self._sequence(names)
        stale = self._synced()
        if stale and strict_sync:
            raise Violation(f"{len(stale)} reads after a sync miss writes acknowledged before it, first {stale[0]}")
        return len(stale)

    def _real_time(self):
        ok = [entry for entry in (*self.writes, *self.sequence, *self.ephemerals) if entry.outcome == "ok"]
        owners = {}
        for write in ok:
            if write.zxid in owners:
                raise Violation(f"zxid {write.zxid:#x} acknowledged twice: {owners[write.zxid]} and {write}")
            owners[write.zxid] = write
        ended = sorted(ok, key=lambda write: write.ended)
        highest, at = None, 0
        for write in sorted(ok, key=lambda write: write.began):
            while at < len(ended) and ended[at].ended < write.began:
                if highest is None or ended[at].zxid > highest.zxid:
                    highest = ended[at]
                at += 1
            if highest is not None and highest.zxid > write.zxid:
                raise Violation(f"{write} began after {highest} was acknowledged and has a smaller zxid")

    def _registers(self, final):
        unsure = defaultdict(set)
        known = defaultdict(dict)
        for write in self.writes:
            if write.outcome == "info":
                unsure[write.path].add(write.value)
            elif write.outcome == "ok":
                if write.version in known[write.path]:
                    raise Violation(f"version {write.version} of {write.path} twice: {known[write.path][write.version]} and {write}")
                known[write.path][write.version] = write
        seen = [(read.path, read.value, read.version, read.zxid) for read in self.reads]
        seen += [(path, value, version, zxid) for path, (value, version, zxid) in final.items()]
        guessed = defaultdict(dict)
        for path, value, version, zxid in seen:
            if version == 0:
                continue
            write = known[path].get(version)
            if write is not None:
                if (write.value, write.zxid) != (value, zxid):
                    raise Violation(f"{path} version {version} read as {value!r} at {zxid:#x}, written as {write}")
            elif value not in unsure[path]:
                raise Violation(f"{path} version {version} holds {value!r}, which nobody wrote")
            elif guessed[path].setdefault(version, (value, zxid)) != (value, zxid):
                raise Violation(f"{path} version {version} read as {(value, zxid)} and {guessed[path][version]}")
        for path, (value, version, zxid) in final.items():
            order = {v: write.zxid for v, write in known[path].items()} | {v: z for v, (_, z) in guessed[path].items()}
            last = 0
            for number in sorted(order):
                if order[number] <= last:
                    raise Violation(f"{path}: version {number} has zxid {order[number]:#x}, an earlier version {last:#x}")
                last = order[number]
            if order and max(order) > version:
                raise Violation(f"{path}: version {max(order)} was acknowledged or read, at the end it has {version}")
            missing = version - len(known[path])
            if missing > len(unsure[path]):
                raise Violation(f"{path}: {version} writes, but {len(known[path])} acknowledged and {len(unsure[path])} unsure")

    def _sessions(self):
        zxids = defaultdict(list)
        for write in self.writes:
            if write.outcome == "ok":
                zxids[write.path].append(write.zxid)
        for path in zxids.values():
            path.sort()
        sessions = defaultdict(list)
        for entry in (*self.writes, *self.sequence, *self.ephemerals):
            if entry.outcome == "ok":
                sessions[entry.session].append(entry)
        for read in self.reads:
            sessions[read.session].append(read)
        # A kazoo client between two sessions does not know whose request it was.
        sessions.pop(0, None)
        for entries in sessions.values():
            known, last = 0, None
            for entry in sorted(entries, key=lambda entry: entry.number):
                if not isinstance(entry, Read):
                    if entry.zxid <= known:
                        raise Violation(f"{entry} follows {last} in its session, which knew {known:#x} by then")
                else:
                    order = zxids[entry.path]
                    at = bisect.bisect_right(order, known)
                    if at and entry.zxid < order[at - 1]:
                        raise Violation(f"{entry}: its session knew {known:#x}, so at least {order[at - 1]:#x} was due; before it {last}")
                known, last = max(known, entry.zxid), entry

    def _synced(self):
        ok = sorted((write for write in self.writes if write.outcome == "ok"), key=lambda write: write.ended)
        best, ends = defaultdict(list), defaultdict(list)
        for write in ok:
            top = max(write.zxid, best[write.path][-1] if best[write.path] else 0)
            best[write.path].append(top)
            ends[write.path].append(write.ended)
        stale = []
        for read in self.reads:
            if read.synced is not None:
                at = bisect.bisect_left(ends[read.path], read.synced)
                if at and read.zxid < best[read.path][at - 1]:
                    stale.append(read)
        return stale

    def _sequence(self, names):
        ok = sorted((made for made in self.sequence if made.outcome == "ok"), key=lambda made: made.zxid)
        last, gone = "", self._gone()
        for made in ok:
            zxid = names.get(made.path)
            if zxid != made.zxid and not (zxid is None and gone.get(made.path)) or zxid and gone.get(made.path) == "ok":
                raise Violation(f"{made}, deletion {gone.get(made.path)}, is {names.get(made.path)} at the end")
            if made.path <= last:
                raise Violation(f"{made} follows {last}")
            last = made.path
        unsure = sum(made.outcome == "info" for made in self.sequence)
        known = {made.path for made in ok}
        if len(names.keys() - known) > unsure:
            raise Violation(f"{len(names)} sequence nodes, {len(known & names.keys())} of them acknowledged and {unsure} unsure")
        by_zxid = sorted(names, key=names.get)
        if by_zxid != sorted(names):
            raise Violation("sequence names are not in the order of their zxids")

    def _gone(self):
        """What was deleted, and whether that is sure: path to outcome."""
        return {gone.path: gone.outcome for gone in self.gone if gone.outcome != "fail"}

    def check_ephemerals(self, nodes, live):
        """`nodes`: path to owner, as read at rest; `live`: the sessions that live. Ephemerals iff live session, none lost."""
        gone = self._gone()
        for path, owner in nodes.items():
            if owner not in live:
                raise Violation(f"{path} belongs to {owner:#x}, which is gone")
            if gone.get(path) == "ok":
                raise Violation(f"{path} is there though it was deleted")
        for made in self.ephemerals:
            if made.session in live and made.outcome == "ok" and nodes.get(made.path) != made.session and made.path not in gone:
                raise Violation(f"{made} is not there though its session lives")
        every = {made.path for made in self.ephemerals}
        strange = set(nodes) - every
        if strange:
            raise Violation(f"nobody made {sorted(strange)[:3]}")
