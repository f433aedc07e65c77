"""Reply headers, special xids, pipelining and order."""

import wire
from harness import case


@case("any xid is echoed", "X-03 X-02")
def echo(s):
    a = s.connect("a")
    for xid in (0, 1, 1, 7, -3, -5, -100, 2147483647, -2147483648):
        a.call(wire.EXISTS, wire.path_watch("/zookeeper"), xid=xid, label=f"xid {xid}")
        a.call(wire.CREATE, wire.create(a.at("~/x")), xid=xid, label=f"xid {xid}")


@case("a ping is answered with xid -2 whatever it came with", "X-08 W-15")
def ping(s):
    a = s.connect("a")
    for xid in (-2, 0, 5, -7):
        a.ping(xid)
    a.call(wire.PING, b"trailing", xid=-2, label="with a body")


@case("special xids do not change what a request does", "X-09 X-10")
def special(s):
    a = s.connect("a")
    for xid in (-2, -4, -8):
        a.call(wire.CREATE, wire.create(a.at("~/x-"), flags=wire.SEQUENTIAL), xid=xid, label=f"xid {xid}")
        a.call(wire.GET_DATA, wire.path_watch(a.at("~")), xid=xid, label=f"xid {xid}")
    a.auth("digest", b"u:p", xid=17)
    a.set_watches(a.stage.base, xid=18)


@case("failed writes take a zxid and reads do not", "X-04 RT-09 ZN-65")
def zxids(s):
    a = s.connect("a")
    a.create("~/x")
    a.create("~/x")
    a.get("~/x")
    a.delete("~/nope")
    a.exists("~/nope")
    a.set("~/x", b"", 9)
    a.set_acl("~/x", [], -1)
    a.create("bad")
    a.sync()
    a.call(wire.SET_DATA, b"", label="undecodable")
    a.sync()
    a.call(wire.CREATE, wire.create(a.at("~/f"), flags=99), label="flag 99")
    a.sync()
    a.multi((wire.CHECK, wire.path_version(a.at("~/nope"))))
    a.multi()
    a.sync()
    a.call(wire.MULTI, b"", label="undecodable")
    a.sync()


@case("undecodable bodies are answered and the connection stays", "X-14 OPE-01 ER-06")
def undecodable(s):
    a = s.connect("a")
    a.create("~/x", b"data")
    for opcode in sorted(wire.NAMES):
        if opcode in (wire.PING, wire.WHO_AM_I, wire.CLOSE_SESSION, wire.CREATE_SESSION, wire.AUTH, wire.SASL, wire.CHECK,
                      wire.DELETE_CONTAINER, wire.RECONFIG):
            continue
        for body in (b"", b"\0", b"\0\0\0\5ab", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xfe"):
            a.call(opcode, body, label=f"body {body.hex()}")
            a.sync()
    a.ping()


@case("truncated bodies are answered wherever they are cut", "X-14 W-08")
def truncated(s):
    a = s.connect("a")
    a.create("~/x", b"data")
    path = a.at("~/x")
    bodies = {
        wire.CREATE: wire.create(path, b"ab"), wire.DELETE: wire.path_version(path, 7), wire.EXISTS: wire.path_watch(path),
        wire.SET_DATA: wire.set_data(path, b"x", 9), wire.SET_ACL: wire.set_acl(path, wire.OPEN, 9),
        wire.MULTI: wire.multi((wire.CHECK, wire.path_version(path, 9))), wire.ADD_WATCH: wire.path_type(path, 0),
        wire.SET_WATCHES: wire.set_watches(s.base, [path], [path], [path]),
        wire.CREATE_TTL: wire.create_ttl(path), wire.MULTI_READ: wire.multi((wire.GET_DATA, wire.path_watch(path))),
    }
    for opcode, body in bodies.items():
        for cut in sorted({len(body) - 1, len(body) - 4, len(body) - 9, len(body) // 2, 5, 3}):
            if 0 < cut < len(body):
                a.call(opcode, body[:cut], label=f"cut {cut}")
    a.exists("~/x")


@case("bytes behind a request record are ignored", "W-08")
def trailing(s):
    a = s.connect("a")
    a.call(wire.CREATE, wire.create(a.at("~/x")) + b"tail")
    a.call(wire.GET_DATA, wire.path_watch(a.at("~/x")) + b"tail")
    a.call(wire.MULTI, wire.multi((wire.SET_DATA, wire.set_data(a.at("~/x"), b"v"))) + b"tail")
    a.call(wire.WHO_AM_I, b"tail")
    a.call(wire.SYNC, wire.string("/") + b"tail")


@case("unsupported opcodes are refused and the connection closed", "X-06 X-15 OP-11 OP-14 OPR-10 ER-07")
def unsupported(s):
    for opcode in (0, -1, 10, 13, 23, 24, 50, 99, 108, 200, -2, -3, -9, -12, 2147483647, -2147483648):
        a = s.connect("a")
        a.call(opcode, wire.path_version(a.at("~"), 0), label=f"opcode {opcode}")
        a.note_fate("afterwards", 3.0)
        b = s.connect("b", session=a.session, password=a.password)
        b.ping()


@case("a frame too short for a header closes the connection", "X-14")
def short_header(s):
    for size in (0, 1, 4, 7):
        a = s.connect("a")
        a.send_raw(wire.frame(bytes(size)))
        a.note_fate(f"frame of {size} bytes", 3.0)
        s.connect("b", session=a.session, password=a.password).ping()


@case("pipelined requests are answered in order", "W-14 X-03 ZN-67")
def pipelined(s):
    a = s.connect("a")
    p = a.at("~/x")
    a.burst((wire.CREATE, wire.create(p, b"0")), (wire.GET_DATA, wire.path_watch(p, True)), (wire.SET_DATA, wire.set_data(p, b"1", 0)),
            (wire.SET_DATA, wire.set_data(p, b"2", 0)), (wire.GET_DATA, wire.path_watch(p)), (wire.CREATE2, wire.create(p + "/c")),
            (wire.DELETE, wire.path_version(p)), (wire.DELETE, wire.path_version(p + "/c")), (wire.DELETE, wire.path_version(p)),
            (wire.EXISTS, wire.path_watch(p)), (wire.PING, b""), (wire.SYNC, wire.string(p)))


@case("a hundred pipelined creates and a sync", "W-14 ZN-24")
def many(s):
    a = s.connect("a")
    a.burst(*[(wire.CREATE, wire.create(a.at("~/n-"), flags=wire.SEQUENTIAL)) for _ in range(100)], (wire.SYNC, wire.string("/")))
    a.children2("~")


@case("everything behind a closeSession in the same burst is lost", "X-12 SE-33 OPE-21")
def behind_close(s):
    a = s.connect("a")
    a.corked = []
    a.send(wire.CREATE, wire.create(a.at("~/before"), flags=wire.EPHEMERAL))
    a.send(wire.CLOSE_SESSION)
    data, a.corked = b"".join(a.corked), None
    a.send_raw(data)
    a.flush()
    a.note_fate("after closeSession", 3.0)
    s.sessions.pop(a.session)
    a.session = 0
    b = s.connect("b")
    b.children2("~")
