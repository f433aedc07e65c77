"""TTL and container nodes and their background deletion."""

import time

import wire
from harness import case


@case("TTL nodes are created", "OP-22 ZN-11 ZN-48 OPR-09 OPE-06")
def created(s):
    a = s.connect("a")
    a.create_ttl("~/t", ttl=60000)
    a.create_ttl("~/ts-", flags=wire.TTL_SEQUENTIAL, ttl=60000)
    for ttl in (0, -1, 1099511627775, 1099511627776, 9223372036854775807, -9223372036854775808):
        a.create_ttl(f"~/ttl{ttl}", ttl=ttl)
        a.create_ttl(f"~/plain{ttl}", flags=0, ttl=ttl) if ttl >= 0 else None
    for flag in (0, 1, 2, 3, 4, 7, -1):
        a.create_ttl(f"~/flag{flag}", flags=flag, ttl=5)
    a.get("~/t")
    a.children2("~")


@case("TTL nodes and containers may have children", "ZN-40")
def children(s):
    a = s.connect("a")
    a.create_ttl("~/t", ttl=60000)
    a.create_container("~/c")
    for parent in ("~/t", "~/c"):
        a.create(parent + "/x")
        a.create(parent + "/e", flags=wire.EPHEMERAL)
        a.create_ttl(parent + "/t", ttl=60000)
        a.create_container(parent + "/c")
        a.children2(parent)
        a.delete(parent)
    a.ephemerals("~")
    a.set("~/t", b"1")
    a.set("~/c", b"1")
    a.get("~/c")


@case("createTTL without extended types", "OPE-05 OPE-06 ER-07 ZN-13", "untyped")
def untyped(s):
    a = s.connect("a")
    a.create_ttl("~/t", ttl=60000)
    a.create_ttl("~/t", ttl=0)
    a.create_ttl("noslash", ttl=60000)
    a.create("~/t", flags=wire.TTL)
    a.create2("~/t", flags=wire.TTL_SEQUENTIAL)
    a.multi((wire.CREATE_TTL, wire.create_ttl(a.at("~/t"))))


@case("createContainer without extended types", "OP-20 ZN-12", "untyped")
def container_untyped(s):
    a = s.connect("a")
    a.create_container("~/c")
    a.create("~/c/x", flags=wire.EPHEMERAL)
    a.children2("~")


@case("an empty TTL node goes after its time", "ZN-42 ZN-46 ZN-47 WA-22", "short-ticks")
def ttl_expires(s):
    a = s.connect("a", timeout=4000)
    a.create_ttl("~/t", ttl=100)
    a.create_ttl("~/kept", ttl=100)
    a.create("~/kept/child")
    a.create_ttl("~/long", ttl=600000)
    a.exists("~/t", True)
    for _ in range(8):
        time.sleep(0.2 * s.slow)
        a.send(wire.PING, xid=-2)
        a.next_reply(*a.outstanding.pop()[:2], 5.0)
    a.children2("~")
    a.get("~/long")


@case("a container goes after its last child", "ZN-45 ZN-47", "short-ticks")
def container(s):
    a = s.connect("a", timeout=4000)
    a.create_container("~/c")
    a.create_container("~/full")
    a.create("~/full/x")
    a.create("~/c/x")
    a.delete("~/c/x")
    a.exists("~/c", True)
    for _ in range(6):
        time.sleep(0.2 * s.slow)
        a.send(wire.PING, xid=-2)
        a.next_reply(*a.outstanding.pop()[:2], 5.0)
    a.children2("~")


@case("a container never used goes after its own time", "ZN-45", "short-ticks")
def never_used(s):
    a = s.connect("a", timeout=4000)
    a.create_container("~/c")
    a.exists("~/c")
    for _ in range(9):
        time.sleep(0.2 * s.slow)
        a.send(wire.PING, xid=-2)
        a.next_reply(*a.outstanding.pop()[:2], 5.0)
    a.children2("~")
