"""setWatches and setWatches2: what a client sends after a reconnect."""

import wire
from harness import case


def history(s):
    """Nodes with changes before and after a remembered zxid; returns the connection and that zxid."""
    a = s.connect("a")
    for name in ("same", "changed", "gone", "childed", "recreated"):
        a.create(f"~/{name}")
    a.create("~/childed/old")
    zxid = a.sync().zxid
    a.set("~/changed", b"1")
    a.delete("~/gone")
    a.create("~/childed/new")
    a.delete("~/recreated")
    a.create("~/recreated")
    a.create("~/fresh")
    return a, zxid


NAMES = ["~/same", "~/changed", "~/gone", "~/childed", "~/recreated", "~/fresh", "~/never"]


def provoke(a, b):
    for name in NAMES:
        b.set(name, b"p")
        b.create(name + "/p")
        b.delete(name + "/p")
    b.create("~/gone")
    b.create("~/never")
    a.events()


@case("data watches catch up", "OP-25 WA-50 WA-55 WA-44 X-10")
def data(s):
    a, zxid = history(s)
    b = s.connect("b")
    a.set_watches(zxid, data=NAMES)
    provoke(a, b)


@case("exist watches catch up", "WA-51 WA-57")
def exist(s):
    a, zxid = history(s)
    b = s.connect("b")
    a.set_watches(zxid, exist=NAMES)
    provoke(a, b)


@case("child watches catch up", "WA-52")
def child(s):
    a, zxid = history(s)
    b = s.connect("b")
    a.set_watches(zxid, child=NAMES)
    provoke(a, b)


@case("persistent watches are registered without catching up", "OP-29 WA-53 WA-54")
def persistent(s):
    a, zxid = history(s)
    b = s.connect("b")
    a.set_watches2(zxid, persistent=["~/changed", "~/gone", "~/never"], recursive=["~/childed", "~/fresh"])
    provoke(a, b)


@case("all lists at once are worked through in order", "WA-44 WA-50 WA-51 WA-52 OP-29")
def all_lists(s):
    a, zxid = history(s)
    b = s.connect("b")
    a.set_watches2(zxid, NAMES, NAMES, NAMES, ["~"], ["~/same"])
    provoke(a, b)


@case("a client that remembers nothing or the future", "WA-50 WA-52")
def extremes(s):
    a, _ = history(s)
    for zxid in (0, -1, s.base + 100000, 0x7fffffffffffffff, -0x8000000000000000):
        a.call(wire.SET_WATCHES, wire.set_watches(zxid, a.all_at(NAMES), a.all_at(NAMES), a.all_at(NAMES)), xid=-8, label="some zxid")
        a.remove_watches("~/same", 3)


@case("null lists and duplicates", "WA-56 J-08 OPE-15")
def null_lists(s):
    a, zxid = history(s)
    a.set_watches(zxid, None, None, None)
    a.ping()


@case("duplicates and several batches are harmless", "WA-56")
def duplicates(s):
    a, zxid = history(s)
    for _ in range(2):
        a.set_watches(zxid, ["~/same", "~/same"], ["~/never"] * 3, ["~/same"])
    a.set("~/same", b"1")
    a.create("~/never")
    a.create("~/same/x")
    a.events()


@case("paths of setWatches are not judged", "WA-56 UB-08")
def bad_paths(s):
    a = s.connect("a")
    a.set_watches(s.base, ["noslash", "", "~/x/"], ["noslash", ""], ["//"])
    a.ping()


@case("a negative vector count is an empty list", "J-08")
def negative(s):
    a = s.connect("a")
    a.call(wire.SET_WATCHES, wire.int64(s.base) + wire.int32(-2) + wire.int32(-100) + wire.int32(-2147483648), xid=-8)
    a.call(wire.SET_WATCHES, wire.int64(s.base) + wire.int32(2147483647), xid=-8, label="huge")
    a.ping()


@case("catching up on nodes one may not read", "UB-07 WA-36")
def unreadable(s):
    a, b = s.connect("a"), s.connect("b")
    b.auth("digest", b"b:b")
    zxid = a.sync().zxid
    b.create("~/secret", b"", [(31, "auth", "")])
    a.set_watches(zxid, ["~/secret"], ["~/secret"], ["~/secret"])


@case("re-established watches after a real reconnect", "WA-15 H-19 WA-57")
def reconnect(s):
    a, w = s.connect("a"), s.connect("w")
    a.create("~/x")
    a.create("~/y")
    a.get("~/x", True)
    a.exists("~/z", True)
    a.children("~", True)
    seen = a.sync().zxid
    a.drop()
    w.set("~/x", b"1")
    w.create("~/z")
    b = s.connect("b", session=a.session, password=a.password, last_zxid=seen)
    b.set_watches(seen, ["~/x", "~/y"], ["~/z"], ["~"])
    w.set("~/x", b"2")
    w.set("~/y", b"2")
    w.delete("~/z")
    b.events()


@case("a batch of thousands of paths", "H-19 WA-50 WA-51")
def batch(s):
    a = s.connect("a")
    a.create("~/500")
    zxid = a.sync().zxid
    a.set("~/500", b"new")
    names = [a.at(f"~/{number}") for number in range(2000)]
    a.call(wire.SET_WATCHES, wire.set_watches(zxid, [], names, []), xid=-8, label="2000 exist watches")
    a.call(wire.SET_WATCHES, wire.set_watches(zxid, names[490:510], [], names[495:505]), xid=-8, label="data and child watches")
    a.create("~/1999")
