"""Handshake rows: ConnectRequest, ConnectResponse, renewals and refusals."""


import wire
from harness import case


@case("a new session gets an id, the derived password and its timeout", "H-01 H-02 H-04 H-05 H-09 H-11 SE-02 SE-04 SE-05")
def new_session(s):
    s.connect("a", timeout=20000)
    s.connect("b", timeout=20000, version=7)
    s.connect("c", timeout=20000, password=b"ignored-ignored!")


@case("the timeout is clamped to two and twenty ticks", "H-09")
def clamp(s):
    for timeout in (0, -1, -2147483648, 1, 3999, 4000, 4001, 39999, 40000, 40001, 2147483647):
        s.connect("a", timeout=timeout).close_session()


@case("a client without the readOnly byte is answered without it", "H-03 H-04")
def old_client(s):
    a = s.connect("a", read_only=None)
    a.create("~/x")
    a.get("~/x")
    s.connect("b", read_only=True).ping()


@case("a password of any length is taken for a new session", "H-11 J-07")
def password_lengths(s):
    for password in (None, b"", b"x", b"x" * 100):
        s.connect("a", password=password).ping()


@case("bytes behind the readOnly flag are ignored", "W-08 H-01")
def trailing(s):
    a = s.link("a")
    a.send_raw(wire.frame(wire.connect_request() + b"more"))
    a.read_handshake({})
    a.ping()


@case("a short connect request closes the connection", "H-01 X-14")
def short_request(s):
    whole = wire.connect_request(read_only=None)
    for size in (0, 1, 3, 4, 11, 15, 23, 24, 27, 28, 43):
        a = s.link("a")
        a.send_raw(wire.frame(whole[:size]))
        a.note_fate(f"{size} bytes of a ConnectRequest", 3.0)


@case("a client that has seen the future is turned away", "H-08")
def ahead(s):
    a = s.connect("a")
    now = a.sync().zxid
    link = s.link("equal")
    link.handshake(last_zxid=now)
    link.ping()
    link = s.link("ahead")
    link.handshake(last_zxid=now + 1000)
    link = s.link("negative")
    link.handshake(last_zxid=-5)


@case("a session is renewed with its password", "H-12 H-13 SE-04 SE-17")
def renew(s):
    a = s.connect("a", timeout=12000)
    a.create("~/e", flags=wire.EPHEMERAL)
    a.drop()
    b = s.connect("b", timeout=15000, session=a.session, password=a.password)
    b.get("~/e")
    b.ephemerals()
    c = s.connect("c", timeout=1, session=a.session, password=a.password)
    b.note_fate("after the takeover", 3.0)
    c.get("~/e")


@case("a taken over connection is closed by the renewal", "H-12 SE-23")
def takeover(s):
    a = s.connect("a")
    a.get("~", True)
    b = s.connect("b", session=a.session, password=a.password)
    a.note_fate("old connection", 3.0)
    b.create("~/x")
    b.set("~", b"watch is gone with the connection")
    b.events()


@case("a wrong password is answered like an expired session", "H-13 H-14")
def wrong_password(s):
    a = s.connect("a")
    a.drop()
    for password in (bytes(16), b"", None, a.password[:15], a.password + b"x", bytes(15) + b"\1"):
        b = s.link("b")
        b.handshake(session=a.session, password=password)
        b.note_fate("after the refusal", 3.0)
    s.connect("c", session=a.session, password=a.password).ping()


@case("a renewal with a wrong password and the connection of the session", "UB-09 H-12 H-13")
def wrong_password_live(s):
    a = s.connect("a")
    b = s.link("b")
    b.handshake(session=a.session, password=bytes(16))
    a.alive()


@case("an unknown session is answered as expired", "H-14")
def unknown(s):
    from stage import derived_password
    for session in (1, 0x1234567812345678, -1, -2, 0x0100000000000001):
        b = s.link("b")
        s.names[session] = f"invented {session:x}"
        b.handshake(session=session, password=derived_password(session))
        b.note_fate("after the refusal", 3.0)


@case("a closed session cannot be renewed", "H-14 SE-31")
def closed(s):
    a = s.connect("a")
    a.create("~/e", flags=wire.EPHEMERAL)
    session, password = a.session, a.password
    a.close_session()
    b = s.link("b")
    b.handshake(session=session, password=password)
    b.note_fate("after the refusal", 3.0)
    s.connect("c").exists("~/e")


@case("requests sent with the handshake in one piece are answered in order", "H-10 H-19 W-14")
def pipelined_handshake(s):
    a = s.link("a")
    data = wire.frame(wire.connect_request())
    requests = [(wire.CREATE, wire.create(a.at("~/x"))), (wire.GET_DATA, wire.path_watch(a.at("~/x"), True)),
                (wire.SET_DATA, wire.set_data(a.at("~/x"), b"v")), (wire.PING, b"")]
    for number, (opcode, body) in enumerate(requests, 1):
        data += wire.frame(wire.header(number, opcode) + body)
        a.outstanding.append((opcode, number, "pipelined"))
    a.send_raw(data)
    a.read_handshake({})
    a.flush()


@case("a handshake may arrive byte by byte", "W-01")
def dribble(s):
    a = s.link("a")
    for byte in wire.frame(wire.connect_request()):
        a.send_raw(bytes([byte]))
    a.read_handshake({})
    for byte in wire.frame(wire.header(5, wire.EXISTS) + wire.path_watch("/zookeeper")):
        a.send_raw(bytes([byte]))
    a.outstanding.append((wire.EXISTS, 5, "dribbled"))
    a.receive()


@case("a second connect request on a live session is an ordinary frame", "H-02")
def second_connect(s):
    a = s.connect("a")
    a.send_raw(wire.frame(wire.connect_request()))
    a.note_fate("after a second ConnectRequest", 3.0)


@case("a frame of a request before the handshake is read as a handshake", "H-02")
def no_handshake(s):
    a = s.link("a")
    a.send_raw(wire.frame(wire.header(1, wire.EXISTS) + wire.path_watch("/zookeeper")))
    a.note_fate("request without session", 3.0)


@case("a read only client is served by a normal server", "H-07 H-15")
def read_only_client(s):
    a = s.connect("a", read_only=True)
    a.create("~/x", b"1")
    a.get("~/x")
