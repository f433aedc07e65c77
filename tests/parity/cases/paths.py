"""Path rules and the reserved subtree."""

import wire
from harness import case


@case("valid and invalid path shapes", "ZN-20 ZN-30")
def shapes(s):
    a = s.connect("a")
    for path in ("~/a", "~/a/", "~//a", "~/./a", "~/../a", "~/.", "~/..", "~/...", "~/.a", "~/a.", "~/..a", "~/a b", "~/ ", "~/-",
                 "a", "", "/", "//", "~/a//b", "~/a/./b", "~/a/../b", "~/%2F", "~/\\", "~/a:b", "/zookeeper"):
        a.create(path)
        a.set(path, b"x")


@case("forbidden characters", "ZN-21 ZN-22 J-12 J-13")
def characters(s):
    a = s.connect("a")
    for code in (0x01, 0x1f, 0x20, 0x7e, 0x7f, 0x80, 0x9f, 0xa0, 0xe9, 0x2028, 0xd7ff, 0xe000, 0xf8ff, 0xf900, 0xfeff, 0xffef, 0xfff0,
                 0xfffd, 0xffff, 0x1f600):
        name = f"~/u{code:x}{chr(code)}"
        reply = a.call(wire.CREATE, wire.create(a.at(name)), label=f"U+{code:04X}")
        if reply.err == 0:
            a.get(name)
    a.children("~")


@case("malformed UTF-8 in paths", "J-13 J-12 ZN-21")
def utf8(s):
    a = s.connect("a")
    for raw in (b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x9f\x98\x80", b"\xe2\x28\xa1", b"\x80"):
        path = s.root.encode() + b"/x" + raw
        a.call(wire.CREATE, wire.create(path), label=raw.hex())
        a.call(wire.EXISTS, wire.path_watch(path), label=raw.hex())
        a.call(wire.SYNC, wire.string(path), label=raw.hex())
    a.children("~")


@case("malformed UTF-8 in acl ids and schemes", "J-13")
def utf8_acl(s):
    a = s.connect("a")
    a.call(wire.CREATE, wire.create(a.at("~/a"), acl=[(31, b"digest", b"u\xff:h\xc3")]), label="digest id")
    a.call(wire.CREATE, wire.create(a.at("~/b"), acl=[(31, b"wor\xffld", b"anyone")]), label="scheme")
    a.call(wire.CREATE, wire.create(a.at("~/c"), acl=[(31, b"digest", "u:é".encode())]), label="good id")
    a.call(wire.GET_ACL, wire.string(a.at("~/c")))


@case("long names and deep paths", "ZN-23")
def long_names(s):
    a = s.connect("a")
    a.create("~/" + "n" * 5000)
    path = "~"
    for _ in range(60):
        path += "/d"
        a.create(path)
    a.exists(path)
    a.count_children("~")


@case("the reserved subtree", "ZN-31 ZN-32 ZN-33 ZN-34 ZN-36")
def reserved(s):
    a = s.connect("a")
    a.get("/zookeeper/config")
    a.get_acl("/zookeeper/config")
    a.set("/zookeeper/config", b"x")
    a.create("/zookeeper/config/x")
    a.get_acl("/zookeeper")
    a.get_acl("/zookeeper/quota")
    a.set_acl("/zookeeper/config", wire.OPEN)


@case("a fresh tree", "ZN-31 ZN-08 ZN-29 OPR-03", "fresh")
def fresh(s):
    a = s.connect("a")
    for path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
        a.get(path)
        a.children2(path)
        a.get_acl(path)
    a.count_children("/")
    a.count_children("")
    a.children("")


@case("the root can be changed but not created or deleted", "ZN-30", "fresh")
def root(s):
    a = s.connect("a")
    a.create("/")
    a.delete("/")
    a.set("/", b"root data")
    a.get("/")
    a.create("/top")
    a.exists("/")
    a.create("/e", flags=wire.EPHEMERAL)
    a.create("/n-", flags=wire.SEQUENTIAL)
    a.create("/", flags=wire.SEQUENTIAL)
    a.children2("/")
    a.delete("/top")
    a.exists("/")
    a.exists("")
    a.set_acl("/", [(31, "world", "anyone"), (1, "ip", "10.0.0.1")])
    a.get_acl("/")
    a.set_acl("/", wire.OPEN)


@case("the root under its other name", "ZN-29 UB-13", "fresh")
def empty_path(s):
    a = s.connect("a")
    for call in (a.exists, a.get, a.children2, a.get_acl, a.create, a.delete, a.set, a.set_acl):
        call("")
    a.multi((wire.CHECK, wire.path_version("")))


@case("watches on the root", "WA-28 WA-20", "fresh")
def root_watch(s):
    a, b = s.connect("a"), s.connect("b")
    a.children("/", True)
    a.get("/", True)
    b.create("/w")
    a.events()
    b.set("/", b"again")
    a.events()
    a.add_watch("/", 1)
    b.create("/w/x")
    b.delete("/w/x")
    b.delete("/w")
    a.events()
    a.remove_watches("/", 3)


@case("reserved nodes may get children", "ZN-34", "fresh")
def reserved_children(s):
    a = s.connect("a")
    a.create("/zookeeper/mine", b"x")
    a.create("/zookeeper/mine/e", flags=wire.EPHEMERAL)
    a.exists("/zookeeper")
    a.delete("/zookeeper/mine/e")
    a.delete("/zookeeper/mine")
    a.exists("/zookeeper")
    a.create("/zookeeper/quota/free", b"")
    a.delete("/zookeeper/quota/free")
