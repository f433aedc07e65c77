"""Watches: registration, triggers, order, removal."""

import wire
from harness import case

KINDS = ("get", "exists", "children", "children2")


@case("standard watches fire once for every kind of change", "WA-11 WA-20 WA-21 WA-22 WA-30")
def standard(s):
    a, b = s.connect("a"), s.connect("b")
    for kind in KINDS:
        path = f"~/{kind}"
        b.create(path)
        for change in (lambda: b.set(path, b"1"), lambda: b.create(path + "/c"), lambda: b.set(path + "/c", b""),
                       lambda: b.delete(path + "/c"), lambda: b.set_acl(path), lambda: b.delete(path), lambda: b.create(path)):
            getattr(a, kind)(path, True)
            change()
            a.events()
            b.set("~", b"")
    b.delete("~/get")
    a.events()


@case("exists watches an absent node, the other reads do not", "WA-12 OPE-11 OPE-12")
def absent(s):
    a, b = s.connect("a"), s.connect("b")
    for kind in KINDS:
        path = f"~/{kind}"
        getattr(a, kind)(path, True)
        b.create(path)
        b.set(path, b"1")
        b.delete(path)
        a.events()
    a.exists("~/no/parent", True)
    b.create("~/no")
    b.create("~/no/parent")
    a.events()


@case("a writer hears of its own change before the reply", "WA-40 WA-41")
def own(s):
    a = s.connect("a")
    a.exists("~/x", True)
    a.children("~", True)
    a.create("~/x")
    a.get("~/x", True)
    a.set("~/x", b"1")
    a.get("~/x", True)
    a.children("~/x", True)
    a.children("~", True)
    a.delete("~/x")
    a.events()


@case("data and child watch of one connection give one NodeDeleted", "WA-22 WA-29 WA-33")
def one_deleted(s):
    a, b = s.connect("a"), s.connect("b")
    b.create("~/x")
    a.get("~/x", True)
    a.exists("~/x", True)
    a.children("~/x", True)
    b.delete("~/x")
    a.events()
    b.create("~/x")
    a.children("~/x", True)
    b.set("~/x", b"")
    b.delete("~/x")
    a.events()


@case("two watchers hear the same", "WA-42 WA-43")
def two(s):
    a, b, c = s.connect("a"), s.connect("b"), s.connect("c")
    for each in (a, b):
        each.get("~", True)
        each.children("~", True)
        each.exists("~/x", True)
    c.burst((wire.CREATE, wire.create(c.at("~/x"))), (wire.SET_DATA, wire.set_data(c.at("~"), b"1")),
            (wire.SET_DATA, wire.set_data(c.at("~/x"), b"1")), (wire.DELETE, wire.path_version(c.at("~/x"))))
    a.events()
    b.events()


@case("registering twice counts once", "WA-14")
def idempotent(s):
    a = s.connect("a")
    for _ in range(3):
        a.get("~", True)
        a.add_watch("~", 0)
        a.add_watch("~", 1)
    a.set("~", b"1")
    a.create("~/x")
    a.events()
    a.set("~", b"1")
    a.events()


@case("a persistent watch hears all of its node", "WA-13 WA-31 WA-33")
def persistent(s):
    a, b = s.connect("a"), s.connect("b")
    a.add_watch("~/x", 0)
    for _ in range(2):
        b.create("~/x")
        b.set("~/x", b"1")
        b.create("~/x/c")
        b.set("~/x/c", b"1")
        b.create("~/x/c/d")
        b.delete("~/x/c/d")
        b.delete("~/x/c")
        b.set_acl("~/x")
        b.delete("~/x")
        a.events()


@case("a recursive watch hears all below its node", "WA-13 WA-32 VE-41")
def recursive(s):
    a, b = s.connect("a"), s.connect("b")
    a.add_watch("~/x", 1)
    for _ in range(2):
        b.create("~/x")
        b.set("~/x", b"1")
        b.create("~/x/c")
        b.set("~/x/c", b"1")
        b.create("~/x/c/d", flags=wire.EPHEMERAL)
        b.create("~/xy")
        b.delete("~/xy")
        b.delete("~/x/c/d")
        b.delete("~/x/c")
        b.delete("~/x")
        a.events()


@case("modes on one path and on its ancestors live together", "WA-14 WA-29 WA-30")
def together(s):
    a, b = s.connect("a"), s.connect("b")
    b.create("~/x")
    a.add_watch("~", 1)
    a.add_watch("~/x", 1)
    a.add_watch("~/x", 0)
    a.get("~/x", True)
    a.children("~/x", True)
    b.set("~/x", b"1")
    b.create("~/x/c")
    b.delete("~/x/c")
    b.delete("~/x")
    a.events()
    b.create("~/x")
    b.set("~/x", b"1")
    a.events()


@case("persistent watch on the parent of changes", "WA-31 WA-20")
def persistent_parent(s):
    a, b = s.connect("a"), s.connect("b")
    a.add_watch("~", 0)
    a.children("~", True)
    b.create("~/x")
    b.delete("~/x")
    b.set("~", b"")
    a.events()


@case("checkWatches finds each kind of watch", "WA-60 OP-18")
def check(s):
    a = s.connect("a")
    for label, register in (("data", lambda: a.get("~", True)), ("child", lambda: a.children("~", True)),
                            ("persistent", lambda: a.add_watch("~", 0)), ("recursive", lambda: a.add_watch("~", 1))):
        register()
        for kind in (1, 2, 3, 4, 5):
            a.check_watches("~", kind)
        a.remove_watches("~", 3)
        s.note("removed", label)
        a.check_watches("~", 3)


@case("removeWatches removes what its type says", "WA-61 WA-63 OP-19")
def remove(s):
    a = s.connect("a")
    for kind in (1, 2, 3, 4, 5):
        a.get("~", True)
        a.children("~", True)
        a.add_watch("~", 0)
        a.add_watch("~", 1)
        a.remove_watches("~", kind)
        a.remove_watches("~", kind)
        for left in (1, 2, 3, 4, 5):
            a.check_watches("~", left)
        a.set("~", b"x")
        a.create("~/x")
        a.delete("~/x")
        a.events()
        a.remove_watches("~", 3)


@case("removal concerns one connection only", "WA-15 WA-61")
def remove_one(s):
    a, b = s.connect("a"), s.connect("b")
    a.get("~", True)
    b.check_watches("~", 2)
    b.remove_watches("~", 3)
    b.set("~", b"")
    a.events()


@case("watches end with the connection", "WA-15 WA-64")
def connection(s):
    a = s.connect("a")
    a.get("~", True)
    a.add_watch("~", 1)
    a.drop()
    b = s.connect("b", session=a.session, password=a.password)
    b.set("~", b"")
    b.create("~/x")
    b.events()
    b.check_watches("~", 3)


@case("the end of a session fires for its ephemerals", "WA-24 WA-22 SE-35 ZN-41")
def ephemerals(s):
    a, b = s.connect("a"), s.connect("b")
    b.create("~/e", flags=wire.EPHEMERAL)
    a.exists("~/e", True)
    a.children("~", True)
    b.close_session()
    a.events()
    a.children2("~")


@case("events are filtered by READ", "WA-34 WA-35 VE-31")
def filtered(s):
    a, b = s.connect("a"), s.connect("b")
    b.auth("digest", b"b:b")
    secret = [(31, "auth", "")]
    a.exists("~/x", True)
    a.children("~", True)
    a.add_watch("~", 1)
    b.create("~/x", b"", secret)
    a.events()
    b.set("~/x", b"1")
    b.create("~/x/c", b"")
    b.set("~/x/c", b"")
    b.delete("~/x/c")
    b.delete("~/x")
    a.events()
    b.create("~/x")
    a.events()
    a.get("~/x", True)
    a.children("~/x", True)
    b.set_acl("~/x", secret)
    b.set("~/x", b"2")
    a.events()
    b.set_acl("~/x", wire.OPEN)
    b.set("~/x", b"3")
    b.create("~/x/d")
    a.events()


@case("a closing connection hears nothing of its own ephemerals", "WA-64 X-12")
def own_close(s):
    a = s.connect("a")
    a.create("~/e", flags=wire.EPHEMERAL)
    a.get("~/e", True)
    a.close_session()


@case("no watch fires for a failed change", "WA-25")
def failed(s):
    a = s.connect("a")
    a.add_watch("~", 1)
    a.get("~", True)
    a.children("~", True)
    a.set("~", b"", 99)
    a.create("~//x")
    a.delete("~/x")
    a.create("~", b"")
    a.events()


@case("addWatch does not judge paths", "UB-08 OPE-16")
def bad_path(s):
    a = s.connect("a")
    for path in ("noslash", "", "~/x/", "~//x", "~/\x01"):
        a.add_watch(path, 0)
    a.ping()


@case("thousands of watches", "WA-17 WA-30")
def thousands(s):
    a, b = s.connect("a"), s.connect("b")
    for start in range(0, 2000, 500):
        a.burst(*[(wire.EXISTS, wire.path_watch(a.at(f"~/{number}"), True)) for number in range(start, start + 500)])
        b.burst(*[(wire.CREATE, wire.create(a.at(f"~/{number}"))) for number in range(start, start + 500)])
        a.events()
