"""ZooKeeper's client protocol as bytes: jute primitives, request bodies, reply bodies. Standard library only, so nothing tidies the
bytes on the way. Encoders take what a test wants to send, legal or not; decoders refuse whatever does not fit exactly.
"""

import struct

# Opcodes.
NOTIFICATION, CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, SET_ACL = 0, 1, 2, 3, 4, 5, 6, 7
GET_CHILDREN, SYNC, PING, GET_CHILDREN2, CHECK, MULTI, CREATE2, RECONFIG = 8, 9, 11, 12, 13, 14, 15, 16
CHECK_WATCHES, REMOVE_WATCHES, CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL, MULTI_READ = 17, 18, 19, 20, 21, 22
AUTH, SET_WATCHES, SASL, GET_EPHEMERALS, GET_ALL_CHILDREN_NUMBER = 100, 101, 102, 103, 104
SET_WATCHES2, ADD_WATCH, WHO_AM_I, CREATE_SESSION, CLOSE_SESSION = 105, 106, 107, -10, -11

NAMES = {
    1: "create", 2: "delete", 3: "exists", 4: "getData", 5: "setData", 6: "getACL", 7: "setACL", 8: "getChildren", 9: "sync",
    11: "ping", 12: "getChildren2", 13: "check", 14: "multi", 15: "create2", 16: "reconfig", 17: "checkWatches",
    18: "removeWatches", 19: "createContainer", 20: "deleteContainer", 21: "createTTL", 22: "multiRead", 100: "auth",
    101: "setWatches", 102: "sasl", 103: "getEphemerals", 104: "getAllChildrenNumber", 105: "setWatches2", 106: "addWatch",
    107: "whoAmI", -10: "createSession", -11: "closeSession",
}
WRITES = {CREATE, DELETE, SET_DATA, SET_ACL, CHECK, MULTI, CREATE2, RECONFIG, CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL,
          CREATE_SESSION, CLOSE_SESSION}
EVENTS = {1: "NodeCreated", 2: "NodeDeleted", 3: "NodeDataChanged", 4: "NodeChildrenChanged"}

READ, WRITE, CREATE_PERM, DELETE_PERM, ADMIN, ALL = 1, 2, 4, 8, 16, 31
OPEN = [(ALL, "world", "anyone")]
EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL, CONTAINER, TTL, TTL_SEQUENTIAL = 1, 2, 3, 4, 5, 6


# ---- encoding -------------------------------------------------------------------------------------------------------------------

def int32(value):
    return struct.pack(">i", value)


def int64(value):
    return struct.pack(">q", value)


def boolean(value):
    return b"\1" if value else b"\0"


def buffer(value):
    """A jute buffer; None is length -1."""
    return int32(-1) if value is None else int32(len(value)) + value


def string(value):
    """A jute ustring; None is null, bytes go out as they are."""
    return buffer(value.encode() if isinstance(value, str) else value)


def vector(items, encode):
    return int32(-1) if items is None else int32(len(items)) + b"".join(map(encode, items))


def acl_vector(acl):
    return vector(acl, lambda entry: int32(entry[0]) + string(entry[1]) + string(entry[2]))


def paths(items):
    return vector(items, string)


def frame(payload):
    return int32(len(payload)) + payload


def header(xid, opcode):
    return struct.pack(">ii", xid, opcode)


def connect_request(timeout=30000, session=0, password=bytes(16), last_zxid=0, version=0, read_only=False):
    """ConnectRequest; `read_only=None` leaves the last byte out, as clients before 3.4 did."""
    body = struct.pack(">iqiq", version, last_zxid, timeout, session) + buffer(password)
    return body if read_only is None else body + boolean(read_only)


def create(path, data=b"", acl=OPEN, flags=0):
    return string(path) + buffer(data) + acl_vector(acl) + int32(flags)


def create_ttl(path, data=b"", acl=OPEN, flags=TTL, ttl=1000):
    return create(path, data, acl, flags) + int64(ttl)


def path_version(path, version=-1):
    return string(path) + int32(version)


def path_watch(path, watch=False):
    return string(path) + boolean(watch)


def set_data(path, data=b"", version=-1):
    return string(path) + buffer(data) + int32(version)


def set_acl(path, acl=OPEN, version=-1):
    return string(path) + acl_vector(acl) + int32(version)


def path_type(path, kind):
    return string(path) + int32(kind)


def reconfig(joining=None, leaving=None, members=None, config=-1):
    return string(joining) + string(leaving) + string(members) + int64(config)


def auth(scheme, credential, kind=0):
    return int32(kind) + string(scheme) + buffer(credential)


def set_watches(zxid, data=(), exist=(), child=()):
    return int64(zxid) + paths(data) + paths(exist) + paths(child)


def set_watches2(zxid, data=(), exist=(), child=(), persistent=(), recursive=()):
    return set_watches(zxid, data, exist, child) + paths(persistent) + paths(recursive)


def multi_header(kind, done=False, err=-1):
    return int32(kind) + boolean(done) + int32(err)


def multi(*operations, end=True):
    """A multi or multiRead body out of (opcode, encoded record) pairs."""
    body = b"".join(multi_header(kind) + record for kind, record in operations)
    return body + multi_header(-1, True) if end else body


# ---- decoding -------------------------------------------------------------------------------------------------------------------

class Malformed(Exception):
    """A reply that is not what its record says."""


class Reader:
    """Cuts jute values off the front of some bytes."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, size):
        if self.at + size > len(self.data):
            raise Malformed(f"{size} bytes wanted at {self.at} of {len(self.data)}")
        piece = self.data[self.at:self.at + size]
        self.at += size
        return piece

    def unpack(self, layout, size):
        if self.at + size > len(self.data):
            raise Malformed(f"{size} bytes wanted at {self.at} of {len(self.data)}")
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += size
        return values

    def int32(self):
        return self.unpack(">i", 4)[0]

    def int64(self):
        return self.unpack(">q", 8)[0]

    def boolean(self):
        return self.take(1) != b"\0"

    def buffer(self):
        size = self.int32()
        if size < -1:
            raise Malformed(f"length {size}")
        return None if size == -1 else self.take(size)

    def string(self):
        raw = self.buffer()
        return None if raw is None else raw.decode("utf-8", "backslashreplace")

    def vector(self, decode):
        count = self.int32()
        return None if count == -1 else [decode() for _ in range(count)]

    def rest(self):
        return self.take(len(self.data) - self.at)

    def stat(self):
        return Stat(*self.unpack(">qqqqiiiqiiq", 68))

    def acl(self):
        return self.vector(lambda: (self.int32(), self.string(), self.string()))


class Stat:
    """The eleven fields of a Stat record."""

    __slots__ = ("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "owner", "length", "children", "pzxid")

    def __init__(self, *fields):
        (self.czxid, self.mzxid, self.ctime, self.mtime, self.version, self.cversion, self.aversion, self.owner, self.length,
         self.children, self.pzxid) = fields


class Children(list):
    """A list of names whose order means nothing."""


def _multi_result(reader):
    results = []
    while True:
        kind, done, err = reader.int32(), reader.boolean(), reader.int32()
        if done:
            return results if (kind, err) == (-1, -1) else results + [f"terminator {kind} {err}"]
        name = NAMES.get(kind, str(kind))
        if kind == -1:
            results.append(("error", err, reader.int32()))
        elif kind == CREATE:
            results.append((name, err, reader.string()))
        elif kind == CREATE2:
            results.append((name, err, reader.string(), reader.stat()))
        elif kind == SET_DATA:
            results.append((name, err, reader.stat()))
        elif kind == GET_DATA:
            results.append((name, err, reader.buffer(), reader.stat()))
        elif kind == GET_CHILDREN:
            results.append((name, err, Children(reader.vector(reader.string))))
        elif kind in (DELETE, CHECK):
            results.append((name, err))
        else:
            raise Malformed(f"multi result of type {kind}")


_BODIES = {
    CREATE: lambda r: (r.string(),),
    CREATE2: lambda r: (r.string(), r.stat()),
    CREATE_CONTAINER: lambda r: (r.string(), r.stat()),
    CREATE_TTL: lambda r: (r.string(), r.stat()),
    EXISTS: lambda r: (r.stat(),),
    SET_DATA: lambda r: (r.stat(),),
    SET_ACL: lambda r: (r.stat(),),
    GET_DATA: lambda r: (r.buffer(), r.stat()),
    GET_ACL: lambda r: (r.acl(), r.stat()),
    GET_CHILDREN: lambda r: (Children(r.vector(r.string)),),
    GET_CHILDREN2: lambda r: (Children(r.vector(r.string)), r.stat()),
    SYNC: lambda r: (r.string(),),
    RECONFIG: lambda r: (r.buffer(), r.stat()),
    MULTI: lambda r: tuple(_multi_result(r)),
    MULTI_READ: lambda r: tuple(_multi_result(r)),
    SASL: lambda r: (r.buffer(),),
    GET_EPHEMERALS: lambda r: (Children(r.vector(r.string)),),
    GET_ALL_CHILDREN_NUMBER: lambda r: (r.int32(),),
    ADD_WATCH: lambda r: (r.int32(),),
    WHO_AM_I: lambda r: (Children(r.vector(lambda: f"{r.string()}:{r.string()}")),),
}


def reply_body(opcode, data, at):
    """The fields of a successful reply body of `opcode`, with any bytes beyond it as a last element."""
    reader = Reader(data, at)
    try:
        fields = _BODIES[opcode](reader) if opcode in _BODIES else ()
    except Malformed as reason:
        return (f"malformed body {data[at:].hex()}: {reason}",)
    rest = reader.rest()
    return (*fields, f"trailing {rest.hex()}") if rest else fields
