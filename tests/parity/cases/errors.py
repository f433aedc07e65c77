"""The order of the checks of every operation: the first failing one gives the code."""

import wire
from harness import case

CLOSED_ACL = [(wire.READ, "world", "anyone")]
NO_READ = [(30, "world", "anyone")]
NOTHING = [(wire.READ, "ip", "10.9.9.9")]


@case("create checks path, acl, parent, permission, name, existence, ephemeral parent in this order", "OPE-05 ER-14 ER-15 ER-17 ER-18")
def create(s):
    a = s.connect("a")
    a.create("~/locked", acl=CLOSED_ACL)
    a.create("~/e", flags=wire.EPHEMERAL)
    a.create("noslash", acl=[])
    a.create("~/nul\0", acl=[])
    a.create("~/missing/x", acl=[])
    a.create("~/missing/x", acl=None)
    a.create("~/missing/x")
    a.create("~/missing/bad/")
    a.create("~/locked/bad//x")
    a.create("~/locked/")
    a.create("~/locked/x", acl=[])
    a.create("~/locked/x")
    a.create("~/locked")
    a.create("~/e/x")
    a.create("~/e/x/y")
    a.create("~/e/x", flags=wire.EPHEMERAL)
    a.create("~/e/")
    a.create("~/e/.")
    a.create("~/x", flags=77, acl=[])
    a.create("noslash", flags=77)
    a.create("/")
    a.create("/", flags=wire.SEQUENTIAL)
    a.create("", flags=wire.SEQUENTIAL)
    a.create("~", flags=wire.EPHEMERAL)


@case("delete checks path, parent, permission, node, version, children in this order", "OPE-07 ER-16 ER-19")
def delete(s):
    a = s.connect("a")
    a.create("~/locked")
    a.create("~/locked/x")
    a.create("~/locked/x/y")
    a.set_acl("~/locked", CLOSED_ACL)
    a.delete("noslash")
    a.delete("~/nul\0")
    for special in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
        a.delete(special)
        a.delete(special, 99)
    a.delete("~/missing/x")
    a.delete("~/missing")
    a.delete("~/locked/x", 7)
    a.delete("~/locked/nope")
    a.delete("~/locked/x/nope")
    a.delete("~/locked/x/y", 7)
    a.delete("~/locked", 7)
    a.delete("~/locked")
    a.delete("~/locked/x/y/")
    a.delete("")
    a.delete("~/locked/x/y", 0)


@case("setData checks path, node, permission, version in this order", "OPE-08")
def set_data(s):
    a = s.connect("a")
    a.create("~/locked", acl=CLOSED_ACL)
    for path in ("noslash", "", "~/x/", "~//x", "~/nul\0", "~/.", "~/..", "~/nope", "~/locked", "/zookeeper/config", "/zookeeper"):
        a.set(path, b"x", 99)
    a.set("~", b"x", 5)
    a.set("~", b"x", -2)
    a.set("/zookeeper/nope", b"")


@case("setACL checks path, acl, node, permission, version in this order", "OPE-09 ER-22")
def set_acl(s):
    a = s.connect("a")
    a.create("~/locked", acl=CLOSED_ACL)
    for path in ("noslash", "", "~/x/", "~/nul\0", "~/nope", "~/locked", "~"):
        a.set_acl(path, [], 99)
        a.set_acl(path, None, 99)
        a.set_acl(path, [(31, "world", "someone")], 99)
        a.set_acl(path, wire.OPEN, 99)
    a.get_acl("~/locked")


@case("reads check existence before permission", "OPE-11 OPE-12 OPE-13 OPE-14 A-06 A-08")
def reads(s):
    a = s.connect("a")
    a.create("~/noread", b"secret", NO_READ)
    a.create("~/nothing", b"secret", NOTHING)
    for path in ("~/noread", "~/nothing", "~/nope", "~/nothing/x"):
        for call in (a.exists, a.get, a.children, a.children2):
            call(path)
            call(path, True)
        a.get_acl(path)
        a.count_children(path)
    a.check_watches("~/noread", 3)
    a.check_watches("~/nope", 3)
    a.check_watches("~/nope", 2)


@case("reads do not validate paths", "OPE-24 OPE-11")
def lenient(s):
    a = s.connect("a")
    for path in ("noslash", "", "~/", "~//x", "~/.", "/..", "~/\x01", "~/\ue000", "~/\0"):
        for call in (a.exists, a.get, a.children, a.children2, a.get_acl, a.count_children):
            call(path)


@case("check inside multi tests path, node, permission, version", "OPE-10")
def check(s):
    a = s.connect("a")
    a.create("~/noread", b"", NO_READ)
    for path, version in (("noslash", 0), ("~/x/", 0), ("~/nope", 0), ("~/noread", 99), ("~", 99), ("~", -2), ("~", 0), ("~", -1)):
        a.multi((wire.CHECK, wire.path_version(a.at(path), version)))


@case("addWatch takes two modes", "OP-30 OPE-16 WA-03")
def add_watch(s):
    a = s.connect("a")
    for mode in (0, 1, 2, -1, 99):
        a.add_watch("~", mode)
    a.add_watch("~/missing", 0)
    a.add_watch("~/missing", 1)


@case("checkWatches and removeWatches know five types", "OP-18 OP-19 OPE-17 WA-04 ER-27")
def watch_types(s):
    a = s.connect("a")
    for kind in (0, 1, 2, 3, 4, 5, 6, -1):
        a.check_watches("~", kind)
        a.remove_watches("~", kind)
    a.check_watches("noslash", 3)


@case("reconfig is off", "OP-17 OPE-18 ER-29")
def reconfig(s):
    a = s.connect("a")
    a.call(wire.RECONFIG, wire.reconfig(members="server.1=127.0.0.1:1:2;3"))
    a.call(wire.RECONFIG, wire.reconfig())
    a.sync()


@case("auth failures close the connection", "OP-24 OPE-19 ER-23 A-20 A-30 X-05 A-44")
def auth(s):
    for scheme, credential in (("world", b"anyone"), ("nope", b"x"), ("sasl", b"x"), ("super", b"x"), ("", b""), (None, b"x"),
                               ("x509", b""), ("auth", b"")):
        a = s.connect("a")
        a.auth(scheme, credential)
        a.note_fate("afterwards", 3.0)
        s.connect("b", session=a.session, password=a.password).ping()


@case("an auth packet that works", "A-24 A-26 X-05")
def auth_ok(s):
    a = s.connect("a")
    a.auth("digest", b"super:test")
    a.auth("digest", b"a:b:c")
    a.call(wire.AUTH, wire.auth("digest", b"x:y", kind=77), label="type 77")
    a.create("~/x", acl=[(31, "auth", "")])
    a.get_acl("~/x")


@case("an undecodable auth packet closes the connection", "X-14")
def auth_cut(s):
    for body in (b"", b"\0\0\0\0", b"\0\0\0\0\0\0\0\6dige", wire.auth("digest", b"u:p")[:-1]):
        a = s.connect("a")
        a.call(wire.AUTH, body, label=body.hex())
        a.note_fate("afterwards", 3.0)


@case("an auth packet without credential bytes", "OPE-19 J-07")
def auth_null(s):
    a = s.connect("a")
    a.auth("digest", None)
    a.note_fate("afterwards", 2.0)


@case("sasl without configuration answers with no token", "OP-26 A-33 OPE-20")
def sasl(s):
    a = s.connect("a")
    a.call(wire.SASL, wire.buffer(b""))
    a.call(wire.SASL, wire.buffer(b"token"))
    a.call(wire.SASL, wire.buffer(None))
    a.ping()
    a.who_am_i()


@case("deleteContainer from a client", "OP-21 OPE-22 UB-01 X-15")
def delete_container(s):
    a = s.connect("a")
    a.create_container("~/c")
    a.create("~/plain")
    a.call(wire.DELETE_CONTAINER, wire.string(a.at("~/c")), label="~/c")


@case("createSession from a client with a session", "OP-32 UB-02 X-15")
def create_session(s):
    a = s.connect("a")
    a.send_raw(wire.frame(wire.header(1, wire.CREATE_SESSION) + wire.int32(10000)))
    answer = a.read_frame()
    s.note("answer", "a ConnectResponse" if len(answer) == 37 else answer if isinstance(answer, str) else answer[:4].hex() + answer[12:].hex())
    a.note_fate("afterwards", 1.0)


@case("createTTL with a plain flag and a negative ttl", "UB-03 OPE-06")
def ttl_negative(s):
    a = s.connect("a")
    a.create_ttl("~/x", flags=0, ttl=5)
    a.create_ttl("~/x", flags=0, ttl=0)
