"""Kills the server under load with SIGKILL, restarts it, and looks for every write it had acknowledged.

Each worker owns a connection, a counter node it sets to 1, 2, 3, ... with many requests in flight, and a
directory in which it creates sequential nodes. What must hold after each restart:

  - a counter is at least the last acknowledged value and at most the last one sent; its version says the same
  - every acknowledged sequential node exists, and no suffix was given twice
  - the zxid never goes back, and no session id is issued twice over all the restarts
  - the worker's session is still there and can be taken up again
  - an ephemeral node of a live session is still there

Every third round the server is killed before it has answered anything, every fifth again while it recovers. Every fourth one worker writes
alone: for a client that nobody keeps company the server writes its journal on another thread.
"""

import argparse
import random
import selectors
import signal
import socket
import struct
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "parity"), str(TESTS / "lib")]

import servers  # noqa: E402
import wire  # noqa: E402

WORKERS, IN_FLIGHT = 16, 12


class Worker:
    """One client: what it sent, what was acknowledged."""

    def __init__(self, number):
        self.number = number
        self.counter, self.directory = f"/crash/counter{number}", f"/crash/dir{number}"
        self.sent = self.acknowledged = self.start = 0
        self.created = set()
        self.session, self.password, self.last_zxid = 0, bytes(16), 0
        self.link = None

    def connect(self, port):
        """A handshake that takes the session up again; false if the server says that it is gone."""
        self.link = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.link.sendall(wire.frame(wire.connect_request(60000, self.session, self.password, self.last_zxid)))
        answer = read_frame(self.link)
        _, timeout, session, length = struct.unpack(">iiqi", answer[:20])
        if timeout <= 0:
            return False
        if self.session == 0:
            self.session, self.password = session, answer[20:20 + length]
        self.xid, self.waiting, self.pending = 0, [], b""
        return True

    def call(self, opcode, body):
        self.xid += 1
        self.link.sendall(wire.frame(wire.header(self.xid, opcode) + body))
        answer = read_frame(self.link)
        xid, zxid, err = struct.unpack(">iqi", answer[:16])
        assert xid == self.xid, f"reply to {xid} where {self.xid} was asked"
        self.last_zxid = max(self.last_zxid, zxid)
        return err, answer[16:]

    def send_some(self):
        frames = []
        while len(self.waiting) < IN_FLIGHT:
            self.xid += 1
            if self.xid % 3 == 0:
                self.waiting.append(("create", None))
                body = wire.header(self.xid, wire.CREATE) + wire.create(f"{self.directory}/n-", b"x", flags=2)
            else:
                self.sent += 1
                self.waiting.append(("set", self.sent))
                body = wire.header(self.xid, wire.SET_DATA) + wire.set_data(self.counter, str(self.sent).encode())
            frames.append(wire.frame(body))
        if frames:
            self.link.sendall(b"".join(frames))

    def receive(self):
        chunk = self.link.recv(65536)
        if not chunk:
            raise ConnectionError
        self.pending += chunk
        while len(self.pending) >= 4:
            length = struct.unpack(">i", self.pending[:4])[0]
            if len(self.pending) < 4 + length:
                return
            answer, self.pending = self.pending[4:4 + length], self.pending[4 + length:]
            _, zxid, err = struct.unpack(">iqi", answer[:16])
            if err:
                sys.exit(f"worker {self.number}: write refused with {err}")
            assert zxid > self.last_zxid, f"zxid {zxid:#x} after {self.last_zxid:#x}"
            self.last_zxid = zxid
            kind, value = self.waiting.pop(0)
            if kind == "set":
                self.acknowledged = value
            else:
                length = struct.unpack(">i", answer[16:20])[0]
                path = answer[20:20 + length].decode()
                assert path not in self.created, f"{path} was given twice"
                self.created.add(path)

    def check(self):
        """After a restart: everything acknowledged is there."""
        err, body = self.call(wire.GET_DATA, wire.path_watch(self.counter))
        assert err == 0, f"{self.counter}: error {err}"
        length = struct.unpack(">i", body[:4])[0]
        value = int(body[4:4 + length] or b"0")
        assert self.acknowledged <= value <= self.sent, (
            f"{self.counter} is {value}: {self.acknowledged} was acknowledged, {self.sent} sent")
        version = struct.unpack(">i", body[4 + length + 32:4 + length + 36])[0]
        assert version == value, f"{self.counter} has value {value} and version {version}"
        err, body = self.call(wire.GET_CHILDREN, wire.path_watch(self.directory))
        assert err == 0, f"{self.directory}: error {err}"
        names, at = set(), 4
        for _ in range(struct.unpack(">i", body[:4])[0]):
            length = struct.unpack(">i", body[at:at + 4])[0]
            names.add(f"{self.directory}/" + body[at + 4:at + 4 + length].decode())
            at += 4 + length
        lost = self.created - names
        assert not lost, f"acknowledged and lost: {sorted(lost)[:5]} and {len(lost)} in all"
        self.created = names
        err, _ = self.call(wire.EXISTS, wire.path_watch(f"/crash/alive{self.number}"))
        assert err == 0, f"the ephemeral of a live session is gone: {err}"
        self.sent = self.acknowledged = self.start = value


def read_frame(link):
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack(">i", data[:4])[0]:
        chunk = link.recv(65536)
        if not chunk:
            raise ConnectionError("closed")
        data += chunk
    return data[4:]


def load(workers, seconds):
    selector = selectors.DefaultSelector()
    for worker in workers:
        selector.register(worker.link, selectors.EVENT_READ, worker)
        worker.send_some()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for key, _ in selector.select(0.01):
            key.data.receive()
            key.data.send_some()
    selector.close()


def drain(workers):
    """What had been acknowledged before the kill but not been read yet counts as well."""
    for worker in workers:
        try:
            while True:
                worker.receive()
        except (OSError, ConnectionError):
            worker.link.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    dice = random.Random(options.seed)
    print(f"crash: seed {options.seed}, {options.rounds} rounds")
    servers.exit_on_signal()
    config = "tickTime=2000\nmaxClientCnxns=0\nsnapCount=500\nautopurge.purgeInterval=1\n"
    server = servers.Server("ringkeeper", config, name="crash")
    workers = [Worker(number) for number in range(WORKERS)]
    seen_sessions, acknowledged = set(), 0
    try:
        server.wait_until_serving()
        for worker in workers:
            assert worker.connect(server.port)
        workers[0].call(wire.CREATE, wire.create("/crash"))
        for worker in workers:
            for path, flags in ((worker.counter, 0), (worker.directory, 0), (f"/crash/alive{worker.number}", 1)):
                err, _ = worker.call(wire.CREATE, wire.create(path, b"0", flags=flags))
                assert err == 0, f"{path}: {err}"
        for number in range(options.rounds):
            load(workers[:1] if number % 4 == 1 else workers, 0 if number % 3 == 2 else dice.uniform(0.05, 0.6))
            server.kill(signal.SIGKILL)
            drain(workers)
            acknowledged += sum(worker.acknowledged - worker.start for worker in workers)
            server.launch()
            if number % 5 == 4:
                time.sleep(dice.uniform(0, 0.05))
                server.kill(signal.SIGKILL)
                server.launch()
            server.wait_until_serving()
            for worker in workers:
                assert worker.connect(server.port), f"worker {worker.number}: session {worker.session:#x} was lost"
                worker.check()
            fresh = Worker(-1)
            assert fresh.connect(server.port)
            assert fresh.session not in seen_sessions, f"session id {fresh.session:#x} issued twice"
            seen_sessions.add(fresh.session)
            fresh.link.close()
    finally:
        server.stop()
    print(f"crash: {options.rounds} kills under load, {acknowledged} acknowledged writes, none lost")


if __name__ == "__main__":
    main()
