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
