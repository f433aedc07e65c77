"""Requests under their names, for cases to read like a session: `a.create("~/x", flags=EPHEMERAL)`. `~` is the case's root."""

import wire


class Requests:
    """Mixed into stage.Link; every method sends one request, waits for the reply and notes it."""

    def at(self, path):
        return self.stage.root + path[1:] if isinstance(path, str) and path.startswith("~") else path

    def all_at(self, paths):
        return None if paths is None else [self.at(path) for path in paths]

    def labelled(self, opcode, body, *shown):
        return self.call(opcode, body, label=" ".join(self.stage.show(item) for item in shown))

    def create(self, path, data=b"", acl=wire.OPEN, flags=0, op=wire.CREATE):
        extra = () if acl is wire.OPEN else (acl,)
        return self.labelled(op, wire.create(self.at(path), data, acl, flags), path, f"flags {flags}", *extra)

    def create2(self, path, data=b"", acl=wire.OPEN, flags=0):
        return self.create(path, data, acl, flags, wire.CREATE2)

    def create_container(self, path, data=b"", acl=wire.OPEN, flags=wire.CONTAINER):
        return self.create(path, data, acl, flags, wire.CREATE_CONTAINER)

    def create_ttl(self, path, data=b"", acl=wire.OPEN, flags=wire.TTL, ttl=60000):
        return self.labelled(wire.CREATE_TTL, wire.create_ttl(self.at(path), data, acl, flags, ttl), path, f"flags {flags} ttl {ttl}")

    def delete(self, path, version=-1):
        return self.labelled(wire.DELETE, wire.path_version(self.at(path), version), path, version)

    def exists(self, path, watch=False):
        return self.labelled(wire.EXISTS, wire.path_watch(self.at(path), watch), path, watch)

    def get(self, path, watch=False):
        return self.labelled(wire.GET_DATA, wire.path_watch(self.at(path), watch), path, watch)

    def set(self, path, data=b"", version=-1):
        return self.labelled(wire.SET_DATA, wire.set_data(self.at(path), data, version), path, data, version)

    def get_acl(self, path):
        return self.labelled(wire.GET_ACL, wire.string(self.at(path)), path)

    def set_acl(self, path, acl=wire.OPEN, version=-1):
        return self.labelled(wire.SET_ACL, wire.set_acl(self.at(path), acl, version), path, acl, version)

    def children(self, path, watch=False):
        return self.labelled(wire.GET_CHILDREN, wire.path_watch(self.at(path), watch), path, watch)

    def children2(self, path, watch=False):
        return self.labelled(wire.GET_CHILDREN2, wire.path_watch(self.at(path), watch), path, watch)

    def sync(self, path="/"):
        return self.labelled(wire.SYNC, wire.string(self.at(path)), path)

    def ping(self, xid=-2):
        return self.call(wire.PING, xid=xid, label=f"xid {xid}")

    def multi(self, *operations):
        return self.labelled(wire.MULTI, wire.multi(*operations), [wire.NAMES.get(op, op) for op, _ in operations])

    def multi_read(self, *operations):
        return self.labelled(wire.MULTI_READ, wire.multi(*operations), [wire.NAMES.get(op, op) for op, _ in operations])

    def auth(self, scheme, credential, xid=-4):
        return self.call(wire.AUTH, wire.auth(scheme, credential), xid=xid, label=f"{scheme} {credential}")

    def set_watches(self, zxid, data=(), exist=(), child=(), xid=-8):
        body = wire.set_watches(zxid, self.all_at(data), self.all_at(exist), self.all_at(child))
        return self.call(wire.SET_WATCHES, body, xid=xid, label=f"{self.stage.zxid(zxid)} {data} {exist} {child}")

    def set_watches2(self, zxid, data=(), exist=(), child=(), persistent=(), recursive=(), xid=-8):
        lists = [self.all_at(each) for each in (data, exist, child, persistent, recursive)]
        return self.call(wire.SET_WATCHES2, wire.set_watches2(zxid, *lists), xid=xid,
                         label=f"{self.stage.zxid(zxid)} {data} {exist} {child} {persistent} {recursive}")

    def add_watch(self, path, mode=0):
        return self.labelled(wire.ADD_WATCH, wire.path_type(self.at(path), mode), path, mode)

    def check_watches(self, path, kind):
        return self.labelled(wire.CHECK_WATCHES, wire.path_type(self.at(path), kind), path, kind)

    def remove_watches(self, path, kind):
        return self.labelled(wire.REMOVE_WATCHES, wire.path_type(self.at(path), kind), path, kind)

    def ephemerals(self, prefix="/"):
        return self.labelled(wire.GET_EPHEMERALS, wire.string(self.at(prefix)), prefix)

    def count_children(self, path):
        return self.labelled(wire.GET_ALL_CHILDREN_NUMBER, wire.string(self.at(path)), path)

    def who_am_i(self):
        return self.call(wire.WHO_AM_I)
