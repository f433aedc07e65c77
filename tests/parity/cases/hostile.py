"""Bytes no client would send: what is answered, what is closed, and that the server lives on."""

import random
import struct

import wire
from harness import case


def survives(s):
    """The server still serves a newcomer."""
    s.connect("witness").exists("/zookeeper")


@case("lengths that are no lengths, before the handshake", "W-02 W-05 FL-06")
def lengths(s):
    for length in (-1, -2147483648, 0x00100000, 0x7fffffff, 1048576, 0x01000000):
        a = s.link("a")
        a.send_raw(wire.int32(length))
        a.note_fate(f"length {length}", 3.0)
    survives(s)


@case("lengths that are no lengths, in a session", "W-02")
def session_lengths(s):
    for length in (-1, -2147483648, 1048576, 0x7fffffff):
        a = s.connect("a")
        a.send_raw(wire.int32(length))
        a.note_fate(f"length {length}", 3.0)
        s.connect("b", session=a.session, password=a.password).ping()


@case("a frame of exactly the allowed size", "W-02 MU-20")
def largest(s):
    a = s.connect("a")
    overhead = 8 + len(wire.create(a.at("~/x"), b""))
    for size in (1048575 - overhead, 1048575 - overhead + 1):
        a.call(wire.CREATE, wire.create(a.at("~/x"), b"d" * size), label=f"frame of {size + overhead}")
    b = s.connect("b")
    b.get("~/x")
    b.delete("~/x")


@case("frames are limited by jute.maxbuffer", "W-02 W-04", "small-frames")
def small_frames(s):
    for size in (4096, 4097):
        a = s.connect("a")
        overhead = 8 + len(wire.create(a.at("~/x"), b""))
        a.call(wire.CREATE, wire.create(a.at("~/x"), b"d" * (size - overhead)), label=f"frame of {size}")
        b = s.connect("b")
        b.exists("~/x")
        b.delete("~/x")
    a = s.connect("a")
    for number in range(30):
        a.create(f"~/{'n' * 300}{number}")
    reply = a.call(wire.GET_CHILDREN, wire.path_watch(a.at("~")))
    s.note("a reply may be larger", str(len(reply.fields[0])))
    a.call(wire.SET_WATCHES, wire.set_watches(0, ["/x" * 300] * 5), xid=-8, label="strings")


@case("string lengths beyond the record", "J-11 X-14")
def strings(s):
    a = s.connect("a")
    for length in (-2, -2147483648, 0x7fffffff, 3000000, 1048576, 100):
        a.call(wire.EXISTS, wire.int32(length) + b"/zookeeper\0", label=f"path length {length}")
        a.call(wire.CREATE, wire.string(a.at("~/x")) + wire.int32(length) + b"data" + wire.acl_vector(wire.OPEN) + wire.int32(0),
               label=f"data length {length}")
    a.exists("~/x")
    a.ping()


@case("acl vectors with counts that lie", "J-08 X-14")
def counts(s):
    a = s.connect("a")
    for count in (-1, -2, -2147483648, 0, 2, 0x7fffffff, 1000000):
        body = wire.string(a.at("~/x")) + wire.buffer(b"") + wire.int32(count) + wire.acl_vector(wire.OPEN)[4:] + wire.int32(0)
        a.call(wire.CREATE, body, label=f"acl count {count}")
        a.exists("~/x")
        a.delete("~/x")
    a.ping()


@case("a boolean of any value", "J-02")
def booleans(s):
    a = s.connect("a")
    for byte in (b"\0", b"\1", b"\2", b"\xff"):
        a.call(wire.GET_DATA, wire.string(a.at("~")) + byte, label=byte.hex())
        a.set("~", b"x")


@case("random bytes as requests of every opcode", "X-14 OPE-01")
def noise(s):
    dice = random.Random(20240601)
    a = s.connect("a")
    opcodes = [wire.CREATE, wire.DELETE, wire.EXISTS, wire.GET_DATA, wire.SET_DATA, wire.GET_ACL, wire.SET_ACL, wire.GET_CHILDREN, wire.SYNC,
               wire.GET_CHILDREN2, wire.MULTI, wire.CREATE2, wire.CHECK_WATCHES, wire.REMOVE_WATCHES, wire.CREATE_CONTAINER, wire.CREATE_TTL,
               wire.MULTI_READ, wire.SET_WATCHES, wire.GET_EPHEMERALS, wire.GET_ALL_CHILDREN_NUMBER, wire.SET_WATCHES2]
    for number in range(400):
        opcode = dice.choice(opcodes)
        body = dice.randbytes(dice.randrange(60))
        if dice.random() < 0.6:  # small positive lengths and counts get deeper into the record
            body = wire.int32(dice.randrange(12)) + dice.randbytes(dice.randrange(10)) + wire.int32(dice.randrange(4)) + body
        a.call(opcode, body, label=f"{number} {body.hex()}")
    survives(s)


@case("mutated requests", "X-14 OPE-01 W-08")
def mutated(s):
    dice = random.Random(42)
    a = s.connect("a")
    a.create("~/x", b"data")
    path = a.at("~/x")
    seeds = [(wire.CREATE, wire.create(path + "/c", b"12")), (wire.SET_DATA, wire.set_data(path, b"12", 0)), (wire.DELETE, wire.path_version(path, 5)),
             (wire.SET_ACL, wire.set_acl(path, wire.OPEN, 5)), (wire.GET_CHILDREN2, wire.path_watch(path)), (wire.GET_DATA, wire.path_watch(path)),
             (wire.MULTI, wire.multi((wire.CREATE, wire.create(path + "/m")), (wire.CHECK, wire.path_version(path, 0)))),
             (wire.MULTI_READ, wire.multi((wire.GET_DATA, wire.path_watch(path)))), (wire.CREATE_TTL, wire.create_ttl(path + "/t"))]
    for number in range(300):
        opcode, body = dice.choice(seeds)
        body = bytearray(body)
        for _ in range(dice.choice((1, 1, 2, 4))):
            body[dice.randrange(len(body))] = dice.choice((0, 1, 255, 127, 128, dice.randrange(256)))
        a.call(opcode, bytes(body), label=f"{number} {bytes(body).hex()}")
    a.children2("~")
    survives(s)


@case("random bytes instead of a handshake", "H-01 W-02")
def noise_handshake(s):
    dice = random.Random(7)
    for number in range(20):
        a = s.link("a")
        size = dice.choice((0, 4, 20, 27))
        a.send_raw(wire.frame(dice.randbytes(size)))
        a.note_fate(f"{number}: {size} bytes", 3.0)
    survives(s)


@case("a handshake whose password length lies", "H-01 J-11")
def password_length(s):
    for length in (-2, -1, 17, 1000, 0x7fffffff, -2147483648):
        a = s.link("a")
        a.send_raw(wire.frame(struct.pack(">iqiqi", 0, 0, 10000, 0, length) + bytes(16)))
        answer = a.fate(3.0)
        s.note(f"password length {length}", answer if answer in ("closed", "no answer") else "a frame")
    survives(s)


@case("half a frame and then nothing", "W-01 W-17")
def half(s):
    a = s.connect("a")
    a.send_raw(wire.int32(100) + b"only this")
    a.drop()
    b = s.connect("b", session=a.session, password=a.password)
    b.ping()
    survives(s)


@case("many connections at once that say nothing", "W-12")
def silent(s):
    links = [s.link("idle") for _ in range(100)]
    survives(s)
    for link in links:
        link.drop()
