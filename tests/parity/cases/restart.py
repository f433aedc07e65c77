"""What survives a restart of the server."""

import time

import wire
from harness import case


def everything(link):
    for path in ("/", "~", "~/p", "~/null", "~/seq", "~/c", "~/t", "~/e", "~/acl"):
        link.children2(path)
        link.get(path)
    link.get_acl("~/acl")
    link.ephemerals("~")


def build(s):
    a = s.connect("a", timeout=30000)
    a.create("~/p", b"data")
    a.set("~/p", b"more")
    a.create("~/null", None)
    a.create("~/seq")
    for _ in range(3):
        a.create("~/seq/n-", flags=wire.SEQUENTIAL)
    a.create_container("~/c")
    a.create("~/c/x")
    a.create_ttl("~/t", ttl=3600000)
    a.create("~/e", b"eph", flags=wire.EPHEMERAL)
    a.create("~/acl", b"", [(31, "digest", "a:b"), (1, "world", "anyone")])
    a.create("~/gone")
    a.delete("~/gone")
    a.multi((wire.CREATE, wire.create(a.at("~/m"))), (wire.DELETE, wire.path_version(a.at("~/m"))))
    a.create("~/p")
    everything(a)
    return a


@case("tree, stats, zxid and sessions survive a clean restart", "SE-15 RT-09 DF-01", "restart")
def clean(s):
    a = build(s)
    s.restart()
    b = s.connect("b", session=a.session, password=a.password)
    everything(b)
    b.create("~/seq/n-", flags=wire.SEQUENTIAL)
    b.create("~/after")
    c = s.connect("c")
    c.exists("~/e")
    b.close_session()
    c.exists("~/e")


@case("tree, stats, zxid and sessions survive a kill", "SE-15 RT-09", "restart")
def killed(s):
    a = build(s)
    s.restart(9)
    b = s.connect("b", session=a.session, password=a.password)
    everything(b)
    b.create("~/seq/n-", flags=wire.SEQUENTIAL)
    b.close_session()
    s.connect("c").children2("~")


@case("quota usage is recounted on start", "Q-15", "restart")
def quota(s):
    a = s.connect("a")
    base = "/zookeeper/quota" + s.root
    a.create(base)
    a.create(base + "/zookeeper_limits", b"count=100,bytes=10000")
    a.create(base + "/zookeeper_stats", b"count=0,bytes=0")
    a.create("~/x", b"12345")
    a.get(base + "/zookeeper_stats")
    s.restart()
    b = s.connect("b", session=a.session, password=a.password)
    b.get(base + "/zookeeper_stats")
    b.create("~/y", b"1")
    b.get(base + "/zookeeper_stats")


@case("a new session after a restart does not repeat an old id", "SE-01 SE-02", "restart")
def ids(s):
    a = s.connect("a")
    time.sleep(0.05)
    s.restart()
    b = s.connect("b")
    s.note("distinct", str(a.session != b.session))


@case("many snapshots and logs later the tree is the same", "DF-14 SE-15 ZN-24 ZN-69", "restart-snapshots")
def snapshots(s):
    a = s.connect("a", timeout=4000)
    for number in range(15):
        a.create(f"~/n{number}", b"%d" % number, [(31, "world", "anyone"), (1, "ip", f"10.0.0.{number % 3}")])
    for turn in range(3):
        for number in range(15):
            a.set(f"~/n{number}", b"%d %d" % (turn, number))
            a.create(f"~/n{number}/c{turn}", flags=wire.EPHEMERAL if number == 3 else 0)
            a.create(f"~/n{number}/s-", flags=wire.SEQUENTIAL)
            a.delete(f"~/n{number}/c{turn}") if number % 2 else None
            a.set_acl(f"~/n{number}", [(31, "world", "anyone"), (2, "ip", f"10.0.0.{turn}")], turn)
        a.multi(*[(wire.DELETE, wire.path_version(a.at(f"~/n{number}/s-{2 * turn + 1:010}"))) for number in range(15)])
        s.restart(9 if turn == 1 else 15)
        a = s.connect(f"a{turn}", timeout=4000, session=a.session, password=a.password)
        for number in range(15):
            a.get(f"~/n{number}")
            a.get_acl(f"~/n{number}")
            a.children2(f"~/n{number}")
        a.ephemerals("~")


@case("a session that does not come back after a restart expires", "SE-15 SE-12 ZN-41", "restart-snapshots")
def expires(s):
    a = s.connect("a", timeout=2000)
    a.create("~/e", flags=wire.EPHEMERAL)
    a.create("~/p")
    s.restart()
    b = s.connect("b", timeout=4000)
    for _ in range(20):
        time.sleep(0.2 * s.slow)
        b.ping()
    s.notes[-20:] = []  # when exactly it happened is not the question
    b.children("~")


@case("TTL and container nodes are still such after a restart", "ZN-46 ZN-45 ZN-12 ZN-13 ZN-17", "restart-snapshots")
def ttl(s):
    a = s.connect("a", timeout=4000)
    a.create_ttl("~/short", ttl=100)
    a.create("~/short/child")
    a.create_ttl("~/long", ttl=3600000)
    a.create_container("~/box")
    a.create("~/box/child")
    s.restart()
    b = s.connect("b", timeout=4000, session=a.session, password=a.password)
    b.children2("~")
    b.delete("~/short/child")
    b.delete("~/box/child")
    for _ in range(6):
        time.sleep(0.2 * s.slow)
        b.send(wire.PING, xid=-2)
        b.next_reply(*b.outstanding.pop()[:2], 5.0)
    b.children("~")
