"""Sessions over time: expiry, touch, closing. Ticks of 200 ms so that nobody waits long."""

import time

import wire
from harness import case


@case("an idle session expires and its ephemerals go", "SE-10 SE-12 SE-14 WA-24 SE-33 ZN-41 H-14", "short-ticks")
def expiry(s):
    a, b = s.connect("a", timeout=600), s.connect("b", timeout=4000)
    for name in ("~/e1", "~/e2", "~/p"):
        a.create(name, flags=0 if name == "~/p" else wire.EPHEMERAL)
    a.create("~/p/e3", flags=wire.EPHEMERAL)
    b.exists("~/e1", True)
    b.add_watch("~/p", 0)
    b.ping()
    for _ in range(8):
        time.sleep(0.2 * s.slow)
        b.send(wire.PING, xid=-2)
        b.next_reply(*b.outstanding.pop()[:2], 5.0)
    b.pending.sort()
    s.writes += 1
    b.children2("~")
    b.children2("~/p")
    a.note_fate("idle connection", 1.0)
    c = s.connect("c", session=a.session, password=a.password)
    c.note_fate("renewing the expired", 1.0)


@case("a dropped connection leaves the session until its timeout", "SE-34 SE-10", "short-ticks")
def dropped(s):
    a, b = s.connect("a", timeout=1500), s.connect("b", timeout=4000)
    a.create("~/e", flags=wire.EPHEMERAL)
    a.drop()
    b.exists("~/e")
    time.sleep(0.3)
    b.exists("~/e")
    time.sleep(2.5)
    s.writes += 1
    b.exists("~/e")


@case("pings keep a session alive", "SE-11 X-08", "short-ticks")
def pings(s):
    a = s.connect("a", timeout=600)
    a.create("~/e", flags=wire.EPHEMERAL)
    for _ in range(12):
        time.sleep(0.15)
        a.ping()
    a.get("~/e")


@case("reads keep a session alive", "SE-11", "short-ticks")
def reads(s):
    a = s.connect("a", timeout=600)
    a.create("~/e", flags=wire.EPHEMERAL)
    for _ in range(12):
        time.sleep(0.15)
        a.exists("~/e")


@case("the timeout of the latest connection counts", "SE-11 SE-17 H-09", "short-ticks")
def latest(s):
    a = s.connect("a", timeout=4000)
    a.create("~/e", flags=wire.EPHEMERAL)
    a.drop()
    b = s.connect("b", timeout=400, session=a.session, password=a.password)
    b.ping()
    b.drop()
    c = s.connect("c", timeout=4000)
    time.sleep(1.5)
    s.writes += 1
    c.exists("~/e")


@case("timeouts are bounded by ticks", "H-09", "short-ticks")
def ticks(s):
    for timeout in (0, 399, 400, 401, 3999, 4000, 4001, 100000):
        s.connect("a", timeout=timeout).close_session()


@case("timeouts are bounded by the configured limits", "H-09", "session-bounds")
def bounds(s):
    for timeout in (0, 400, 899, 900, 901, 4000, 5000, 5001, 100000):
        s.connect("a", timeout=timeout).close_session()


@case("closing a session removes its ephemerals at one zxid", "OP-33 SE-30 SE-31 SE-35 X-12")
def closing(s):
    a, b = s.connect("a"), s.connect("b")
    a.create("~/p")
    a.create("~/p/e", flags=wire.EPHEMERAL)
    a.create("~/e", flags=wire.EPHEMERAL)
    a.create("~/gone", flags=wire.EPHEMERAL)
    a.delete("~/gone")
    a.close_session()
    b.children2("~")
    b.children2("~/p")


@case("closeSession sees the ephemerals still in flight", "SE-30 ZN-67 UB-14")
def in_flight(s):
    a, b = s.connect("a"), s.connect("b")
    a.burst((wire.CREATE, wire.create(a.at("~/e1"), flags=wire.EPHEMERAL)), (wire.CREATE, wire.create(a.at("~/e2"), flags=wire.EPHEMERAL)),
            (wire.DELETE, wire.path_version(a.at("~/e1"))), (wire.CLOSE_SESSION, b""))
    s.sessions.pop(a.session)
    a.session = 0
    b.children2("~")


@case("a session moves between connections with its requests", "SE-23 SE-25 H-12")
def moves(s):
    a = s.connect("a")
    a.create("~/e", flags=wire.EPHEMERAL)
    for number in range(5):
        a = s.connect(f"a{number}", session=a.session, password=a.password)
        a.set("~/e", b"%d" % number)
        a.ephemerals("~")


@case("many sessions with ephemerals", "SE-30 SE-31")
def many(s):
    links = [s.connect(f"m{number}") for number in range(20)]
    for number, link in enumerate(links):
        link.create(f"~/e{number}", flags=wire.EPHEMERAL)
        link.create("~/s-", flags=wire.EPHEMERAL_SEQUENTIAL)
    for link in links[::2]:
        link.close_session()
    links[1].children2("~")
