"""Starts and stops the servers under comparison: Apache 3.9, Apache 3.8 and ringkeeper, each standalone on a free port.

A `Server` owns a temporary directory with its zoo.cfg and its data, and the process. It dies with the test that made it: every way
out of the program (return, exception, signal, even a killed parent) takes the server along.

    with Server("apache39", "tickTime=2000\n") as server:
        server.port ...

Targets: `apache39` (jars fetched by apache.sh), `apache38` (Debian's package), `ringkeeper` ($RINGKEEPER_BIN, default
target/release/ringkeeper of this repository, started as `ringkeeper serve <zoo.cfg>`).
"""

import atexit
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIB = Path(__file__).resolve().parent
REPOSITORY = LIB.parent.parent
CACHE = Path(os.environ.get("RINGKEEPER_CACHE", Path.home() / ".cache" / "ringkeeper"))
TARGETS = ("apache39", "apache38", "ringkeeper")
DEBIAN_JARS = ("zookeeper", "zookeeper-jute", "slf4j-simple", "jline2", "commons-cli")
# What a reference server tells in its log, for the reports of failed runs; its clients stay quiet (java/).
REFERENCE_LOG = ("-Dreference.log=info", "-Dorg.slf4j.simpleLogger.defaultLogLevel=info")
START_SECONDS = 40.0

_live = set()


def install(*parts):
    """Runs apache.sh for the named parts (all when none is named); quick when everything is already there."""
    subprocess.run([str(LIB / "apache.sh"), *parts], check=True)


def classpath(target):
    """The Java class path of a reference version, the server as well as its zkCli and Curator."""
    if target == "apache39":
        return ":".join([str(LIB / "java"), *sorted(str(jar) for jar in (CACHE / "apache39").glob("*.jar"))])
    return ":".join([str(LIB / "java"), *(f"/usr/share/java/{name}.jar" for name in DEBIAN_JARS)])


def ringkeeper_binary():
    """The binary under test: $RINGKEEPER_BIN or target/release/ringkeeper."""
    path = Path(os.environ.get("RINGKEEPER_BIN", REPOSITORY / "target" / "release" / "ringkeeper"))
    if not path.exists():
        sys.exit(f"no ringkeeper binary at {path}: build it (cargo build --release) or set RINGKEEPER_BIN")
    return str(path)


def free_port():
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(target, cfg, jvm):
    """The command line that serves `cfg`; `jvm` are -D definitions, given to ringkeeper through JVMFLAGS."""
    if target == "ringkeeper":
        return [ringkeeper_binary(), "serve", str(cfg)]
    return ["java", "-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", *REFERENCE_LOG, *jvm,
            "-cp", classpath(target), "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(cfg)]


class Server:
    """One standalone server process in its own temporary directory."""

    def __init__(self, target, config, jvm=(), name="", port=None):
        self.target = target
        self.jvm = list(jvm)
        self.directory = Path(tempfile.mkdtemp(prefix=f"ringkeeper-{target}-{name}-"))
        self.port = port or free_port()
        self.cfg = self.directory / "zoo.cfg"
        self.log = self.directory / "server.log"
        self.process = None
        self.cfg.write_text(f"clientPort={self.port}\nclientPortAddress=127.0.0.1\ndataDir={self.directory}/data\n{config}")
        (self.directory / "data").mkdir()
        self.launch()

    def launch(self):
        """Starts the process. The thread that does must outlive it: the kernel ends the child with its parent thread."""
        environment = dict(os.environ, JVMFLAGS=" ".join(self.jvm))
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command(self.target, self.cfg, self.jvm), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, cwd=self.directory, start_new_session=True, preexec_fn=die_with_parent)
        _live.add(self)

    def wait_until_serving(self):
        """Returns once `srvr` reports a mode; fails with the end of the server's log."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            answer = four_letter_word(self.port, "srvr", timeout=2.0)
            if b"Mode:" in answer:
                return
            time.sleep(0.03)
        tail = self.log.read_text(errors="replace")[-3000:]
        text = self.cfg.read_text()
        self.stop()
        raise RuntimeError(f"{self.target} did not start with\n{text}\nits log ends with:\n{tail}")

    def kill(self, sign=signal.SIGTERM):
        """Ends the process, keeps the directory: launch() continues with the same data on the same port."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(sign)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        _live.discard(self)

    def stop(self):
        """Ends the process and removes its directory."""
        self.kill(signal.SIGKILL)
        if not os.environ.get("RINGKEEPER_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        self.wait_until_serving()
        return self

    def __exit__(self, *_):
        self.stop()


def use_venv():
    """Starts the program again under the environment that has kazoo, unless it already runs there."""
    python = CACHE / "venv/bin/python"
    if Path(sys.prefix) != CACHE / "venv":
        install("venv")
        os.execv(python, [str(python), *sys.argv])


def four_letter_word(port, word, timeout=5.0, host="127.0.0.1"):
    """Sends a raw word and returns everything the server says until it closes (b"" when it says nothing)."""
    if isinstance(word, str):
        word = word.encode()
    answer = b""
    try:
        with socket.create_connection((host, port), timeout=timeout) as link:
            link.sendall(word)
            while chunk := link.recv(65536):
                answer += chunk
    except OSError:
        pass
    return answer


def die_with_parent():
    ctypes.CDLL("libc.so.6", use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _stop_all(*_):
    for server in list(_live):
        server.stop()


atexit.register(_stop_all)


def exit_on_signal():
    """Turns SIGTERM into an ordinary exit, so that the servers are stopped by the handlers above."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def limit_minutes(minutes):
    """Ends the program, servers included, when it takes longer than anything reasonable."""
    def end(*_):
        print(f"gave up after {minutes} minutes", flush=True)
        _stop_all()
        os._exit(124)
    signal.signal(signal.SIGALRM, end)
    signal.alarm(minutes * 60)
