"""A plain client: one connection, one request at a time or a pipeline of them, and the session moves to another server when told to.

Unlike kazoo it takes its watches along (SetWatches with the last zxid it saw), never retries on its own, and checks on every reply
what each client may rely on: answers in order, and a zxid that never goes back within the session, on whatever server.
"""

import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "parity"))

import wire  # noqa: E402

NO_NODE, BAD_VERSION, NODE_EXISTS = -101, -103, -110


class SessionLost(Exception):
    """The server says that the session does not exist any more."""


class Refused(Exception):
    """An error reply nobody expected."""

    def __init__(self, op, path, error):
        super().__init__(f"{op} {path}: error {error}")
        self.error = error


class Client:
    """One session. `address` is (host, port); `read_only` puts up with a server without a leader, `served_read_only` says it is one."""

    def __init__(self, address, timeout_ms=20000, patience=20.0, connect=True, read_only=False):
        self.timeout_ms, self.patience = timeout_ms, patience
        self.session, self.password, self.last_zxid = 0, bytes(16), 0
        self.link, self.xid, self.pending = None, 0, b""
        self.read_only, self.served_read_only = read_only, False
        self.events = []
        self.watched = {"data": set(), "exist": set(), "child": set()}
        if connect:
            self.connect(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- connection

    def connect(self, address, seconds=20.0, retry=True):
        """Begins or takes up the session at `address`; retries while the server is not ready."""
        self.drop()
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.link = socket.create_connection(address, timeout=self.patience)
                self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.pending = b""
                self.link.sendall(wire.frame(wire.connect_request(self.timeout_ms, self.session, self.password, self.last_zxid,
                                                                   read_only=self.read_only)))
                answer = self._frame()
                break
            except (OSError, ConnectionError):
                self.drop()
                if not retry or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        reader = wire.Reader(answer)
        reader.int32()
        timeout, session, password = reader.int32(), reader.int64(), reader.buffer()
        self.served_read_only = reader.boolean()
        if timeout <= 0 or session == 0:
            self.drop()
            raise SessionLost(f"{self.session:#x}")
        if self.session not in (0, session):
            raise AssertionError(f"session {self.session:#x} came back as {session:#x}")
        self.session, self.password, self.timeout_ms = session, password, timeout
        if any(self.watched.values()):
            body = wire.set_watches(self.last_zxid, *(sorted(self.watched[kind]) for kind in ("data", "exist", "child")))
            self._call(wire.SET_WATCHES, body, xid=-8)

    def drop(self):
        """Closes the connection, not the session."""
        if self.link:
            self.link.close()
        self.link = None

    def close(self):
        """Closes the session; the connection is gone even if nobody answers."""
        try:
            if self.link:
                self._call(wire.CLOSE_SESSION, b"")
        except (OSError, ConnectionError):
            pass
        self.drop()

    # ---- frames

    def _frame(self):
        while len(self.pending) < 4 or len(self.pending) < 4 + int.from_bytes(self.pending[:4], "big"):
            chunk = self.link.recv(1 << 18)
            if not chunk:
                raise ConnectionError("closed by the server")
            self.pending += chunk
        size = 4 + int.from_bytes(self.pending[:4], "big")
        frame, self.pending = self.pending[4:size], self.pending[size:]
        return frame

    def _reply(self, expected):
        """The reply with this xid; events before it are kept in order."""
        while True:
            reader = wire.Reader(self._frame())
            xid, zxid, error = reader.int32(), reader.int64(), reader.int32()
            if xid == -1:
                kind, _, path = reader.int32(), reader.int32(), reader.string()
                self.events.append((kind, path))
                for paths in self.watched.values():
                    paths.discard(path)
                continue
            if xid != expected:
                raise AssertionError(f"reply to {xid} where {expected} was asked")
            if zxid > 0:
                if zxid < self.last_zxid:
                    raise AssertionError(f"session {self.session:#x}: zxid {zxid:#x} after {self.last_zxid:#x}")
                self.last_zxid = zxid
            return zxid, error, reader

    def _call(self, op, body, xid=None):
        if self.link is None:
            raise ConnectionError("not connected")
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.link.sendall(wire.frame(wire.header(xid, op) + body))
        return self._reply(xid)

    def ask(self, op, path, body):
        zxid, error, reader = self._call(op, body)
        if error:
            raise Refused(wire.NAMES.get(op, op), path, error)
        return zxid, reader

    # ---- operations

    def create(self, path, data=b"", flags=0):
        """The path made and its stat."""
        _, reader = self.ask(wire.CREATE2, path, wire.create(path, data, flags=flags))
        return reader.string(), reader.stat()

    def ensure(self, path):
        try:
            self.create(path)
        except Refused as refused:
            if refused.error != NODE_EXISTS:
                raise

    def set(self, path, data, version=-1):
        return self.ask(wire.SET_DATA, path, wire.set_data(path, data, version))[1].stat()

    def delete(self, path, version=-1):
        self.ask(wire.DELETE, path, wire.path_version(path, version))

    def get(self, path, watch=False):
        _, reader = self.ask(wire.GET_DATA, path, wire.path_watch(path, watch))
        if watch:
            self.watched["data"].add(path)
        return reader.buffer(), reader.stat()

    def exists(self, path, watch=False):
        """The stat, None if there is no such node."""
        _, error, reader = self._call(wire.EXISTS, wire.path_watch(path, watch))
        if error not in (0, NO_NODE):
            raise Refused("exists", path, error)
        if watch:
            self.watched["exist" if error else "data"].add(path)
        return None if error else reader.stat()

    def children(self, path, watch=False):
        _, reader = self.ask(wire.GET_CHILDREN, path, wire.path_watch(path, watch))
        if watch:
            self.watched["child"].add(path)
        return reader.vector(reader.string)

    def sync(self, path="/"):
        self.ask(wire.SYNC, path, wire.string(path))

    def ping(self):
        self._call(wire.PING, b"", xid=-2)

    def multi(self, *operations):
        """The results of a multi, decoded by wire.py."""
        _, reader = self.ask(wire.MULTI, "multi", wire.multi(*operations))
        return wire.reply_body(wire.MULTI, reader.data, reader.at)

    def wait_events(self, count, seconds=10.0):
        """Until so many events came; pings make the server speak."""
        deadline = time.monotonic() + seconds
        while len(self.events) < count and time.monotonic() < deadline:
            self.ping()
            time.sleep(0.02)
        return self.events

    def pipeline(self, requests, window=200):
        """("set", path, data) and ("create", path, data) with many in flight; returns the zxids, fails at the first error."""
        waiting, zxids, at = [], [], 0
        while at < len(requests) or waiting:
            frames = []
            while at < len(requests) and len(waiting) < window:
                kind, path, data = requests[at]
                self.xid += 1
                op, body = (wire.SET_DATA, wire.set_data(path, data)) if kind == "set" else (wire.CREATE, wire.create(path, data))
                frames.append(wire.frame(wire.header(self.xid, op) + body))
                waiting.append((self.xid, kind, path))
                at += 1
            if frames:
                self.link.sendall(b"".join(frames))
            for _ in range(max(1, len(waiting) // 2)):
                xid, kind, path = waiting.pop(0)
                zxid, error, _ = self._reply(xid)
                if error:
                    raise Refused(kind, path, error)
                zxids.append(zxid)
        return zxids

    def load(self, root, count, data=b"x" * 64, fanout=1000, batch=400):
        """`count` znodes below `root` in folders of `fanout`, made by multis."""
        self.ensure(root)
        operations, waiting = [], []
        for number in range(count):
            if number % fanout == 0:
                operations.append((wire.CREATE, wire.create(f"{root}/{number // fanout}")))
            operations.append((wire.CREATE, wire.create(f"{root}/{number // fanout}/{number % fanout}", data)))
            if len(operations) >= batch or number == count - 1:
                self.xid += 1
                self.link.sendall(wire.frame(wire.header(self.xid, wire.MULTI) + wire.multi(*operations)))
                waiting.append(self.xid)
                operations = []
            while len(waiting) > 8 or (number == count - 1 and waiting):
                _, error, reader = self._reply(waiting.pop(0))
                if error or any(result[0] == "error" for result in wire.reply_body(wire.MULTI, reader.data, reader.at)):
                    raise Refused("multi", root, error)

    def walk(self, root="/", skip=("/zookeeper",)):
        """Every znode below `root`: path to (data, stat fields, ACL). One that goes away meanwhile is left out."""
        tree, todo, gone = {}, [root], set()
        while todo:
            batch, todo = todo[:200], todo[200:]
            asked = []
            for path in batch:
                for op in (wire.GET_DATA, wire.GET_ACL, wire.GET_CHILDREN):
                    self.xid += 1
                    body = wire.string(path) if op == wire.GET_ACL else wire.path_watch(path)
                    asked.append((self.xid, op, path, wire.frame(wire.header(self.xid, op) + body)))
            self.link.sendall(b"".join(frame for *_, frame in asked))
            for xid, op, path, _ in asked:
                _, error, reader = self._reply(xid)
                if error == NO_NODE or path in gone:
                    gone.add(path)
                    tree.pop(path, None)
                elif error:
                    raise Refused(wire.NAMES[op], path, error)
                elif op == wire.GET_DATA:
                    data, stat = reader.buffer(), reader.stat()
                    tree[path] = (data, *(getattr(stat, field) for field in wire.Stat.__slots__))
                elif op == wire.GET_ACL:
                    tree[path] += (tuple(reader.acl()),)
                else:
                    below = (f"{path.rstrip('/')}/{name}" for name in reader.vector(reader.string))
                    todo += [child for child in below if child not in skip]
        return tree
