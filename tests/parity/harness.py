"""What a case is, and the server configurations cases run under."""

import re
from dataclasses import dataclass
from typing import Callable

CASES = []

BASE = """tickTime=2000
maxClientCnxns=0
admin.enableServer=false
forceSync=no
preAllocSize=1024
snapCount=1000000
"""
WORDS = "4lw.commands.whitelist=*\n"
SUPER = "DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=\n"
QUICK_TICKS = BASE.replace("tickTime=2000", "tickTime=200")


@dataclass(frozen=True)
class Group:
    """One server configuration: zoo.cfg text and -D definitions."""

    config: str
    jvm: tuple = ()


GROUPS = {
    "main": Group(BASE + WORDS + "extendedTypesEnabled=true\n"),
    "fresh": Group(BASE + WORDS),
    "untyped": Group(BASE),
    "short-ticks": Group(QUICK_TICKS + WORDS + "extendedTypesEnabled=true\n",
                         ("-Dznode.container.checkIntervalMs=300", "-Dznode.container.maxNeverUsedIntervalMs=600")),
    "session-bounds": Group(QUICK_TICKS + WORDS + "minSessionTimeout=900\nmaxSessionTimeout=5000\n"),
    "super": Group(BASE + WORDS + SUPER),
    "quota": Group(BASE + WORDS + "enforceQuota=true\n"),
    "skip-acl": Group(BASE + WORDS + "skipACL=yes\n"),
    "eager-acl": Group(BASE + WORDS + "enableEagerACLCheck=true\n"),
    "enforce-auth": Group(BASE + WORDS + "enforce.auth.enabled=true\nenforce.auth.schemes=digest\n"),
    "require-sasl": Group(BASE + WORDS + "sessionRequireClientSASLAuth=true\n"
                          "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n"),
    "digest-sha256": Group(BASE + "DigestAuthenticationProvider.digestAlg=SHA-256\n4lw.commands.whitelist=ruok, conf\n"),
    "digest-off": Group(BASE + "DigestAuthenticationProvider.enabled=false\n4lw.commands.whitelist=stat,nope\n"),
    "few-connections": Group(BASE.replace("maxClientCnxns=0", "maxClientCnxns=3") + WORDS),
    "small-frames": Group(BASE + WORDS, ("-Djute.maxbuffer=4096",)),
    "read-only-flag": Group(BASE, ("-Dreadonlymode.enabled=true",)),
    "reconfig-on": Group(BASE + WORDS + "reconfigEnabled=true\n" + SUPER),
    "restart": Group(BASE + WORDS + "extendedTypesEnabled=true\n"),
    "restart-snapshots": Group(QUICK_TICKS.replace("snapCount=1000000", "snapCount=20") + WORDS + "extendedTypesEnabled=true\n",
                               ("-Dznode.container.checkIntervalMs=300",)),
}


# Cases that wait for the server's clock: on a busy machine a mismatch counts only when it appears twice.
TIMED = ("short-ticks", "session-bounds", "restart", "restart-snapshots")


@dataclass(frozen=True)
class Case:
    """A named function that plays on a Stage; `rows` are the ids of the facts it checks."""

    name: str
    rows: tuple
    group: str
    play: Callable

    @property
    def id(self):
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def case(name, rows="", group="main"):
    """Registers a case: a sentence, the ids of the facts it checks, and the configuration it needs."""
    assert group in GROUPS, group

    def register(play):
        made = Case(name, tuple(rows.split()), group, play)
        assert all(other.id != made.id for other in CASES), f"two cases named {name}"
        CASES.append(made)
        return play

    return register
