"""ACL evaluation, normalisation and the schemes."""

import wire
from harness import case

DIGEST = "user:smGaoVKd/cQkjm7b88GyorAUz20="


@case("acl lists are normalised or refused", "A-10 A-11 A-12 A-13 A-14 A-15 A-16 A-17 A-44 ER-22")
def normalised(s):
    a = s.connect("a")
    lists = ([], None, [(31, "world", "anyone")] * 2, [(31, "world", "anyone"), (1, "world", "anyone")], [(31, "world", "other")],
             [(31, None, "anyone")], [(31, "world", None)], [(31, "", "")], [(31, "auth", "")], [(31, "auth", "x")],
             [(31, "digest", DIGEST)], [(31, "digest", "user")], [(31, "digest", "a:b:c")], [(31, "digest", "")], [(31, "digest", ":")],
             [(31, "digest", ":x")], [(31, "digest", "x:")], [(31, "digest", "x:y:")], [(31, "digest", None)], [(31, "ip", None)], [(31, "nope", None)], [(31, "super", None)],
             [(31, "super", "")], [(31, "nope", "x")], [(31, "sasl", "u")], [(31, "x509", "CN=a")], [(0, "world", "anyone")],
             [(-1, "world", "anyone")], [(64, "world", "anyone")], [(31, "World", "anyone")])
    for number, acl in enumerate(lists):
        if a.create(f"~/n{number}", b"", acl).err == 0:
            a.get_acl(f"~/n{number}")
        a.set_acl("~", acl)
    a.set_acl("~", wire.OPEN)


@case("ip ids", "A-21 A-22 A-23")
def ip(s):
    a = s.connect("a")
    for number, address in enumerate(("127.0.0.1", "127.0.0.1/32", "127.0.0.0/8", "127.1.1.1/8", "10.0.0.1", "127.0.0.1/0", "127.0.0.1/33",
                                      "127.0.0.1/-1", "127.0.0", "127.0.0.1.1", "127.0.0.256", "localhost", "", "127.0.0.1/", "/8", "127.0.0.1/8/8",
                                      "::1", "::ffff:127.0.0.1", "fe80::/10", "1:2:3:4:5:6:7:8", "1::2::3", "12345::", "0.0.0.0/0", "::/0", "127.0.0.01",
                                      "127.0.0.1/x")):
        path = f"~/n{number}"
        if a.create(path, b"", [(31, "ip", address)]).err == 0:
            a.get(path)
            a.get_acl(path)


@case("each permission bit allows its operations", "A-02 A-04 A-06 OPE-05 OPE-07")
def bits(s):
    a = s.connect("a")
    for bit in (0, 1, 2, 4, 8, 16, 31, 30, 29, 27, 23, 15):
        path = f"~/n{bit}"
        a.create(path, b"")
        a.create(path + "/old", b"")
        a.set_acl(path, [(bit, "world", "anyone")])
        for call in (a.exists, a.get, a.children, a.children2, a.get_acl, a.count_children):
            call(path)
        a.set(path, b"x")
        a.create(path + "/new")
        a.delete(path + "/old")
        a.multi((wire.CHECK, wire.path_version(a.at(path))))
        a.set_acl(path, [(bit, "world", "anyone")])
        a.delete(path)


@case("digest users", "A-14 A-24 A-27 OPR-02 A-48")
def digest(s):
    a, b, c = s.connect("a"), s.connect("b"), s.connect("c")
    a.auth("digest", b"user:pass")
    a.create("~/x", b"", [(31, "auth", "ignored")])
    a.create("~/y", b"", [(31, "digest", DIGEST), (1, "world", "anyone")])
    for each in (a, b):
        for path in ("~/x", "~/y"):
            each.get(path)
            each.get_acl(path)
            each.set(path, b"1")
    b.auth("digest", b"user:wrong")
    b.get("~/x")
    b.auth("digest", b"user:pass")
    b.get("~/x")
    b.who_am_i()
    c.get_acl("~/y")
    a.auth("digest", b"second:pw")
    a.create("~/z", b"", [(5, "auth", ""), (31, "auth", "")])
    a.get_acl("~/z")
    c.get_acl("~/z")


@case("getACL hides digests from those without ADMIN", "OPR-02 OPE-13")
def hidden(s):
    a = s.connect("a")
    a.create("~/x", b"", [(1, "world", "anyone"), (31, "digest", DIGEST), (31, "digest", "a:b"), (2, "ip", "10.0.0.1")])
    a.get_acl("~/x")
    a.auth("digest", b"user:pass")
    a.get_acl("~/x")


@case("ids end with the connection", "A-48 H-18")
def reconnect(s):
    a = s.connect("a")
    a.auth("digest", b"user:pass")
    a.create("~/x", b"", [(31, "auth", "")])
    a.drop()
    b = s.connect("b", session=a.session, password=a.password)
    b.get("~/x")
    b.who_am_i()
    b.auth("digest", b"user:pass")
    b.get("~/x")


@case("several entries and several ids", "A-02 A-03")
def several(s):
    a = s.connect("a")
    a.create("~/x", b"", [(1, "ip", "10.0.0.1"), (1, "digest", "nobody:x"), (2, "world", "anyone"), (16, "ip", "127.0.0.1")])
    a.get("~/x")
    a.set("~/x", b"1")
    a.get_acl("~/x")
    a.set_acl("~/x", [(1, "ip", "127.0.0.1/16")])
    a.get("~/x")
    a.get_acl("~/x")
    a.set_acl("~/x", wire.OPEN)


@case("unknown permission bits are kept", "A-01")
def unknown_bits(s):
    a = s.connect("a")
    a.create("~/x", b"", [(0x7fffffff, "world", "anyone"), (-2147483648, "ip", "127.0.0.1")])
    a.get_acl("~/x")
    a.create("~/y", b"", [(32, "world", "anyone")])
    a.get("~/y")


@case("a large acl", "ZN-69")
def large(s):
    a = s.connect("a")
    acl = [(31, "digest", f"u{i}:x{i}") for i in range(300)] + wire.OPEN
    a.call(wire.CREATE, wire.create(a.at("~/x"), acl=acl))
    reply = a.call(wire.GET_ACL, wire.string(a.at("~/x")))
    s.note("entries", str(len(reply.fields[0])))
