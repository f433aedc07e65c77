"""One case on one server: raw connections whose every answer is written down in a form two servers can be compared by.

What two correct servers may differ in is replaced by what they may not differ in:

  zxids         distance from the zxid at the case's start (`+3`); `0`, `-1` as they are; anything older is `old`
  session ids   `S1`, `S2` in order of appearance; the high byte must be the server id 1
  passwords     `derived` when they are the 16 bytes that follow from the session id
  times         `now` when within ten minutes of the clock; `mtime` must equal `ctime` as long as mzxid equals czxid
  child lists   sorted
  the case's own prefix   `~`

A notification is part of the answer it arrived before, so the order of events and replies is compared too.
"""

import socket
import struct
import time

import wire
from requests_by_name import Requests

ANSWER_SECONDS = 8.0
CLOSED = "closed"
SILENT = "no answer"


class Reply:
    """What a request got: `err` and `fields`, or `err` None when the connection closed or stayed silent."""

    def __init__(self, err=None, fields=(), zxid=0, text=""):
        self.err, self.fields, self.zxid, self.text = err, fields, zxid, text

    @property
    def path(self):
        return self.fields[0] if self.fields else ""


class Stage:
    """The notes of one case on one server, and what is needed to make them comparable."""

    def __init__(self, server, root, slow=1.0):
        self.server, self.root, self.slow = server, root, slow
        self.port = server.port
        self.notes, self.links, self.sessions, self.names = [], [], {}, {}
        self.writes = 0          # grows with every change any connection made: tells who has to catch up before reading
        self.recording = True
        self.base, self.last_zxid = 0, 0

    # ---- life ----

    def open(self):
        """Creates the case's root node and takes the zxid everything is relative to."""
        self.recording = False
        link = self.connect("stage")
        if self.root:
            link.call(wire.CREATE, wire.create(self.root))
        self.rebase(link)
        link.close_session()
        self.base += 1
        self.names.clear()
        self.recording = True

    def rebase(self, link):
        """Makes the present zxid the new base: for use after a declared difference in how many zxids something took."""
        recording, self.recording = self.recording, False
        self.base = link.call(wire.SYNC, wire.string("/")).zxid
        self.recording = recording

    def finish(self):
        """Closes every session of the case, re-attaching to those whose connection is gone, so that none expires later."""
        self.recording = False
        for link in self.links:
            if link.session and not link.dead:
                link.close_session()
            link.drop()
        for session, password in list(self.sessions.items()):
            link = self.link("janitor")
            link.handshake(session=session, password=password)
            if link.session:
                link.close_session()
            link.drop()

    # ---- notes ----

    def note(self, label, value):
        if self.recording:
            self.notes.append((self.text(label), self.text(value)))

    def text(self, value):
        text = value if isinstance(value, str) else self.show(value)
        return text.replace(self.root, "~") if len(self.root) > 1 else text

    def zxid(self, value):
        if value in (0, -1):
            return str(value)
        return f"+{value - self.base}" if value > self.base else "old"

    def session_name(self, session):
        if session == 0:
            return "0"
        if session not in self.names:
            odd = "" if session >> 56 == 1 else "(not of server 1)"
            self.names[session] = f"S{len(self.names) + 1}{odd}"
        return self.names[session]

    def show(self, value):
        """One field of a reply as comparable text."""
        if isinstance(value, wire.Stat):
            return self.stat(value)
        if isinstance(value, wire.Children):
            return "{" + " ".join(sorted(map(str, value))) + "}"
        if isinstance(value, (bytes, bytearray)):
            return repr(bytes(value)) if len(value) <= 80 else f"<{len(value)} bytes {value[:8]!r}..>"
        if isinstance(value, (tuple, list)):
            return "(" + ", ".join(map(self.show, value)) + ")"
        return value if isinstance(value, str) else repr(value)

    def stat(self, stat):
        if stat.mzxid == stat.czxid and stat.mtime != stat.ctime:
            times = f"mtime is {stat.mtime - stat.ctime} ms off ctime"
        else:
            times = f"{self.time(stat.ctime)} {self.time(stat.mtime)}"
        return (f"[c{self.zxid(stat.czxid)} m{self.zxid(stat.mzxid)} p{self.zxid(stat.pzxid)} {times} v{stat.version} cv{stat.cversion}"
                f" av{stat.aversion} owner {self.session_name(stat.owner)} len {stat.length} children {stat.children}]")

    @staticmethod
    def time(value):
        if value == 0:
            return "0"
        return "now" if abs(value / 1000 - time.time()) < 10 * 60 else f"time {value}"

    # ---- connections ----

    def link(self, name):
        """A bare TCP connection, no handshake yet."""
        link = Link(self, name)
        self.links.append(link)
        return link

    def connect(self, name="a", **request):
        """A connection with a session; `request` goes to wire.connect_request."""
        link = self.link(name)
        link.handshake(**request)
        return link

    def restart(self, sign=15):
        """Stops the server and starts it again on the same data; every connection is lost."""
        for link in self.links:
            link.drop()
        self.server.kill(sign)
        self.server.launch()
        self.server.wait_until_serving()


class Link(Requests):
    """One connection. `dead` once either side closed it."""

    def __init__(self, stage, name):
        self.stage, self.name = stage, name
        self.session, self.password, self.timeout = 0, b"", 0
        self.dead, self.xid, self.seen = False, 0, 0
        self.outstanding, self.corked, self.pending = [], None, []
        self.socket = socket.socket()
        self.socket.settimeout(ANSWER_SECONDS)
        try:
            self.socket.connect(("127.0.0.1", stage.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as reason:
            if isinstance(reason, ConnectionRefusedError):
                raise  # no server at all is not the same as one that turns us away
        self.input = b""

    # ---- bytes ----

    def send_raw(self, data):
        """Sends bytes as they are; a connection the server has already cut is noticed when reading."""
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def take(self, size, deadline):
        while len(self.input) < size:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                chunk = self.socket.recv(1 << 18)
            except TimeoutError:
                return SILENT
            except OSError:
                chunk = b""
            if not chunk:
                self.dead = True
                return CLOSED
            self.input += chunk
        piece, self.input = self.input[:size], self.input[size:]
        return piece

    def read_frame(self, seconds=ANSWER_SECONDS):
        """The payload of the next frame, or CLOSED or SILENT."""
        deadline = time.monotonic() + seconds
        size = self.take(4, deadline)
        if isinstance(size, str):
            return size
        return self.take(struct.unpack(">i", size)[0], deadline)

    def drop(self):
        """Closes the socket without a word; the session stays."""
        self.dead = True
        self.socket.close()

    # ---- handshake ----

    def handshake(self, note=True, seconds=ANSWER_SECONDS, **request):
        """Sends a ConnectRequest and notes the answer."""
        self.send_raw(wire.frame(wire.connect_request(**request)))
        return self.read_handshake(request, seconds)

    def read_handshake(self, request, seconds=ANSWER_SECONDS):
        stage = self.stage
        shown = " ".join(f"{key}={stage.session_name(value) if key == 'session' else stage.show(value)}"
                         for key, value in request.items() if key not in ("password", "last_zxid"))
        answer = self.read_frame(seconds)
        if isinstance(answer, str):
            stage.note(f"{self.name} connect {shown}", answer)
            return answer
        version, timeout, session = struct.unpack_from(">iiq", answer)
        reader = wire.Reader(answer, 16)
        password, rest = reader.buffer(), reader.rest()
        if session:
            self.session, self.password, self.timeout = session, password, timeout
            stage.sessions[session] = password
            stage.writes += 1
            self.seen = stage.writes
        kind = "derived" if password == derived_password(session) else "zeros" if password == bytes(16) else password.hex()
        stage.note(f"{self.name} connect {shown}", f"version {version} timeout {timeout} session {stage.session_name(session)} "
                                                  f"password {kind} read-only {rest.hex() or 'absent'}")
        return answer

    # ---- requests ----

    def call(self, opcode, body=b"", xid=None, label="", seconds=ANSWER_SECONDS):
        """Sends one request, waits for its reply, notes both and the events in front of it."""
        if self.dead:
            self.stage.note(f"{self.name} {wire.NAMES.get(opcode, opcode)} {label}".strip(), "already closed")
            return Reply()
        self.catch_up()
        self.send(opcode, body, xid, label)
        return self.receive(seconds)

    def send(self, opcode, body=b"", xid=None, label=""):
        """Sends a request without waiting; receive() or flush() takes the replies in order."""
        if xid is None:
            self.xid += 1
            xid = self.xid
        data = wire.frame(wire.header(xid, opcode) + body)
        self.outstanding.append((opcode, xid, label))
        if self.corked is None:
            self.send_raw(data)
        else:
            self.corked.append(data)

    def burst(self, *requests):
        """Sends (opcode, body) pairs in one piece, then takes all replies."""
        self.catch_up()
        self.corked = []
        for opcode, body in requests:
            self.send(opcode, body)
        data, self.corked = b"".join(self.corked), None
        self.send_raw(data)
        return self.flush()

    def flush(self):
        return [self.receive() for _ in range(len(self.outstanding))]

    def receive(self, seconds=ANSWER_SECONDS):
        """The reply to the oldest outstanding request."""
        opcode, xid, label = self.outstanding.pop(0)
        stage = self.stage
        reply = self.next_reply(opcode, xid, seconds)
        if opcode in wire.WRITES:
            stage.writes += 1
            self.seen = stage.writes
        text = "; ".join([*self.pending, reply.text])
        self.pending = []
        stage.note(f"{self.name} {wire.NAMES.get(opcode, opcode)} {label}".strip(), text)
        return reply

    def next_reply(self, opcode, xid, seconds):
        stage = self.stage
        while True:
            data = self.read_frame(seconds)
            if isinstance(data, str):
                if data == SILENT:
                    self.drop()  # what came later would be taken for the answer to something else
                return Reply(text=data)
            if len(data) < 16:
                return Reply(text=f"short frame {data.hex()}")
            got, zxid, err = struct.unpack_from(">iqi", data)
            if got == -1 and xid != -1:
                self.pending.append(self.event(data, zxid, err))
                continue
            stage.last_zxid = max(stage.last_zxid, zxid)
            if err == 0:
                fields = wire.reply_body(opcode, data, 16)
            else:
                fields = (f"body {data[16:].hex()}",) if len(data) > 16 else ()
            shown = "" if got == xid or opcode == wire.PING else f" xid {got} for {xid}"
            text = f"{'ok' if err == 0 else err} {stage.zxid(zxid)}{shown} {stage.show(fields)}"
            return Reply(err, fields, zxid, text)

    def event(self, data, zxid, err):
        reader = wire.Reader(data, 16)
        kind, state, path, rest = reader.int32(), reader.int32(), reader.string(), reader.rest()
        odd = f" state {state} err {err} rest {rest.hex()}" if (state, err, rest) != (3, 0, b"") else ""
        return f"EVENT {wire.EVENTS.get(kind, kind)} {path} {self.stage.zxid(zxid)}{odd}"

    def catch_up(self):
        """Syncs when another connection has changed something since: then every server shows the same state and the same events."""
        if self.seen != self.stage.writes and not self.outstanding:
            self.seen = self.stage.writes
            self.xid += 1
            self.send_raw(wire.frame(wire.header(self.xid, wire.SYNC) + wire.string("/")))
            reply = self.next_reply(wire.SYNC, self.xid, ANSWER_SECONDS)
            if reply.err != 0:
                self.pending.append(f"sync answered {reply.text}")

    def events(self, label="events"):
        """Notes the events that are due, up to and including everything already answered to anybody."""
        if not self.dead:
            self.seen = -1
            self.catch_up()
        text = "; ".join(self.pending) or "none"
        self.pending = []
        self.stage.note(f"{self.name} {label}", text)
        return text

    def close_session(self):
        """closeSession and its reply; the session is then nobody's to clean up."""
        reply = self.call(wire.CLOSE_SESSION)
        if reply.err == 0:
            self.stage.sessions.pop(self.session, None)
            self.stage.note(f"{self.name} after closeSession", self.fate(2.0))
        self.session = 0
        return reply

    def fate(self, seconds=1.0):
        """CLOSED, SILENT or the next frame, whichever comes; for connections that cannot be pinged."""
        data = self.read_frame(seconds * self.stage.slow)
        return data if isinstance(data, str) else f"frame {data.hex()}"

    def note_fate(self, label, seconds=1.0):
        self.stage.note(f"{self.name} {label}", self.fate(seconds))

    def alive(self, label="still open?"):
        """Notes whether the connection still answers a ping."""
        if self.dead:
            self.stage.note(f"{self.name} {label}", CLOSED)
            return
        self.send(wire.PING, xid=-2, label=label)
        self.receive()


def derived_password(session):
    """The 16 bytes java.util.Random gives for a session id: sessions must survive a move to another server."""
    seed = ((session ^ 0xB3415C00) ^ 0x5DEECE66D) & ((1 << 48) - 1)
    password = b""
    for _ in range(4):
        seed = (seed * 0x5DEECE66D + 0xB) & ((1 << 48) - 1)
        password += struct.pack("<I", (seed >> 16) & 0xFFFFFFFF)
    return password
