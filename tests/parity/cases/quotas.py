"""Quota nodes: usage, soft and hard limits."""

import wire
from harness import case


def quota(a, limits, stats=b"count=0,bytes=0"):
    """Creates the quota nodes for `~` as a client would; `limits` is the text of the limit node."""
    base = "/zookeeper/quota"
    for part in a.stage.root.strip("/").split("/"):
        base += "/" + part
        a.create(base)
    a.create(base + "/zookeeper_limits", limits)
    if stats is not None:
        a.create(base + "/zookeeper_stats", stats)
    return base


def remove(a, base):
    a.delete(base + "/zookeeper_stats")
    a.delete(base + "/zookeeper_limits")
    a.delete(base)


@case("usage is counted in the stats node", "Q-01 Q-02 Q-05 Q-06 Q-07 WA-27")
def usage(s):
    a = s.connect("a")
    a.create("~/before", b"12345")
    base = quota(a, b"count=100,bytes=10000")
    a.get(base + "/zookeeper_stats", True)
    a.create("~/x", b"abc")
    a.create("~/x/y", b"defg", flags=wire.EPHEMERAL)
    a.get(base + "/zookeeper_stats")
    a.set("~/x", b"0123456789")
    a.get(base + "/zookeeper_stats")
    a.set("~/x", None)
    a.delete("~/before")
    a.get(base + "/zookeeper_stats")
    a.delete("~/x/y")
    a.get(base + "/zookeeper_stats")
    a.events()
    a.get(base + "/zookeeper_limits")
    remove(a, base)
    a.create("~/after")


@case("soft limits refuse nothing without enforcement", "Q-09")
def soft(s):
    a = s.connect("a")
    base = quota(a, b"count=2,bytes=5=;byteHardLimit=5;countHardLimit=2")
    for number in range(4):
        a.create(f"~/n{number}", b"12345")
    a.get(base + "/zookeeper_stats")
    remove(a, base)


@case("limit text of every shape", "Q-02 Q-03 Q-04")
def shapes(s):
    a = s.connect("a")
    for text in (b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=-1", b"count=5,bytes=5", b"bytes=3;count=2", b"count=2"):
        base = quota(a, text)
        a.create("~/x", b"1")
        a.get(base + "/zookeeper_stats")
        a.delete("~/x")
        remove(a, base)


@case("a stats node without a limit", "Q-05")
def stats_only(s):
    a = s.connect("a")
    base = "/zookeeper/quota" + s.root
    a.create(base)
    a.create(base + "/zookeeper_stats", b"count=0,bytes=0")
    a.create("~/x", b"123")
    a.get(base + "/zookeeper_stats")
    a.delete(base + "/zookeeper_stats")
    a.delete(base)


@case("hard count limit", "Q-09 Q-10 Q-11 ER-31", "quota")
def hard_count(s):
    a = s.connect("a")
    base = quota(a, b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3")
    for number in range(4):
        a.create(f"~/n{number}")
    a.create2("~/m")
    a.create_container("~/m")
    a.create("~/e", flags=wire.EPHEMERAL)
    a.create("~/s-", flags=wire.SEQUENTIAL)
    a.multi((wire.CREATE, wire.create(a.at("~/m"))))
    a.delete("~/n0")
    a.create("~/n0")
    a.get(base + "/zookeeper_stats")
    remove(a, base)


@case("hard byte limit", "Q-10 Q-13 OPE-08", "quota")
def hard_bytes(s):
    a = s.connect("a")
    base = quota(a, b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=-1")
    a.create("~/x", b"12345")
    a.create("~/y", b"123456")
    a.create("~/y", b"12345")
    a.set("~/x", b"123456")
    a.set("~/x", b"123456", 99)
    a.set("~/x", b"54321")
    a.set("~/x", b"1")
    a.set("~/y", b"123456789")
    a.set("~/y", b"1234567890")
    a.get(base + "/zookeeper_stats")
    a.set(base + "/zookeeper_limits", b"count=-1,bytes=-1=;byteHardLimit=3;countHardLimit=-1")
    a.set("~/y", b"12345")
    a.set("~/y", b"1")
    a.get(base + "/zookeeper_stats")
    remove(a, base)


@case("a soft limit stands in for a missing hard one", "Q-04 Q-09 Q-11", "quota")
def soft_enforced(s):
    a = s.connect("a")
    for text in (b"count=3,bytes=10", b"count=3,bytes=10=;byteHardLimit=20;countHardLimit=5", b"count=9,bytes=90=;byteHardLimit=10;countHardLimit=2"):
        base = quota(a, text)
        for number in range(6):
            a.create(f"~/n{number}", b"1234")
        a.set("~", b"x" * 50)
        for number in range(6):
            a.delete(f"~/n{number}")
        remove(a, base)


@case("a transaction is judged by the usage before it", "Q-12 MU-18", "quota")
def multi(s):
    a = s.connect("a")
    base = quota(a, b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2")
    a.multi(*[(wire.CREATE, wire.create(a.at(f"~/n{number}"))) for number in range(4)])
    a.multi((wire.CREATE, wire.create(a.at("~/m"))))
    a.multi((wire.CHECK, wire.path_version(a.at("~"))), (wire.CREATE, wire.create(a.at("~/m"))))
    a.get(base + "/zookeeper_stats")
    remove(a, base)


@case("the deepest quota applies", "Q-08", "quota")
def deepest(s):
    a = s.connect("a")
    outer = quota(a, b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3")
    a.create("~/in")
    a.create(outer + "/in")
    a.create(outer + "/in/zookeeper_limits", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=100")
    a.create(outer + "/in/zookeeper_stats", b"count=0,bytes=0")
    for number in range(4):
        a.create(f"~/in/n{number}")
        a.create(f"~/n{number}")
    a.get(outer + "/zookeeper_stats")
    a.get(outer + "/in/zookeeper_stats")


@case("a quota on the root is never effective", "Q-08 UB-04", "quota")
def root(s):
    a = s.connect("a")
    a.create("/zookeeper/quota/zookeeper_stats", b"count=0,bytes=0")
    a.create("~/x")
    a.get("/zookeeper/quota/zookeeper_stats")
    a.delete("/zookeeper/quota/zookeeper_stats")


@case("a quota whose text is nonsense", "UB-05", "quota")
def nonsense(s):
    a = s.connect("a")
    quota(a, b"this is no quota")
    a.create("~/x", b"1")
