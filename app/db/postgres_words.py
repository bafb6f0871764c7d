"""Translates the parameters of a Postgres URL from libpq's names for asyncpg.

Every parameter is translated, or rejected by name. None is ignored silently: a URL that asks for
TLS must not lead to a connection without it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SERVERS = ("any", "primary", "standby", "read-write", "read-only", "prefer-standby")
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile", "servicefile")
SYSTEM = "system"  # for sslrootcert: the authorities that this machine trusts

PASSED_ON = frozenset(
    {"host", "port", "dbname", "user", "password", "service", "application_name", "options"}
    | {"krbsrvname", "gsslib", "sslpassword", *FILES}
)
"""asyncpg reads these from its DSN itself, or sends them to the server when it connects."""

CHOICES: dict[str, tuple[str, ...]] = {
    "sslmode": SSL_MODES,
    "target_session_attrs": SERVERS,
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": TLS_VERSIONS,
    "ssl_max_protocol_version": TLS_VERSIONS,
}

ONLY: dict[str, tuple[tuple[str, ...], str]] = {
    "channel_binding": (("disable", "prefer"), "asyncpg has no channel binding; leave it out and "
                        "set sslmode=verify-full, which keeps others out of the middle as well"),
    "gssencmode": (("disable", "prefer"), "asyncpg does not encrypt with GSSAPI; use sslmode"),
    "client_encoding": (("utf8", "UTF8", "utf-8", "UTF-8", "auto"), "the service uses UTF-8"),
    "sslcompression": (("0",), "TLS compression no longer exists"),
    "sslsni": (("1",), "the host's name is always sent"),
    "load_balance_hosts": (("disable",), "hosts are tried in the given order"),
}  # fmt: skip
"""Parameters of which only these values are supported, and why the others are rejected."""

NUMBERS: dict[str, tuple[str, Callable[[str], float]]] = {
    "timeout": ("timeout", float),
    "command_timeout": ("command_timeout", float),
    "statement_cache_size": ("statement_cache_size", int),
    "prepared_statement_cache_size": ("prepared_statement_cache_size", int),
}
"""Parameters of asyncpg and SQLAlchemy. Setting the last two to 0 suits a PgBouncer that pools by
transaction."""

KEEP_ALIVE = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}


class Refused(ValueError):
    """A parameter cannot be honoured; the message names it."""


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """TCP keep-alive of idle connections."""

    on: bool
    options: dict[str, int]  # by the socket option's name

    def apply(self, connection: Any) -> None:
        """Set it on an asyncpg connection, if that uses TCP."""
        found = getattr(connection, "_transport", None)
        wire = found.get_extra_info("socket") if found is not None else None
        if wire is None or wire.family not in (socket.AF_INET, socket.AF_INET6):
            return
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(self.on))
        for name, value in self.options.items():
            if value > 0 and (number := getattr(socket, name, None)) is not None:
                wire.setsockopt(socket.IPPROTO_TCP, number, value)


@dataclass(slots=True)
class Wanted:
    """The parameters, translated."""

    words: dict[str, str] = field(default_factory=dict)  # for asyncpg's DSN
    arguments: dict[str, Any] = field(default_factory=dict)  # for its connect()
    keep_alive: KeepAlive | None = None


def translate(given: dict[str, str]) -> Wanted:
    """Raises Refused for a parameter that cannot be honoured."""
    wanted = Wanted()
    words = dict(given)
    if "ssl" in words:  # SQLAlchemy's and JDBC's name
        mode = words.pop("ssl")
        words.setdefault("sslmode", {"true": "require", "false": "disable"}.get(mode, mode))
    if (name := words.pop("fallback_application_name", None)) is not None:
        words.setdefault("application_name", name)
    wanted.keep_alive = _keep_alive(words)
    if (seconds := words.pop("connect_timeout", None)) is not None:
        _set_timeout(wanted, seconds)
    for word, value in words.items():
        _take(wanted, word, value)
    _system_authorities(wanted)
    return wanted


def _take(wanted: Wanted, word: str, value: str) -> None:
    if word in NUMBERS:
        name, number = NUMBERS[word]
        wanted.arguments[name] = _number(word, value, number)
    elif word in ONLY:
        harmless, why = ONLY[word]
        if value not in harmless:
            raise Refused(f"`{word}={value}` cannot be honoured: {why}")
    elif word in CHOICES:
        if value not in CHOICES[word]:
            raise Refused(f"`{word}` must be one of {', '.join(CHOICES[word])}, not `{value}`")
        wanted.words[word] = value
    elif word in PASSED_ON:
        if word in FILES and value != SYSTEM:
            _require_file(word, value)
        wanted.words[word] = value
    else:
        raise Refused(
            f"the parameter `{word}` is not known; settings of the server go into "
            "`options=-c NAME=VALUE`"
        )


def _set_timeout(wanted: Wanted, seconds: str) -> None:
    value = _number("connect_timeout", seconds, int)
    if value > 0:  # libpq would wait forever; the service's own limit stays
        wanted.arguments["timeout"] = float(value)


def _keep_alive(words: dict[str, str]) -> KeepAlive | None:
    on = words.pop("keepalives", None)
    options = {
        option: int(_number(word, words.pop(word), int))
        for word, option in KEEP_ALIVE.items()
        if word in words
    }
    return KeepAlive(on != "0", options) if options or on is not None else None


def _number(word: str, value: str, number: Callable[[str], float]) -> float:
    try:
        return number(value)
    except ValueError as error:
        raise Refused(f"`{word}` must be a number, not `{value}`") from error


def _require_file(word: str, value: str) -> None:
    file = Path(value).expanduser()
    try:
        with file.open("rb"):
            return
    except OSError as error:
        raise Refused(f"`{word}` names {file}, which cannot be read ({error.strerror})") from error


def _system_authorities(wanted: Wanted) -> None:
    """`sslrootcert=system`, which libpq 16 knows and asyncpg would take for a file."""
    if wanted.words.get("sslrootcert") != SYSTEM:
        return
    if wanted.words.get("sslmode", "verify-full") != "verify-full":
        raise Refused("`sslrootcert=system` needs `sslmode=verify-full`")
    context = ssl.create_default_context()
    if certificate := wanted.words.get("sslcert"):
        context.load_cert_chain(certificate, wanted.words.get("sslkey"))
    wanted.arguments["ssl"] = context
    wanted.words = {word: value for word, value in wanted.words.items() if word[:3] != "ssl"}
