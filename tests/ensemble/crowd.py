"""Many sessions in one thread, each with an ephemeral and a watch it takes along wherever it goes.

A session that loses its connection tries the next server at once and takes the session up again, with SetWatches. It is `lost` only
when a server says so. Counts are read by tests; nothing is asserted here but the order of zxids within a session.
"""

import errno
import selectors
import socket
import threading
import time

import wire

OFFLINE, CONNECTING, GREETING, READY = range(4)


class Person:
    """One session and the state of its connection."""

    def __init__(self, number, addresses, root, timeout_ms):
        self.number, self.addresses, self.timeout_ms = number, addresses, timeout_ms
        self.ephemeral, self.watched = f"{root}/held/{number}", f"{root}/watched/{number}"
        self.session, self.password, self.last_zxid = 0, bytes(16), 0
        self.at, self.state, self.link, self.pending = number, OFFLINE, None, b""
        self.begin, self.spoken, self.heard = 0.0, 0.0, 0.0
        self.holding = self.watching = False
        self.fired, self.moves, self.lost = [], 0, False

    def send(self, xid, op, body=b""):
        self.link.sendall(wire.frame(wire.header(xid, op) + body))
        self.spoken = time.monotonic()


class Crowd(threading.Thread):
    """`count` sessions spread over `addresses`. The folders of `prepare` must exist."""

    def __init__(self, addresses, count, timeout_ms, root="/crowd"):
        super().__init__(daemon=True)
        self.people = [Person(number, addresses, root, timeout_ms) for number in range(count)]
        self.selector = selectors.DefaultSelector()
        self.ending, self.trouble, self.greeted_at = threading.Event(), None, 0.0

    @staticmethod
    def prepare(client, count, root="/crowd"):
        for folder in (root, f"{root}/held", f"{root}/watched"):
            client.ensure(folder)
        client.pipeline([("create", f"{root}/watched/{number}", b"0") for number in range(count)])

    @property
    def ready(self):
        """How many are connected, hold their ephemeral and watch."""
        return sum(person.state == READY and person.holding and person.watching for person in self.people)

    @property
    def lost(self):
        return sum(person.lost for person in self.people)

    @property
    def sessions(self):
        return {person.session for person in self.people}

    def stop(self):
        """Ends the thread and drops the connections; the sessions are left to expire."""
        self.ending.set()
        self.join(20)
        if self.trouble:
            raise self.trouble

    def run(self):
        try:
            while not self.ending.is_set():
                now = time.monotonic()
                for person in self.people:
                    self.tend(person, now)
                for key, events in self.selector.select(0.02):
                    try:
                        self.serve(key.data, events)
                    except (OSError, ConnectionError):
                        self.drop(key.data)
        except Exception as trouble:  # told to whoever stops the crowd
            self.trouble = trouble
        for person in self.people:
            self.drop(person)

    def tend(self, person, now):
        if person.lost:
            return
        if person.state == OFFLINE:
            if now >= person.begin:
                self.dial(person, now)
        elif now - person.heard > person.timeout_ms * 2 / 3000:
            self.drop(person)
        elif person.state == READY and now - person.spoken > person.timeout_ms / 3000:
            try:
                person.send(-2, wire.PING)
            except OSError:
                self.drop(person)

    def dial(self, person, now):
        person.link = socket.socket()
        person.link.setblocking(False)
        person.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = person.link.connect_ex(person.addresses[person.at % len(person.addresses)])
        person.state, person.heard, person.pending = CONNECTING, now, b""
        if error not in (0, errno.EINPROGRESS):
            self.drop(person)
            return
        self.selector.register(person.link, selectors.EVENT_WRITE, person)

    def drop(self, person):
        if person.link is None:
            return
        try:
            self.selector.unregister(person.link)
        except (KeyError, ValueError):
            pass
        person.link.close()
        person.link, person.state = None, OFFLINE
        person.at += 1
        person.begin = time.monotonic() + 0.02

    def serve(self, person, events):
        if person.state == CONNECTING:
            error = person.link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise ConnectionError(error)
            self.selector.modify(person.link, selectors.EVENT_READ, person)
            person.link.sendall(wire.frame(
                wire.connect_request(person.timeout_ms, person.session, person.password, person.last_zxid)))
            person.state, person.spoken = GREETING, time.monotonic()
            return
        chunk = person.link.recv(65536)
        if not chunk:
            raise ConnectionError("closed")
        person.pending += chunk
        person.heard = time.monotonic()
        while len(person.pending) >= 4:
            size = 4 + int.from_bytes(person.pending[:4], "big")
            if len(person.pending) < size:
                return
            frame, person.pending = person.pending[4:size], person.pending[size:]
            if person.state == GREETING:
                self.greeted(person, wire.Reader(frame))
                if person.link is None:
                    return
            else:
                self.told(person, wire.Reader(frame))

    def greeted(self, person, reader):
        reader.int32()
        timeout, session, password = reader.int32(), reader.int64(), reader.buffer()
        if timeout <= 0 or session == 0:
            person.lost = person.session != 0
            self.drop(person)
            return
        if person.session:
            person.moves += 1
        person.session, person.password, person.state = session, password, READY
        if person.watching and not person.fired:
            person.send(-8, wire.SET_WATCHES, wire.set_watches(person.last_zxid, [person.watched]))
        if not person.watching:
            person.send(1, wire.GET_DATA, wire.path_watch(person.watched, True))
        if not person.holding:
            person.send(2, wire.CREATE, wire.create(person.ephemeral, b"", flags=wire.EPHEMERAL))
        self.greeted_at = time.monotonic()

    def told(self, person, reader):
        xid, zxid, error = reader.int32(), reader.int64(), reader.int32()
        if zxid > 0:
            if zxid < person.last_zxid:
                raise AssertionError(f"session {person.session:#x}: zxid {zxid:#x} after {person.last_zxid:#x}")
            person.last_zxid = zxid
        if xid == -1:
            kind, _, path = reader.int32(), reader.int32(), reader.string()
            person.fired.append((kind, path))
        elif xid == 1 and error == 0:
            person.watching = True
        elif xid == 2 and error in (0, -110):
            person.holding = True
