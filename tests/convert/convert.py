"""Apache's data goes through `ringkeeper import` and `ringkeeper export`; Apache judges what comes out.

For each container of a snapshot (plain, gz, snappy when its jar is there): start Apache, fill it with every kind of
znode, kill it, import, export, start Apache on the export, compare every znode (data, stat, ACL) and resume the
session that owned the ephemerals. Then: exporting twice gives the same bytes, a damaged log is refused, a torn one cut.
"""

import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JARS = ":".join(f"/usr/share/java/{name}.jar" for name in (
    "zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop", "netty-all", "commons-cli", "snappy-java", "snappy"))
OPEN = [(31, "world", "anyone")]
STARTED = time.monotonic()


def string(text):
    return buffer(text.encode())


def buffer(data):
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def acls(entries):
    return struct.pack(">i", len(entries)) + b"".join(
        struct.pack(">i", perms) + string(scheme) + string(name) for perms, scheme, name in entries)


class Client:
    """The few requests this test needs, spelt out."""

    def __init__(self, port, session=0, password=b"\0" * 16):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.xid = 0
        self.send(struct.pack(">iqiq", 0, 0, 40000, session) + buffer(password) + b"\0")
        reply = self.receive()
        _, self.timeout, self.session = struct.unpack_from(">iiq", reply)
        self.password = reply[20:36]

    def send(self, frame):
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self):
        head = self.exactly(4)
        return self.exactly(struct.unpack(">i", head)[0])

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("closed by the server")
            data += more
        return data

    def call(self, op, body, xid=None):
        self.xid += 1
        xid = self.xid if xid is None else xid
        self.send(struct.pack(">ii", xid, op) + body)
        reply = self.receive()
        got, _, error = struct.unpack_from(">iqi", reply)
        assert got == xid, (got, xid)
        return error, reply[16:]

    def must(self, op, body, xid=None):
        error, reply = self.call(op, body, xid)
        assert error == 0, (op, body, error)
        return reply

    def create(self, path, data=b"x", acl=OPEN, flags=0, op=1, ttl=None):
        body = string(path) + buffer(data) + acls(acl) + struct.pack(">i", flags)
        self.must(op, body + (b"" if ttl is None else struct.pack(">q", ttl)))

    def dump(self, path="/"):
        """{path: (data, stat, ACL)} of everything below."""
        error, reply = self.call(4, string(path) + b"\0")
        assert error == 0, (path, error)
        found = {path: (reply, self.must(6, string(path)))}
        children = self.must(12, string(path) + b"\0")
        count, = struct.unpack_from(">i", children)
        at = 4
        for _ in range(count):
            length, = struct.unpack_from(">i", children, at)
            name = children[at + 4:at + 4 + length].decode()
            at += 4 + length
            found.update(self.dump(path.rstrip("/") + "/" + name))
        return found


class Apache:
    def __init__(self, directory, compression=""):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        cfg = directory / "zoo.cfg"
        cfg.write_text(f"tickTime=2000\ndataDir={directory}\nclientPort={self.port}\nclientPortAddress=127.0.0.1\n"
                       "admin.enableServer=false\nsnapCount=120\npreAllocSize=64\n4lw.commands.whitelist=*\n")
        flags = ["-Dzookeeper.extendedTypesEnabled=true", f"-Dzookeeper.snapshot.compression.method={compression}"]
        self.log = directory / "server.out"
        self.process = subprocess.Popen(
            ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *flags, "-cp", JARS,
             "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(cfg)],
            stdout=self.log.open("wb"), stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 40
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    # "ruok" is answered before requests are.
                    probe.sendall(b"srvr")
                    if b"Mode: standalone" in probe.makefile("rb").read():
                        return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise SystemExit("Apache's server did not start:\n" + self.log.read_text()[-3000:])
            time.sleep(0.1)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def fill(client):
    """Every kind of transaction; several snapshots' worth."""
    client.create("/plain", b"hello")
    client.create("/null", None)
    client.create("/empty", b"")
    client.create("/uni\u00e9", "\u00e9".encode())
    client.create("/big", bytes(range(256)) * 1000)
    client.create("/acl", b"a", [(31, "digest", "u:x"), (1, "world", "anyone")])
    client.create("/acl2", b"a", [(9, "world", "anyone"), (31, "ip", "127.0.0.1")])
    client.create("/container", b"c", flags=4, op=19)
    client.create("/container/child", b"c")
    client.create("/ttl", b"t", flags=5, op=21, ttl=3_600_000)
    client.create("/seq", b"")
    for number in range(300):
        client.create("/seq/n-", b"%d" % number, flags=2 if number % 4 else 3, op=1 if number % 2 else 15)
        if number % 3 == 0:
            client.must(5, string("/plain") + buffer(b"v%d" % number) + struct.pack(">i", -1))
        if number % 5 == 0:
            client.call(2, string("/nowhere") + struct.pack(">i", -1))
    for number in (1, 9, 17):
        client.must(2, string("/seq/n-%010d" % number) + struct.pack(">i", -1))
    client.must(7, string("/plain") + acls([(15, "world", "anyone")]) + struct.pack(">i", -1))
    client.create("/zookeeper/quota/seq", b"")
    client.create("/zookeeper/quota/seq/zookeeper_limits", b"count=1000,bytes=-1")
    client.create("/zookeeper/quota/seq/zookeeper_stats", b"count=0,bytes=0")
    good = struct.pack(">ibi", 1, 0, -1) + string("/multi") + buffer(b"m") + acls(OPEN) + struct.pack(">i", 0)
    good += struct.pack(">ibi", 5, 0, -1) + string("/empty") + buffer(b"set") + struct.pack(">i", -1)
    client.must(14, good + struct.pack(">ibi", -1, 1, -1))
    bad = struct.pack(">ibi", 2, 0, -1) + string("/multi") + struct.pack(">i", -1)
    bad += struct.pack(">ibi", 13, 0, -1) + string("/plain") + struct.pack(">i", 77)
    client.call(14, bad + struct.pack(">ibi", -1, 1, -1))


def run(binary, *arguments):
    return subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def must_run(binary, *arguments):
    done = run(binary, *arguments)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout + done.stderr


def compare(before, after):
    assert before.keys() == after.keys(), before.keys() ^ after.keys()
    # A quota's usage is counted anew by whoever loads it; its text is not kept by transactions.
    wrong = [path for path in before if before[path] != after[path] and not path.endswith("zookeeper_stats")]
    assert not wrong, [(path, before[path], after[path]) for path in wrong[:3]]


def exported(directory):
    files = sorted((directory / "version-2").iterdir())
    assert len(files) == 1, files
    return files[0]


def round_trip(binary, base, compression):
    apache, data, out = base / "apache", base / "data", base / "out"
    for directory in (apache, out):
        directory.mkdir(parents=True)
    server = Apache(apache, compression)
    try:
        other = Client(server.port)
        other.create("/gone", b"", flags=1)
        other.must(-11, b"")
        client = Client(server.port)
        fill(client)
        before = client.dump()
    finally:
        server.kill()
    assert "/gone" not in before and len(before) > 300
    suffix = f".{compression}" if compression else ""
    names = [path.name for path in (apache / "version-2").iterdir()]
    assert sum(name.startswith("snapshot.") and name.endswith(suffix) for name in names) >= 2, names
    must_run(binary, "import", apache, "--data-dir", data)
    again = run(binary, "import", apache, "--data-dir", data)
    assert again.returncode != 0 and "holds data already" in again.stderr + again.stdout, again
    must_run(binary, "export", "--data-dir", data, out)
    server = Apache(out)
    try:
        resumed = Client(server.port, client.session, client.password)
        assert resumed.session == client.session, "the session is gone"
        compare(before, resumed.dump())
    finally:
        server.kill()
    return apache, data, len(before)


def stable_and_strict(binary, base, apache, data):
    """Two exports agree to the byte, also through another import; damage is refused, a torn tail cut."""
    one, two, again = base / "one", base / "two", base / "again"
    must_run(binary, "export", "--data-dir", data, one)
    must_run(binary, "import", one, "--data-dir", again)
    must_run(binary, "export", "--data-dir", again, two)
    assert exported(one).name == exported(two).name
    assert exported(one).read_bytes() == exported(two).read_bytes(), "an export changes what it carries"
    logs = sorted((apache / "version-2").glob("log.*"), key=lambda path: int(path.suffix[1:], 16))
    log = logs[-1]
    content = log.read_bytes()
    end = len(content.rstrip(b"\0"))
    damaged = bytearray(content)
    damaged[16 + 12 + 40] ^= 1
    log.write_bytes(damaged)
    done = run(binary, "import", apache, "--data-dir", base / "damaged")
    assert done.returncode != 0 and str(log) in done.stdout + done.stderr, done
    assert "offset" in done.stdout + done.stderr, done
    log.write_bytes(content[:end - 7] + b"\0" * 7 + content[end:])
    note = must_run(binary, "import", apache, "--data-dir", base / "torn")
    assert "torn record" in note, note
    log.write_bytes(content)


def main():
    binary = sys.argv[1]
    base = Path(tempfile.mkdtemp(prefix="ringkeeper-convert-"))
    kinds = ["", "gz"]
    if any(Path(f"/usr/share/java/{name}.jar").exists() for name in ("snappy-java", "snappy")):
        kinds.append("snappy")
    try:
        for kind in kinds:
            apache, data, count = round_trip(binary, base / (kind or "plain"), kind)
            print(f"{kind or 'plain'}: {count} znodes came back as they went", flush=True)
            if not kind:
                stable_and_strict(binary, base, apache, data)
        print(f"convert: {len(kinds)} containers ({', '.join(kind or 'plain' for kind in kinds)}) there and back, "
              f"damage refused, in {time.monotonic() - STARTED:.0f} s")
    finally:
        shutil.rmtree(base, ignore_errors=True)


main()
