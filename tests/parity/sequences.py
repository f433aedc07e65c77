"""Random request sequences: several connections, few paths, so that they collide.

A sequence is made from its seed alone, never from answers, so both servers get the same bytes. Requests go in pipelined bursts per
connection; now and then a connection is lost and its session renewed; before a burst a connection that missed somebody's change
syncs, which makes reads and events deterministic on any server.
Sequences share the server and, in batches, the sessions; each has its own prefix. At the end of a batch sessions are closed under the
eyes of another connection's watches.
"""

import random

import wire
from stage import Stage

BATCH = 25                      # sequences that share their connections
NAMES = ("/a", "/b", "/a/a", "/a/b", "/b/a", "/a/a/a", "")
READ_ONLY = [(wire.READ, "world", "anyone")]
OWNED = [(wire.ALL, "auth", "")]
READABLE = [(wire.ALL, "digest", "x:y"), (5, "world", "anyone")]
ACLS = (wire.OPEN, wire.OPEN, wire.OPEN, wire.OPEN, READ_ONLY, OWNED, [(30, "world", "anyone")], READABLE)


class Sequence:
    """The steps of one seed: (connection, [(opcode, body, label), ...]) in order; None for requests is a lost and renewed connection."""

    def __init__(self, seed, links, plain=False):
        self.dice = random.Random(seed)
        self.prefix = f"/s{seed}"
        self.links = links
        self.acls = [acl for acl in ACLS if not plain or acl in (wire.OPEN, READ_ONLY)]
        self.in_multi = [self.make_create, self.make_delete, self.make_set, self.make_check] + [self.make_create2, self.make_special] * (not plain)
        # Catch-up events on nodes one may not read differ on purpose (UB-07): a sequence has either the one or the other.
        self.catches_up = not plain and self.dice.random() < 0.5
        if self.catches_up:
            self.acls = [acl for acl in self.acls if acl in (wire.OPEN, READ_ONLY, READABLE)]
        self.weights = {kind: weight for kind, weight in self.WEIGHTS.items()
                        if not (plain and kind in self.NOT_IN_3_8) and (self.catches_up or kind != "set_watches")}

    def steps(self):
        dice = self.dice
        for _ in range(dice.randrange(6, 16)):
            if dice.random() < 0.03:
                yield dice.randrange(self.links), None
            yield dice.randrange(self.links), self.burst(dice.choice((1, 1, 2, 3, 6)))

    def burst(self, size):
        """Up to `size` requests; a setACL is the last, since Apache judges what is pipelined behind it by the old or the new ACL,
        depending on whether it has been applied yet."""
        requests = []
        while len(requests) < size and not (requests and requests[-1][0] == wire.SET_ACL):
            requests.append(self.request())
        return requests

    def path(self):
        return self.prefix + self.dice.choice(NAMES)

    def version(self):
        return self.dice.choice((-1, -1, -1, 0, 0, 1, 2, 5))

    def data(self):
        return self.dice.choice((b"", b"x", b"hello", None, b"y" * 100))

    def request(self):
        dice = self.dice
        kind = dice.choices(tuple(self.weights), tuple(self.weights.values()))[0]
        return getattr(self, "make_" + kind)()

    WEIGHTS = {"create": 14, "create2": 5, "special": 3, "delete": 9, "set": 8, "get": 7, "exists": 7, "children": 6, "children2": 4,
               "set_acl": 2, "get_acl": 2, "multi": 6, "multi_read": 2, "add_watch": 4, "remove_watches": 3, "check_watches": 2,
               "set_watches": 3, "ephemerals": 1, "count": 1, "ping": 1, "sync": 1, "broken": 1}

    # Watch bookkeeping differs (one mode per path in 3.8), undecodable writes take a zxid, exists needs no READ, create2 inside multi
    # is answered like create: the cases show each of these once, sequences against 3.8 leave them out.
    NOT_IN_3_8 = ("add_watch", "remove_watches", "check_watches", "set_watches", "broken")

    def create_body(self, flags=(0, 0, 0, 0, 1, 1, 2, 3)):
        path, flag = self.path(), self.dice.choice(flags)
        if flag in (2, 3, 6):
            path += self.dice.choice(("/s-", "-"))
        return wire.create(path, self.data(), self.dice.choice(self.acls), flag), f"{path} {flag}"

    def make_create(self):
        body, label = self.create_body()
        return wire.CREATE, body, label

    def make_create2(self):
        body, label = self.create_body((0, 0, 1, 2, 3, 4))
        return wire.CREATE2, body, label

    def make_special(self):
        if self.dice.random() < 0.5:
            body, label = self.create_body((4,))
            return wire.CREATE_CONTAINER, body, label
        body, label = self.create_body((5, 6))
        return wire.CREATE_TTL, body + wire.int64(self.dice.choice((0, 3600000, 7200000))), label

    def make_delete(self):
        path, version = self.path(), self.version()
        return wire.DELETE, wire.path_version(path, version), f"{path} {version}"

    def make_set(self):
        path, version = self.path(), self.version()
        return wire.SET_DATA, wire.set_data(path, self.data(), version), f"{path} {version}"

    def watched(self, opcode):
        path, watch = self.path(), self.dice.random() < 0.5
        return opcode, wire.path_watch(path, watch), f"{path} {'watch' if watch else ''}"

    def make_get(self):
        return self.watched(wire.GET_DATA)

    def make_exists(self):
        return self.watched(wire.EXISTS)

    def make_children(self):
        return self.watched(wire.GET_CHILDREN)

    def make_children2(self):
        return self.watched(wire.GET_CHILDREN2)

    def make_set_acl(self):
        path, version = self.path(), self.version()
        return wire.SET_ACL, wire.set_acl(path, self.dice.choice(self.acls), version), f"{path} {version}"

    def make_get_acl(self):
        path = self.path()
        return wire.GET_ACL, wire.string(path), path

    def make_multi(self):
        operations, labels = [], []
        for _ in range(self.dice.randrange(0, 6)):
            opcode, body, label = self.dice.choice(self.in_multi)()
            operations.append((opcode, body))
            labels.append(f"{wire.NAMES[opcode]} {label}")
        return wire.MULTI, wire.multi(*operations), ", ".join(labels)

    def make_check(self):
        path, version = self.path(), self.version()
        return wire.CHECK, wire.path_version(path, version), f"{path} {version}"

    def make_multi_read(self):
        operations = [self.dice.choice((self.make_get, self.make_children))() for _ in range(self.dice.randrange(0, 4))]
        return wire.MULTI_READ, wire.multi(*[(opcode, body) for opcode, body, _ in operations]), ", ".join(label for *_, label in operations)

    def make_add_watch(self):
        path, mode = self.path(), self.dice.randrange(2)
        return wire.ADD_WATCH, wire.path_type(path, mode), f"{path} {mode}"

    def make_remove_watches(self):
        path, kind = self.path(), self.dice.randrange(1, 6)
        return wire.REMOVE_WATCHES, wire.path_type(path, kind), f"{path} {kind}"

    def make_check_watches(self):
        path, kind = self.path(), self.dice.randrange(1, 6)
        return wire.CHECK_WATCHES, wire.path_type(path, kind), f"{path} {kind}"

    def make_set_watches(self):
        lists = [[self.path() for _ in range(self.dice.randrange(3))] for _ in range(5)]
        back = self.dice.choice((0, 1, 3, 10))
        if self.dice.random() < 0.5:
            return wire.SET_WATCHES, lambda zxid: wire.set_watches(zxid - back, *lists[:3]), f"-{back} {lists[:3]}"
        return wire.SET_WATCHES2, lambda zxid: wire.set_watches2(zxid - back, *lists), f"-{back} {lists}"

    def make_ephemerals(self):
        path = self.path()
        return wire.GET_EPHEMERALS, wire.string(path), path

    def make_count(self):
        path = self.path()
        return wire.GET_ALL_CHILDREN_NUMBER, wire.string(path), path

    def make_ping(self):
        return wire.PING, b"", ""

    def make_sync(self):
        return wire.SYNC, wire.string("/"), ""

    def make_broken(self):
        opcode, body, label = self.dice.choice((self.make_create, self.make_set, self.make_multi, self.make_get, self.make_delete))()
        return opcode, body[:self.dice.randrange(len(body))], f"{label} cut"


def play_all(server, seed, count, plain):
    """Plays the sequences seed..seed+count-1; returns [(seed, notes)]. `plain` leaves out what Apache 3.8 is known to do otherwise."""
    played = []
    for start in range(seed, seed + count, BATCH):
        played += _play_batch(server, range(start, min(start + BATCH, seed + count)), plain)
    return played


def sign_in(link):
    """The connections `a` and `b` have a digest identity each, `c` has none."""
    if link.name != "c":
        link.auth("digest", f"{link.name}:{link.name}".encode())


def _play_batch(server, seeds, plain):
    stage = Stage(server, "")
    stage.open()
    links = [stage.connect(name) for name in "abc"]
    for link in links:
        sign_in(link)
    stage.notes.clear()
    played = []
    for seed in seeds:
        stage.root = f"/s{seed}"
        stage.rebase(links[0])  # one sequence that takes a zxid too many must not spoil the next
        links[0].call(wire.CREATE, wire.create(stage.root), label="~")
        for index, requests in Sequence(seed, len(links), plain).steps():
            link = links[index]
            if requests is None:
                link.drop()
                links[index] = link = stage.connect(link.name, session=link.session, password=link.password, last_zxid=stage.last_zxid)
                sign_in(link)
                continue
            link.catch_up()
            zxid = stage.last_zxid
            link.corked = []
            for opcode, body, label in requests:
                link.send(opcode, body(zxid) if callable(body) else body, label=label)
            data, link.corked = b"".join(link.corked), None
            link.send_raw(data)
            link.flush()
        for link in links:
            link.events()
        if seed == seeds[-1]:
            for number, link in enumerate(links):
                link.close_session()
                for other in links[number + 1:]:
                    # The ephemerals of a session go in no particular order.
                    other.seen = -1
                    other.catch_up()
                    other.pending.sort()
                    other.events(f"after {link.name} closed")
        played.append((seed, stage.notes))
        stage.notes = []
    stage.finish()
    return played
