"""One server of an ensemble: its directory, its process, what it says of itself, and the words for waiting on it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "lib"), str(TESTS / "parity"), str(TESTS / "ensemble")]

import servers  # noqa: E402
from client import Client  # noqa: E402


class Failed(AssertionError):
    """The ensemble did not do what it must."""


def expect(truth, what):
    if not truth:
        raise Failed(what)


def wait_for(what, condition, seconds, pause=0.05):
    """Polls until `condition()` is true and returns its value; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(pause)


class Member:
    """One server of the ensemble: its directory, its process, what it says of itself."""

    def __init__(self, cluster, sid, kind, observer, ports):
        self.cluster, self.sid, self.kind, self.observer = cluster, sid, kind, observer
        self.client_port, self.quorum_port, self.election_port = ports
        self.host = cluster.network.address(sid) if cluster.network else "127.0.0.1"
        self.directory = cluster.directory / f"server{sid}"
        self.directory.mkdir()
        self.generation = 0
        self.data = self.directory / "data0"
        self.log = self.directory / "server.log"
        self.cfg = self.directory / "zoo.cfg"
        # More lines for its zoo.cfg alone, and members whose quorum port it is told wrong: sid to port.
        self.settings, self.misled = "", {}
        self.process, self.paused = None, False
        # Where the log of the present process begins.
        self.log_start = 0
        # Of an Apache server: see `note_replay`.
        self.replay_mismatches, self.replayed_to = 0, 0

    @property
    def address(self):
        return self.host, self.client_port

    @property
    def where(self):
        return f"{self.host}:{self.client_port}"

    def __repr__(self):
        return f"{self.sid}({self.kind}{', observer' if self.observer else ''})"

    def line(self, quorum_port=None):
        role = ":observer" if self.observer else ""
        return f"server.{self.sid}={self.host}:{quorum_port or self.quorum_port}:{self.election_port}{role}\n"

    def write_configuration(self):
        self.data.mkdir(exist_ok=True)
        (self.data / "myid").write_text(f"{self.sid}\n")
        self.cfg.write_text(
            f"clientPort={self.client_port}\nclientPortAddress={self.host}\ndataDir={self.data}\n" + self.cluster.settings
            + self.settings + ("peerType=observer\n" if self.observer else "")
            + "".join(member.line(self.misled.get(member.sid)) for member in self.cluster.members))

    def launch(self):
        """Starts the process on what its directory holds."""
        self.write_configuration()
        jvm = [*self.cluster.jvm] if self.kind == "ringkeeper" else [f"-Xmx{self.cluster.heap}", "-Xms16m", *self.cluster.jvm]
        clocks = self.cluster.clocks
        environment = dict(os.environ, JVMFLAGS=" ".join(self.cluster.jvm)) | (clocks.environment(self.sid) if clocks else {})

        def prepare():
            servers.die_with_parent()
            for grip in self.cluster.grips:
                grip.enter(self.sid)

        with open(self.log, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                servers.command(self.kind, self.cfg, jvm), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, cwd=self.directory, start_new_session=True, preexec_fn=prepare)
        self.paused, self.replay_mismatches, self.replayed_to = False, 0, 0

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def awake(self):
        return self.running and not self.paused

    def kill(self, sign=signal.SIGKILL):
        """Ends the process and waits for it; SIGTERM is an operator's stop."""
        if self.running:
            if self.paused:
                self.resume()
            self.process.send_signal(sign)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise Failed(f"{self} did not end on signal {sign}")

    def stop(self):
        self.kill(signal.SIGTERM)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        # The signal is on its way until every thread has taken it.
        wait_for(f"{self} stands still", self._is_stopped, 10)
        self.paused = True

    def _is_stopped(self):
        for stat in Path(f"/proc/{self.process.pid}/task").glob("*/stat"):
            if stat.read_text().rsplit(")", 1)[1].split()[0] not in "TZ":
                return False
        return True

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def empty(self):
        """Takes everything away from a member that is down; it will come back with nothing but its id."""
        for entry in self.data.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def word(self, word, timeout=2.0):
        return servers.four_letter_word(self.client_port, word, timeout=timeout, host=self.host).decode(errors="replace")

    def status(self):
        """(mode, zxid) as `srvr` says, None while it does not serve."""
        if not self.awake:
            return None
        fields = dict(line.split(": ", 1) for line in self.word("srvr").splitlines() if ": " in line)
        if "Mode" not in fields or "Zxid" not in fields:
            return None
        return fields["Mode"].strip(), int(fields["Zxid"], 16)

    @property
    def mode(self):
        status = self.status()
        return status and status[0]

    def monitor(self):
        """`mntr` as a dictionary."""
        return dict(line.split("\t", 1) for line in self.word("mntr", 5.0).splitlines() if "\t" in line)

    def mismatches(self):
        """How many txns did not lead to the digest they carry, as a Java member counts them since its start; it must count."""
        if self.kind == "ringkeeper":
            return 0
        told = self.monitor()
        if not told and not self.status():
            # It went out of service just now; it has to say so when all is at rest.
            return None
        if "zk_digest_mismatches_count" not in told:
            raise Failed(f"{self} does not say how many digest mismatches it has seen")
        return int(float(told["zk_digest_mismatches_count"]))

    def note_replay(self):
        """It serves again. A snapshot sent or written under load is fuzzy: what an Apache server passes through until it has caught up
        may have other digests than the txns promise, which it may count and log, and still end up the same. None may follow."""
        self.replay_mismatches = self.mismatches() or 0
        if self.kind != "ringkeeper" and (status := self.status()):
            self.replayed_to = status[1]

    def digests(self):
        """The digests of `hash`: zxid to digest, one for every 128th zxid."""
        answer = [line.split(": ") for line in self.word("hash", 5.0).splitlines() if ": " in line]
        return {int(zxid, 16): int(digest) for zxid, digest in answer}

    def connect(self, timeout_ms=20000, **more):
        """A plain client on this member alone."""
        return Client(self.address, timeout_ms, **more)

    @property
    def words(self):
        """The log of the present process."""
        with open(self.log, "rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")

    @property
    def last_words(self):
        """The exit code of a process that has ended, and its last error."""
        lines = self.words.splitlines()
        errors = [line for line in lines if re.search(r"Exception: |Error: |panicked", line)]
        return f"exit code {self.process.poll()}, {(errors or lines or ['not a word'])[-1]}"

    def tail(self):
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""
