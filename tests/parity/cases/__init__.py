"""The cases by topic; importing this package registers them all, in the order of this list."""

from . import (handshake, headers, operations, errors, paths, transactions, watches, rewatch, acls, quotas,  # noqa: F401
               sessions, ttl, words, hostile, configurations, restart)
