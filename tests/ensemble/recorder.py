"""Clients of the Rust crate `zookeeper-client` beside the kazoo workers: a process of its own (recorder.rs) whose lines become history."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import servers
from history import Gone, Made, Read, Violation, Write


def binary():
    """RINGKEEPER_RECORDER, or the example `recorder` beside the server's binary."""
    default = Path(servers.ringkeeper_binary()).parent / "examples" / "recorder"
    path = Path(os.environ.get("RINGKEEPER_RECORDER", default))
    if not path.exists():
        sys.exit(f"no recorder at {path}: build it (cargo build --release --example recorder) or set RINGKEEPER_RECORDER")
    return str(path)


class Recorder(threading.Thread):
    """`clients` sessions, until `stop()`; to be used like a Worker."""

    def __init__(self, hosts, clients, history, seed, timeout=8.0):
        super().__init__(daemon=True)
        self.clients, self.history = clients, history
        self.lost, self.fired, self.resting, self.trouble, self.ended = 0, 0, {}, None, False
        self.command = [binary(), hosts, str(clients), str(int(timeout * 1000)), str(seed)]
        self.process = None

    def begin(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=servers.die_with_parent)
        self.start()

    def run(self):
        try:
            for line in self.process.stdout:
                getattr(self, "on_" + line.split("\t", 1)[0].strip())(*line.rstrip("\n").split("\t")[1:])
        except Exception as trouble:  # told to whoever stops the recorder
            self.trouble = trouble

    def _order(self, word):
        try:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        if self.trouble:
            raise self.trouble
        if self.process.poll() not in (None, 0):
            raise AssertionError(f"the recorder ended with code {self.process.returncode}")

    def stop(self):
        """Ends the load, keeps the sessions; the last of them is heard from before `connected` is true."""
        self._order("rest")

    def close(self):
        """Ends the sessions as well."""
        self._order("end")
        self.join(30)
        self.process.wait(5)
        if self.trouble:
            raise self.trouble
        if not self.ended:
            raise AssertionError("the recorder does not end")

    @property
    def connected(self):
        return len(self.resting) == self.clients

    def sessions(self):
        """The living ones; known once all are connected."""
        if self.trouble:
            raise self.trouble
        return set(self.resting.values())

    # ---- its lines

    def on_session(self, client, session):
        pass

    def on_lost(self, client, session):
        self.lost += 1
        self.resting.pop(client, None)

    def on_resting(self, client, session):
        self.resting[client] = int(session)

    def on_fired(self, client):
        self.fired += 1

    def on_violation(self, *text):
        self.trouble = self.trouble or Violation(f"{time.monotonic():.3f}: {' '.join(text)}")

    def on_ended(self):
        self.ended = True

    def on_write(self, path, value, outcome, session, number, began, ended, zxid, version):
        self.history.add(self.history.writes, Write(
            path, value.encode(), outcome, int(session), int(number), float(began), float(ended), int(zxid), int(version)))

    def on_read(self, path, value, session, number, began, ended, zxid, version, synced):
        self.history.add(self.history.reads, Read(
            path, value.encode(), int(session), int(number), float(began), float(ended), int(zxid), int(version),
            float(synced) if synced else None))

    def _made(self, where, path, outcome, session, number, began, ended, zxid):
        self.history.add(where, Made(path, outcome, int(session), int(number), float(began), float(ended), int(zxid)))

    def on_draw(self, *fields):
        self._made(self.history.sequence, *fields)

    def on_drop(self, path, outcome, session, number, began, ended):
        self.history.add(self.history.gone, Gone(path, outcome, int(session), int(number), float(began), float(ended)))

    def on_hold(self, *fields):
        self._made(self.history.ephemerals, *fields)
