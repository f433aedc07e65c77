"""Server settings a client can feel."""

import servers
import wire
from harness import case

SECRET = [(31, "digest", "somebody:hash")]


@case("super may do everything", "A-02 A-29 OPR-05 A-44", "super")
def super_user(s):
    a, b = s.connect("a"), s.connect("b")
    a.create("~/x", b"s", SECRET)
    a.get("~/x")
    b.auth("digest", b"super:test")
    b.who_am_i()
    b.get("~/x")
    b.set("~/x", b"1")
    b.get_acl("~/x")
    b.create("~/x/y", b"", SECRET)
    b.create("~/mine", b"", [(31, "auth", "")])
    b.get_acl("~/mine")
    b.set("/zookeeper/config", b"by super")
    b.get("/zookeeper/config")
    b.set_acl("~/x", wire.OPEN)
    b.delete("~/x/y")
    b.delete("/zookeeper/config")
    a.get("~/x")
    c = s.connect("c")
    c.auth("digest", b"super:wrong")
    c.who_am_i()
    c.create("~/x", b"", [(31, "super", "")])


@case("super hears filtered events", "WA-34 A-29", "super")
def super_watch(s):
    a, b = s.connect("a"), s.connect("b")
    a.add_watch("~", 1)
    b.auth("digest", b"super:test")
    b.add_watch("~", 1)
    b.auth("digest", b"u:p")
    b.create("~/x", b"", SECRET)
    b.set("~/x", b"1")
    b.delete("~/x")
    a.events()
    b.events()


@case("skipACL skips the checks but not the normalisation", "A-54 A-18", "skip-acl")
def skip(s):
    a = s.connect("a")
    a.create("~/x", b"s", SECRET)
    a.get("~/x")
    a.set("~/x", b"1")
    a.create("~/x/y")
    a.get_acl("~/x")
    a.set_acl("~/x", [(1, "digest", "nobody:x")])
    a.create("~/z", b"", [])
    a.create("~/z", b"", [(31, "auth", "")])
    a.create("~/z", b"", [(31, "nope", "x")])
    a.set("/zookeeper/config", b"x")
    a.delete("~/x/y")


@case("eager acl checks refuse before a zxid is taken", "A-09 X-05 ZN-65", "eager-acl")
def eager(s):
    a = s.connect("a")
    a.create("~/ro", b"", [(1, "world", "anyone")])
    for call in (lambda: a.create("~/ro/x"), lambda: a.create2("~/ro/x"), lambda: a.set("~/ro", b""), lambda: a.set_acl("~/ro"),
                 lambda: a.delete("~/ro/x"), lambda: a.create_container("~/ro/x"), lambda: a.create_ttl("~/ro/x"),
                 lambda: a.multi((wire.SET_DATA, wire.set_data(a.at("~/ro")))), lambda: a.set("~/nope"), lambda: a.create("bad"),
                 lambda: a.set("bad//"), lambda: a.delete("bad"), lambda: a.set("~", b"fine"), lambda: a.create("~/fine"),
                 lambda: a.delete("~/fine"), lambda: a.delete("/zookeeper"), lambda: a.create("~/ro/x//y"), lambda: a.create("~/missing/x")):
        call()
        a.sync()


@case("enforced authentication refuses everything else", "A-51 A-52 ER-30 OPE-01 X-05 FL-12", "enforce-auth")
def enforce(s):
    for opcode, body in ((wire.EXISTS, wire.path_watch("/")), (wire.CREATE, wire.create("/x")), (wire.PING, b""), (wire.CLOSE_SESSION, b""),
                         (wire.WHO_AM_I, b""), (99, b""), (wire.SYNC, wire.string("/")), (wire.CREATE, b"")):
        a = s.connect("a")
        a.call(opcode, body)
        a.note_fate("afterwards", 3.0)
    a = s.connect("a")
    a.auth("ip", b"")
    a.exists("/")
    a.note_fate("afterwards", 3.0)
    a = s.connect("a")
    a.auth("digest", b"u:p")
    a.exists("/")
    a.create("/made", b"", [(31, "auth", "")])
    a.delete("/made")
    a.close_session()
    a = s.connect("a")
    a.auth("nope", b"")
    a.note_fate("afterwards", 3.0)
    s.note("ruok", servers.four_letter_word(s.port, "ruok").decode())


@case("required SASL refuses those without", "A-50 A-52 ER-30", "require-sasl")
def sasl(s):
    a = s.connect("a")
    a.exists("/")
    a.note_fate("afterwards", 3.0)
    a = s.connect("a")
    a.auth("digest", b"u:p")
    a.exists("/")
    a.note_fate("afterwards", 3.0)
    a = s.connect("a")
    a.call(wire.SASL, wire.buffer(b""))
    a.call(wire.PING, xid=-2)
    a.note_fate("afterwards", 3.0)


@case("another digest algorithm", "A-25", "digest-sha256")
def sha256(s):
    a = s.connect("a")
    a.auth("digest", b"user:pass")
    a.create("~/x", b"", [(31, "auth", "")])
    a.get_acl("~/x")
    a.get("~/x")


@case("digest switched off", "A-28", "digest-off")
def no_digest(s):
    a = s.connect("a")
    a.create("~/x", b"", SECRET)
    a.create("~/y", b"", [(31, "auth", "")])
    a.auth("digest", b"user:pass")
    a.note_fate("afterwards", 3.0)


@case("connections per address are limited", "W-12 FL-12", "few-connections")
def few(s):
    links = []
    for number in range(3):
        link = s.link(f"a{number}")
        link.handshake()
        links.append(link)
    s.note("a word over the limit", repr(servers.four_letter_word(s.port, "ruok")))
    over = s.link("over")
    over.handshake(seconds=3.0)
    links[0].ping()
    links[2].close_session()
    again = s.link("again")
    again.handshake()
    again.ping()


@case("reconfig on a standalone server", "OPE-18 ER-07 ER-29", "reconfig-on")
def reconfig(s):
    a = s.connect("a")
    a.call(wire.RECONFIG, wire.reconfig(members="server.1=127.0.0.1:1:2;3"))
    a.sync()
    a.auth("digest", b"super:test")
    a.call(wire.RECONFIG, wire.reconfig(members="server.1=127.0.0.1:1:2;3"))
    a.call(wire.RECONFIG, wire.reconfig(joining="server.1=127.0.0.1:1:2;3", config=5))
    a.call(wire.RECONFIG, b"", label="undecodable")
    a.sync()
