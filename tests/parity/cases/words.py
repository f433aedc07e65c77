"""Four-letter words: structure and fields, with what depends on time or machine masked."""

import re
import struct

import servers
import wire
from harness import case

ALL = ("ruok", "isro", "gtmk", "envi", "dirs", "crst", "srst", "conf", "srvr", "stat", "cons", "dump", "mntr", "wchs", "wchc", "wchp", "hash")


def ask(s, word):
    return servers.four_letter_word(s.port, word).decode("utf-8", "backslashreplace")


def masked(s, text):
    """Numbers, dates, addresses and ids become `#`; the words and the punctuation stay."""
    text = text.replace(str(s.server.directory), "DIR")
    text = re.sub(r"(?m)^Zookeeper version: .*$", "Zookeeper version: #", text)
    text = re.sub(r"0x[0-9a-f]+", "0x#", text)
    text = re.sub(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) .*? \d{4}", "DATE", text)
    return re.sub(r"-?\d+(\.\d+)*", "#", text)


def exact(s, text):
    """Only ids, ports and directories masked: the numbers count."""
    text = text.replace(str(s.server.directory), "DIR").replace(str(s.port), "PORT")
    for session, name in s.names.items():
        text = text.replace(f"0x{session:x}", name)
    return text


@case("ruok isro gtmk crst srst", "FL-20 FL-21 FL-22 FL-26 FL-27 FL-07 FL-09")
def short(s):
    for word in ("ruok", "isro", "gtmk", "crst", "srst"):
        s.note(word, ask(s, word))


@case("stmk sets the mask that gtmk shows", "FL-23 FL-10")
def trace_mask(s):
    s.note("stmk", ask(s, b"stmk" + struct.pack(">q", 1234567890123)))
    s.note("gtmk", ask(s, "gtmk"))
    s.note("stmk", ask(s, b"stmk" + struct.pack(">q", 306)))
    s.note("gtmk", ask(s, "gtmk"))


@case("conf", "FL-28 FL-40")
def conf(s):
    lines = [line.partition("=") for line in exact(s, ask(s, "conf")).splitlines()]
    s.note("conf keys", " ".join(key for key, _, _ in lines))
    for key, _, value in lines:
        s.note(f"conf {key}", "#" if key.endswith("Size") else value)


@case("srvr and its numbers", "FL-29 FL-41 FL-47 FL-65")
def srvr(s):
    a = s.connect("a")
    a.create("~/x")
    ask(s, "srst")
    a.exists("~/x")
    text = ask(s, "srvr")
    s.note("version", re.match(r"Zookeeper version: (\d+\.\d+)", text).group(1))
    s.note("lines", masked(s, text))
    for line in text.splitlines():
        key, _, value = line.partition(": ")
        if key in ("Outstanding", "Mode"):
            s.note(key, value)
        if key == "Zxid":
            s.note(key, s.zxid(int(value, 16)))


@case("node count, connections and zxid of srvr", "FL-41 FL-63", "fresh")
def fresh_srvr(s):
    a = s.connect("a")
    a.create("/counted")
    a.create("/counted/e", flags=wire.EPHEMERAL)
    values = dict(line.partition(": ")[::2] for line in ask(s, "srvr").splitlines())
    s.note("node count", values["Node count"])
    s.note("connections", values["Connections"])
    a.delete("/counted/e")
    a.delete("/counted")
    values = dict(line.partition(": ")[::2] for line in ask(s, "srvr").splitlines())
    s.note("node count", values["Node count"])


@case("stat lists its clients", "FL-30 FL-42")
def stat(s):
    s.connect("a")
    lines = masked(s, ask(s, "stat")).splitlines()
    s.note("stat", "\n".join(sorted(set(lines))))


@case("cons describes every connection", "FL-31 FL-42 FL-44")
def cons(s):
    a = s.connect("a", timeout=12000)
    for call in (lambda: a.exists("~"), lambda: a.create("~/x"), lambda: a.get("~/x"), lambda: a.set("~/x", b""), lambda: a.get_acl("~"),
                 lambda: a.children("~"), lambda: a.children2("~"), lambda: a.sync(), lambda: a.multi(), lambda: a.multi_read(),
                 lambda: a.who_am_i(), lambda: a.ephemerals(), lambda: a.count_children("~"), lambda: a.add_watch("~", 0),
                 lambda: a.check_watches("~", 4), lambda: a.remove_watches("~", 4), lambda: a.set_acl("~/x"), lambda: a.delete("~/x"),
                 lambda: a.create2("~/x"), lambda: a.set_watches(0), lambda: a.set_watches2(0), lambda: a.ping(), lambda: a.get("~/nope")):
        call()
        for line in ask(s, "cons").splitlines():
            if f"sid=0x{a.session:x}," in line:
                # `queued` too: the reference takes a reply off its queue after the client has read it.
                line = re.sub(r"(:|queued=|est=|lresp=|llat=|minlat=|avglat=|maxlat=)[\d.]+", r"\1#", line)
                line = re.sub(r"lzxid=0x([0-9a-f]+)", lambda m: "lzxid=" + ("-1" if m[1] == "f" * 16 else s.zxid(int(m[1], 16))), line)
                s.note("cons", exact(s, line).replace("[1]", "[#]").replace("[0]", "[#]"))


@case("cons ends with an empty line", "FL-31")
def cons_shape(s):
    s.connect("a")
    text = masked(s, ask(s, "cons"))
    s.note("ending", repr(text[-3:]))


@case("crst resets the counters of the connections", "FL-26")
def crst(s):
    a = s.connect("a")
    a.exists("~")
    ask(s, "crst")
    for line in ask(s, "cons").splitlines():
        if f"sid=0x{a.session:x}," in line:
            s.note("cons", re.sub(r"(:|est=|lresp=)[\d.]+", r"\1#", exact(s, line)).replace("[1]", "[#]").replace("[0]", "[#]"))


@case("dump shows sessions and ephemerals", "FL-32 FL-43")
def dump(s):
    a = s.connect("a")
    a.create("~/e1", flags=wire.EPHEMERAL)
    a.create("~/e2", flags=wire.EPHEMERAL)
    text = ask(s, "dump")
    s.note("headings", " | ".join(masked(s, line) for line in text.splitlines() if line.endswith(":") and "expire" not in line and "0x" not in line))
    s.note("sessions", masked(s, text.split("ephemeral nodes dump:")[0].splitlines()[0]))
    part = text.split("ephemeral nodes dump:")[1].split("Connections dump:")[0]
    s.note("own ephemerals", repr(sorted(re.findall(rf"0x{a.session:x}:\n((?:\t.*\n)*)", part)[0].splitlines())))
    s.note("buckets", str(bool(re.search(r"(?m)^\d+ expire at \w+ \w+ \d+ .* \d{4}:$", text))))
    s.note("session line", str(f"\t0x{a.session:x}\n" in text))
    s.note("connection line", str(bool(re.search(rf"(?m)^\t+ip: /127.0.0.1:\d+ sessionId: 0x{a.session:x}$", text))))


@case("watch summaries", "FL-34 FL-35 FL-36 WA-66")
def watches(s):
    a, b = s.connect("a"), s.connect("b")
    a.get("~", True)
    a.exists("~/x", True)
    a.children("~", True)
    b.get("~", True)
    b.add_watch("~/r", 1)
    b.add_watch("~/p", 0)
    s.note("wchs", ask(s, "wchs"))
    by_connection = exact(s, ask(s, "wchc"))
    sessions = [line.split(" >") for line in by_connection.replace("\n\t", " >").splitlines()]
    s.note("wchc", " ".join(sorted(f"{session} >{sorted(paths)}" for session, *paths in sessions)))
    by_path = exact(s, ask(s, "wchp"))
    paths = [line.split(" >") for line in by_path.replace("\n\t", " >").splitlines()]
    s.note("wchp", " ".join(sorted(f"{path} >{sorted(sessions)}" for path, *sessions in paths)))
    s.note("endings", repr((by_connection[-2:], by_path[-2:])))
    for each in (a, b):
        each.remove_watches("~", 3)
    a.remove_watches("~/x", 3)
    b.remove_watches("~/r", 3)
    b.remove_watches("~/p", 3)
    s.note("wchs", ask(s, "wchs"))
    s.note("wchc", repr(ask(s, "wchc")))
    s.note("wchp", repr(ask(s, "wchp")))


@case("dirs, envi and hash", "FL-24 FL-25 FL-37")
def dirs(s):
    s.note("dirs", masked(s, ask(s, "dirs")))
    s.note("envi keys", " ".join(line.partition("=")[0] for line in ask(s, "envi").splitlines()))


@case("mntr has every key", "FL-45 FL-50 FL-52 FL-56 FL-57 FL-58")
def mntr(s):
    a = s.connect("a")
    a.create("~/x")
    for line in sorted(ask(s, "mntr").splitlines()):
        key, tab, value = line.partition("\t")
        namespace = re.search(r"_c\d+_", key)  # the roots of earlier cases
        if namespace and namespace.group() != f"_{s.root[1:]}_":
            continue
        key = key.replace(f"_{s.root[1:]}_", "_ROOT_")
        number = re.fullmatch(r"-?\d+(\.\d+)?(E-?\d+)?|NaN", value)
        s.note(f"mntr {key}", f"{'tab' if tab else 'no tab'} {'a double' if number and '.' in value else 'a number' if number else 'text'}")


@case("mntr values that do not depend on time", "FL-52 FL-62 FL-63", "fresh")
def mntr_values(s):
    a = s.connect("a")
    a.create("/e", b"12345", flags=wire.EPHEMERAL)
    a.get("/e", True)
    a.children("/", True)
    a.add_watch("/e", 1)
    values = dict(line.partition("\t")[::2] for line in ask(s, "mntr").splitlines())
    for key in ("zk_server_state", "zk_znode_count", "zk_watch_count", "zk_ephemerals_count", "zk_global_sessions", "zk_local_sessions",
                "zk_num_alive_connections", "zk_outstanding_requests", "zk_connection_drop_probability", "zk_auth_failed_count"):
        s.note(key, values.get(key, "missing"))


@case("words outside the list are refused in words", "FL-02 FL-03 FL-05", "untyped")
def refused(s):
    for word in ALL:
        if word != "srvr":
            s.note(word, ask(s, word))
    s.note("srvr", masked(s, ask(s, "srvr")).splitlines()[0])


@case("a configured list adds srvr", "FL-02 FL-03", "digest-sha256")
def listed(s):
    for word in ALL:
        s.note(word, str("not in the whitelist" in ask(s, word)))


@case("unknown names in the list do no harm", "FL-02", "digest-off")
def listed_unknown(s):
    for word in ("stat", "nope", "ruok", "srvr"):
        s.note(word, repr(masked(s, ask(s, word)).splitlines()[:1]))


@case("isro is allowed when read only mode is", "FL-03 FL-21", "read-only-flag")
def isro(s):
    s.note("isro", ask(s, "isro"))
    s.note("ruok", ask(s, "ruok"))


@case("words that are not words", "FL-06 FL-11 W-05")
def not_words(s):
    for word in (b"nope", b"RUOK", b"ruo\0", b"srv2", b"\xff\xf4\xff\xfd"):
        s.note(repr(word), repr(ask(s, word)))


@case("bytes behind a word are ignored", "FL-10")
def behind(s):
    s.note("ruok\\n", ask(s, b"ruok\n"))
    s.note("ruokruok", ask(s, b"ruokruok"))


@case("every word over one connection limit each closes its connection", "FL-07")
def closes(s):
    for word in ALL:
        s.note(word, str(ask(s, word) != ""))


@case("a word after the handshake is a length", "W-05 FL-01")
def after_handshake(s):
    a = s.connect("a")
    a.send_raw(b"ruok")
    a.note_fate("afterwards", 3.0)


@case("conf shows what was configured", "FL-40", "session-bounds")
def conf_bounds(s):
    conf(s)


@case("conf shows the limit of connections", "FL-40", "few-connections")
def conf_few(s):
    conf(s)
