"""Every opcode when all is well: replies, stat fields, effects on parents."""

import wire
from harness import case


@case("create and its stat", "OP-02 OPR-07 ZN-01 ZN-02 ZN-03 ZN-05 ZN-08 ZN-60")
def create(s):
    a = s.connect("a")
    a.create("~/x", b"hello")
    a.get("~/x")
    a.exists("~")
    a.create("~/x/y", b"")
    a.exists("~/x")
    a.exists("~/x/y")


@case("create2 answers with the stat", "OP-16")
def create2(s):
    a = s.connect("a")
    a.create2("~/x", b"hello")
    a.create2("~/s-", b"", flags=wire.SEQUENTIAL)
    a.create2("~/e", b"", flags=wire.EPHEMERAL)
    a.create2("~/es-", b"", flags=wire.EPHEMERAL_SEQUENTIAL)
    a.create2("~/c", b"", flags=wire.CONTAINER)
    a.children2("~")


@case("every create flag on every create opcode", "OP-02 OP-16 OP-20 OP-22 OPE-05 OPE-06 ER-09")
def flags(s):
    a = s.connect("a")
    for flag in (0, 1, 2, 3, 4, 5, 6, 7, -1, 99):
        a.create(f"~/c{flag}-", flags=flag)
        a.create2(f"~/d{flag}-", flags=flag)
        a.create_container(f"~/e{flag}-", flags=flag)
    for flag in (5, 6):
        a.create_ttl(f"~/f{flag}-", flags=flag)
    a.children2("~")
    for name in ("c0-", "c1-", "d4-", "e4-"):
        a.exists(f"~/{name}")


@case("data may be null or empty and stays so", "ZN-18 ZN-09 J-07")
def null_data(s):
    a = s.connect("a")
    a.create("~/null", None)
    a.get("~/null")
    a.create("~/empty", b"")
    a.get("~/empty")
    a.set("~/empty", None)
    a.get("~/empty")
    a.set("~/null", b"")
    a.get("~/null")
    a.create2("~/null2", None)
    a.multi((wire.CREATE2, wire.create(a.at("~/null3"), None)), (wire.SET_DATA, wire.set_data(a.at("~/null"), None)))
    a.get("~/null3")


@case("delete and the parent's stat", "OP-03 ZN-61 ZN-08")
def delete(s):
    a = s.connect("a")
    for _ in range(3):
        a.create("~/x")
        a.exists("~")
        a.delete("~/x")
        a.exists("~")


@case("setData and getData", "OP-05 OP-06 ZN-62 ZN-04")
def set_data(s):
    a = s.connect("a")
    a.create("~/x", b"0")
    for version in (0, 1, -1, 3):
        a.set("~/x", b"v%d" % version, version)
    a.get("~/x")
    a.set("~/x", b"y" * 100000)
    a.get("~/x")


@case("exists", "OP-04 OPE-11")
def exists(s):
    a = s.connect("a")
    a.exists("~")
    a.exists("~/nope")
    a.exists("/")
    a.exists("")


@case("getACL and setACL", "OP-07 OP-08 ZN-63 ZN-06")
def acl(s):
    a = s.connect("a")
    a.create("~/x", b"d", [(31, "world", "anyone"), (1, "ip", "10.0.0.1")])
    a.get_acl("~/x")
    a.set_acl("~/x", [(15, "world", "anyone"), (16, "ip", "127.0.0.1")])
    a.get_acl("~/x")
    a.set_acl("~/x", [(31, "world", "anyone")], 1)
    a.set_acl("~/x", [(31, "world", "anyone")], 1)
    a.exists("~/x")


@case("getChildren and getChildren2", "OP-09 OP-13 OPR-01")
def children(s):
    a = s.connect("a")
    a.children("~")
    for name in ("b", "a", "ü", "c c", "d"):
        a.create(f"~/{name}", b"x")
    a.children("~")
    a.children2("~")
    a.children("/zookeeper")


@case("sync echoes whatever path it got", "OP-10 OPR-06 OPE-15")
def sync(s):
    a = s.connect("a")
    for path in ("/", "~", "~/nope", "", "no slash", "/a//b/", "/\x01"):
        a.sync(path)
    a.sync(None)


@case("whoAmI", "OP-31 OPR-05 H-18 A-21 A-24 A-48")
def who(s):
    a = s.connect("a")
    a.who_am_i()
    a.auth("digest", b"user:pass")
    a.who_am_i()
    a.auth("digest", b"user:pass")
    a.auth("digest", b"nocolon")
    a.auth("digest", b"")
    a.auth("ip", b"")
    a.who_am_i()


@case("getEphemerals", "OP-27 OPR-04")
def ephemerals(s):
    a, b = s.connect("a"), s.connect("b")
    a.ephemerals()
    for name in ("a", "ab", "abc", "z"):
        a.create(f"~/{name}", flags=wire.EPHEMERAL)
    b.create("~/other", flags=wire.EPHEMERAL)
    for prefix in ("/", "", "  ", " / ", "~", "~/a", "~/ab", "~/nope", "nope", None):
        a.ephemerals(prefix)
    b.ephemerals()


@case("getAllChildrenNumber", "OP-28 OPR-03")
def all_children(s):
    a = s.connect("a")
    a.count_children("~")
    for path in ("~/a", "~/a/b", "~/a/b/c", "~/ab", "~/ab/c"):
        a.create(path)
    for path in ("~", "~/a", "~/a/b", "~/ab", "~/nope", "/zookeeper", ""):
        a.count_children(path)


@case("sequence numbers count the creations of the parent", "ZN-24 ZN-25 ZN-27 ZN-28")
def sequence(s):
    a = s.connect("a")
    a.create("~/q")
    a.create("~/q/n-", flags=wire.SEQUENTIAL)
    a.create("~/q/plain")
    a.create("~/q/n-", flags=wire.SEQUENTIAL)
    a.delete("~/q/plain")
    a.create("~/q/n-", flags=wire.EPHEMERAL_SEQUENTIAL)
    a.create("~/q/", flags=wire.SEQUENTIAL)
    a.create("~/q/0000000005")
    a.create("~/q/0000000007")
    a.create("~/q/", flags=wire.SEQUENTIAL)
    a.create("~/q/other", flags=wire.SEQUENTIAL)
    a.create("~/q/", flags=wire.SEQUENTIAL)
    a.create("~/missing/n-", flags=wire.SEQUENTIAL)
    a.children2("~/q")


@case("null paths", "OPE-24 ER-06")
def null_paths(s):
    a = s.connect("a")
    for call in (a.exists, a.get, a.children, a.children2, a.get_acl, a.delete, a.set, a.set_acl, a.create, a.create2, a.sync,
                 a.count_children):
        call(None)
        a.ping()
    a.add_watch(None)
    a.check_watches(None, 3)
    a.ping()


@case("a node seen by another session", "ZN-19 ZN-11")
def two_sessions(s):
    a, b = s.connect("a"), s.connect("b")
    a.create("~/e", b"1", flags=wire.EPHEMERAL)
    b.get("~/e")
    b.set("~/e", b"2")
    a.get("~/e")
    b.delete("~/e")
    a.exists("~/e")


@case("thousands of children", "OP-09 ZN-68 W-03")
def many_children(s):
    a = s.connect("a")
    for start in range(0, 3000, 500):
        a.burst(*[(wire.CREATE, wire.create(a.at(f"~/{'child' * 20}-{number}"))) for number in range(start, start + 500)])
    s.notes[1:] = []
    reply = a.call(wire.GET_CHILDREN2, wire.path_watch(a.at("~")))
    s.notes.pop()
    s.note("children", f"{len(set(reply.fields[0]))} {s.stat(reply.fields[1])}")
    a.count_children("~")
