"""multi and multiRead."""

import wire
from harness import case


def ops(a):
    """Short makers for sub-operations under the case's root."""
    at = a.at
    return {
        "create": lambda path, **more: (wire.CREATE, wire.create(at(path), **more)),
        "create2": lambda path, **more: (wire.CREATE2, wire.create(at(path), **more)),
        "container": lambda path, **more: (wire.CREATE_CONTAINER, wire.create(at(path), **{"flags": 4, **more})),
        "ttl": lambda path, **more: (wire.CREATE_TTL, wire.create_ttl(at(path), **more)),
        "delete": lambda path, version=-1: (wire.DELETE, wire.path_version(at(path), version)),
        "set": lambda path, data=b"s", version=-1: (wire.SET_DATA, wire.set_data(at(path), data, version)),
        "check": lambda path, version=-1: (wire.CHECK, wire.path_version(at(path), version)),
        "get": lambda path, watch=False: (wire.GET_DATA, wire.path_watch(at(path), watch)),
        "children": lambda path, watch=False: (wire.GET_CHILDREN, wire.path_watch(at(path), watch)),
    }


@case("every kind of operation in one transaction", "OP-15 MU-01 MU-02 MU-07 MU-08 MU-13 MU-14 OPR-09")
def all_kinds(s):
    a = s.connect("a")
    o = ops(a)
    a.multi(o["create"]("~/x"), o["create2"]("~/x/y", data=b"1"), o["set"]("~/x", b"2", 0), o["check"]("~/x", 1),
            o["container"]("~/c"), o["ttl"]("~/t", ttl=90000), o["create"]("~/s-", flags=2), o["create2"]("~/s-", flags=3),
            o["delete"]("~/x/y", 0), o["delete"]("~/x"))
    a.children2("~")
    a.get("~/c")


@case("a failing operation undoes all and marks the others", "MU-09 MU-10 MU-06 ER-03")
def failing(s):
    a = s.connect("a")
    o = ops(a)
    a.create("~/x")
    good = [o["create"]("~/n1"), o["set"]("~/x"), o["check"]("~/x", -1), o["delete"]("~/n1")]
    for bad in (o["create"]("~/x"), o["delete"]("~/nope"), o["set"]("~/x", b"", 55), o["check"]("~/x", 9), o["create"]("bad"),
                o["create"]("~/y", acl=[]), o["create2"]("~/no/parent"), o["container"]("~/x"), o["ttl"]("~/t", ttl=0)):
        for position in (0, 2, 4):
            a.multi(*good[:position], bad, *good[position:])
    a.exists("~")
    a.exists("~/x")


@case("two failing operations: the first counts", "MU-09")
def two(s):
    a = s.connect("a")
    o = ops(a)
    a.multi(o["check"]("~/a"), o["check"]("~", 44))
    a.multi(o["create"]("~/a"), o["check"]("~", 44), o["create"]("~/a"))


@case("an operation sees those before it", "MU-14 ZN-67")
def overlay(s):
    a = s.connect("a")
    o = ops(a)
    a.multi(o["create"]("~/a"), o["create"]("~/a/b"), o["create"]("~/a/s-", flags=2), o["set"]("~/a", b"1", 0), o["set"]("~/a", b"2", 1),
            o["create"]("~/a/s-", flags=2))
    a.children2("~/a")
    a.multi(o["delete"]("~/a/b"), o["create"]("~/a/b", data=b"again"), o["set"]("~/a/b", b"x", 0))
    a.get("~/a/b")
    a.multi(o["create"]("~/e", flags=1), o["create"]("~/e/x"))
    a.multi(o["create"]("~/e", flags=1), o["delete"]("~/e"), o["create"]("~/e"), o["create"]("~/e/x"))
    a.children2("~/e")
    a.multi(o["delete"]("~/e"), o["delete"]("~/e/x"))
    a.multi(o["delete"]("~/e/x"), o["delete"]("~/e"))


@case("a failed transaction leaves the sequence counter alone", "MU-15 ZN-24")
def rollback(s):
    a = s.connect("a")
    o = ops(a)
    a.multi(o["create"]("~/s-", flags=2), o["create"]("~/s-", flags=2), o["check"]("~", 99))
    a.create("~/s-", flags=2)
    a.burst((wire.CREATE, wire.create(a.at("~/s-"), flags=2)),
            (wire.MULTI, wire.multi(o["create"]("~/s-", flags=2), o["check"]("~", 99))),
            (wire.CREATE, wire.create(a.at("~/s-"), flags=2)),
            (wire.MULTI, wire.multi(o["create"]("~/s-", flags=2), o["create"]("~/s-", flags=3))))
    a.children2("~")


@case("an empty transaction is legal", "MU-12")
def empty(s):
    a = s.connect("a")
    a.multi()
    a.multi_read()
    a.sync()


@case("create flags inside a transaction", "MU-17 OPE-23")
def flags(s):
    a = s.connect("a")
    o = ops(a)
    for flag in (0, 1, 2, 3, 4, 5, 6, 7, -1):
        a.multi(o["create"](f"~/c{flag}-", flags=flag))
        a.multi(o["create2"](f"~/d{flag}-", flags=flag))
        a.multi(o["container"](f"~/e{flag}-", flags=flag))
        if flag in (5, 6):
            a.multi(o["ttl"](f"~/f{flag}-", flags=flag))
    a.multi(o["ttl"]("~/plain", flags=0, ttl=5))
    a.children2("~")


@case("operations a transaction may not hold", "MU-02 MU-04 OPE-23")
def forbidden(s):
    a = s.connect("a")
    o = ops(a)
    for opcode, body in ((wire.SET_ACL, wire.set_acl(a.at("~"))), (wire.DELETE_CONTAINER, wire.string(a.at("~"))),
                         (wire.SYNC, wire.string("/")), (wire.MULTI, wire.multi()), (wire.EXISTS, wire.path_watch("/")),
                         (wire.GET_DATA, wire.path_watch("/")), (wire.PING, b""), (wire.CLOSE_SESSION, b""), (0, b""), (99, b"")):
        a.multi((opcode, body))
        a.multi(o["create"]("~/x"), (opcode, body))
    a.exists("~/x")


@case("a transaction with broken framing", "MU-01 OPE-23")
def broken(s):
    a = s.connect("a")
    o = ops(a)
    good = wire.multi(o["create"]("~/x"), end=False)
    for label, body in (("no terminator", good), ("cut", good[:-3]), ("done type 1", good + wire.multi_header(1, True)),
                        ("done err 0", good + wire.multi_header(-1, True, 0)), ("type -1 not done", good + wire.multi_header(-1, False)),
                        ("done at once", wire.multi_header(1, True, 5))):
        a.call(wire.MULTI, body, label=label)
        a.exists("~/x")
        a.delete("~/x")


@case("multi header fields of the request are not judged", "MU-01")
def header_fields(s):
    a = s.connect("a")
    body = wire.multi_header(wire.CREATE, False, 77) + wire.create(a.at("~/x")) + wire.multi_header(-1, True)
    a.call(wire.MULTI, body)


@case("multiRead answers each operation for itself", "OP-23 MU-03 MU-08 MU-11")
def multi_read(s):
    a = s.connect("a")
    o = ops(a)
    a.create("~/x", b"data")
    a.create("~/null", None)
    a.create("~/secret", b"", [(30, "world", "anyone")])
    a.multi_read(o["get"]("~/x"), o["children"]("~"), o["get"]("~/nope"), o["children"]("~/nope"), o["get"]("~/secret"),
                 o["get"]("~/null"), o["get"]("bad"), o["children"]("~/x"))


@case("multiRead takes only getData and getChildren", "MU-03 MU-04")
def multi_read_forbidden(s):
    a = s.connect("a")
    o = ops(a)
    for sub in (o["create"]("~/x"), o["check"]("~"), (wire.EXISTS, wire.path_watch("/")), (wire.GET_CHILDREN2, wire.path_watch("/")),
                (wire.GET_ACL, wire.string("/"))):
        a.multi_read(sub)
        a.multi_read(o["get"]("~"), sub)
    a.exists("~/x")


@case("multiRead sets no watches", "MU-05")
def multi_read_watch(s):
    a = s.connect("a")
    o = ops(a)
    a.multi_read(o["get"]("~", True), o["children"]("~", True))
    a.set("~", b"x")
    a.create("~/y")
    a.events()
    a.check_watches("~", 3)


@case("watches of a transaction fire in its order with one zxid", "MU-19 WA-25 WA-41")
def fires(s):
    a, b = s.connect("a"), s.connect("b")
    o = ops(a)
    for each in (a, b):
        each.add_watch("~", 1)
        each.children("~", True)
    a.multi(o["create"]("~/a"), o["create"]("~/a/b"), o["set"]("~/a", b"1"), o["delete"]("~/a/b"), o["delete"]("~/a"), o["set"]("~", b"2"))
    b.events()
    a.multi(o["create"]("~/a"), o["check"]("~", 99))
    a.events()
    b.events()


@case("a transaction of ephemerals, containers and versions on the same parent", "MU-13 MU-14")
def mixed(s):
    a = s.connect("a")
    o = ops(a)
    a.multi(o["create"]("~/e", flags=1), o["container"]("~/c"), o["create"]("~/c/x", flags=1), o["create"]("~/c/s-", flags=3))
    a.ephemerals("~")
    a.children2("~/c")
    a.exists("~")
    a.close_session()
    b = s.connect("b")
    b.children2("~")
    b.children2("~/c")


@case("permissions inside a transaction", "OPE-23 A-06")
def permissions(s):
    a = s.connect("a")
    o = ops(a)
    a.create("~/ro", b"", [(1, "world", "anyone")])
    for sub in (o["create"]("~/ro/x"), o["set"]("~/ro"), o["check"]("~/ro"), o["delete"]("~/ro")):
        a.multi(sub)
    a.multi(o["create"]("~/mine", acl=[(1, "world", "anyone")]), o["set"]("~/mine"))
    a.multi(o["create"]("~/mine", acl=[(3, "world", "anyone")]), o["set"]("~/mine"), o["create"]("~/mine/x"))
    a.multi(o["create"]("~/au", acl=[(31, "auth", "")]))


@case("a large transaction", "MU-20")
def large(s):
    a = s.connect("a")
    o = ops(a)
    a.multi(*[o["create"](f"~/n{i}", data=b"d" * 50) for i in range(500)])
    a.multi(*[o["delete"](f"~/n{i}") for i in range(500)])
    a.exists("~")


@case("a transaction on special nodes", "OPE-07 MU-09")
def special(s):
    a = s.connect("a")
    o = ops(a)
    for path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
        a.multi(o["delete"](path))
        a.multi(o["check"](path, 0))
    a.multi(o["create"]("/"))
