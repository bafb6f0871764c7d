"""Translates database errors: a sentence for the operator, a problem for API callers."""

from __future__ import annotations

import socket
import sqlite3
import ssl
from collections.abc import Iterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.db.address import Address
from app.errors import ResourcesExhausted, StorageUnavailable, Unhealthy, shortage_problem
from engine import out_of_descriptors

DRIVERS = (
    DBAPIError,
    PoolTimeout,
    OSError,
    # Raised bare while connecting.
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    sqlite3.Error,
)
"""Errors of a transaction that its statements did not cause; but see `is_statement`."""

SETTING = "VOIPAVATAR_DATABASE_URL"
UNANSWERED = "The database does not answer; see the service's log."
FULL = "The database cannot store anything now; see the service's log."
CROWDED = "The database accepts no more connections now; see the service's log."
STORAGE_STATES = frozenset({"53100", "58030", "25006"})  # disk full, I/O error, read-only
STORAGE_NAMES = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CORRUPT")


def is_statement(error: BaseException) -> bool:
    """Whether an error was caused by the statement rather than the database."""
    if isinstance(error, IntegrityError):
        return True
    return isinstance(error, ProgrammingError) and _state(error) != "42501"


def problem_of(error: BaseException) -> Unhealthy:
    """The problem for a caller, who must not learn the database's address or users."""
    if _state(error) in STORAGE_STATES or _sqlite_name(error).startswith(STORAGE_NAMES):
        return StorageUnavailable(FULL)
    if _state(error).startswith("53"):
        return ResourcesExhausted(CROWDED)
    if _sqlite_name(error).startswith("SQLITE_CANTOPEN"):  # SQLite does not say why
        error = out_of_descriptors() or error
    return shortage_problem(error) or Unhealthy(UNANSWERED)


def unusable(address: Address, error: BaseException) -> Unhealthy:
    """The error for a person who runs a command: one sentence with its remedy."""
    reason, remedy = _postgres(address, error) if not address.is_sqlite else _sqlite(address, error)
    return Unhealthy(f"The database {address.shown} cannot be opened: {reason}. {remedy}")


def _sqlite(address: Address, error: BaseException) -> tuple[str, str]:
    folder = address.file.parent if address.file else "the folder"
    said = _last(error)
    known = {
        "SQLITE_FULL": ("the disk is full", f"Free space on the disk of {folder}."),
        "SQLITE_READONLY": (
            "it is read-only",
            f"Give this user write access to {folder}, or set VOIPAVATAR_DATA_DIR.",
        ),
        "SQLITE_CANTOPEN": (
            "the file cannot be created or opened",
            f"Check that {folder} is a folder you can write to, or set VOIPAVATAR_DATA_DIR.",
        ),
        "SQLITE_NOTADB": ("it is not an SQLite file", f"Move it away, or set {SETTING}."),
        "SQLITE_CORRUPT": ("the file is damaged", "Restore it from a backup, or move it away."),
        "SQLITE_IOERR": (f"the disk fails ({said})", f"Check the disk of {folder}."),
        "SQLITE_BUSY": ("another process has locked it", "Stop that process, or try again."),
    }
    name = next((each for each in known if _sqlite_name(error).startswith(each)), None)
    if name is not None:
        return known[name]
    return said, f"Check {folder}, or set {SETTING}."


def _postgres(address: Address, error: BaseException) -> tuple[str, str]:
    """The reason and its remedy; looks for the most specific cause first."""
    chain = list(_chain(error))
    remedy = f"Set {SETTING} to the right one."
    for each in chain:
        if isinstance(each, socket.gaierror):
            return f"the host {address.host} is not known", remedy
        if isinstance(each, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted ({each.verify_message})",
                "Set its authority with sslrootcert=FILE in the URL, and use the certificate's "
                "host name; sslmode=require encrypts without verifying it.",
            )
        if isinstance(each, ssl.SSLError):
            return f"TLS fails ({each.reason or each})", "Check the ssl… parameters of the URL."
        if "rejected SSL upgrade" in str(each):
            return (
                "it does not speak TLS, which sslmode requires",
                "Enable TLS there (`ssl = on`), or set sslmode=prefer if the network is your own.",
            )
        if isinstance(each, ConnectionRefusedError):
            return "nothing listens there", f"Start Postgres, or set {SETTING}."
        if isinstance(each, FileNotFoundError):
            return "there is no such socket", f"Start Postgres, or set {SETTING}."
    for each in chain:
        if (state := _own_state(each)) and (found := _by_state(address, state, str(each))):
            return found
    if any(isinstance(each, TimeoutError | PoolTimeout) for each in chain):
        return (
            "it did not answer in time",
            "Start Postgres, check the firewall in between, or set connect_timeout in the URL.",
        )
    return _last(error), f"Start it, or set {SETTING}."


def _by_state(address: Address, state: str, said: str) -> tuple[str, str] | None:
    user, name = address.user or "the user", address.name or "of that name"
    said = _sentence(said)
    known = {
        "28P01": (f"the password of {user} is wrong", f"Set the right one in {SETTING}."),
        "28000": (
            f"it does not admit {user} ({said})",
            "Create the user with `createuser`, or admit it in pg_hba.conf; if that requires "
            "encryption, add sslmode=require to the URL.",
        ),
        "3D000": (
            f"there is no database {name}",
            f"Create it with `createdb {name}`, or set {SETTING}.",
        ),
        "42501": (
            f"{user} lacks a permission ({said})",
            f"Grant it: `ALTER DATABASE {name} OWNER TO {user}`.",
        ),
        "53300": ("it accepts no more connections", "Raise its max_connections, or close others."),
        "53100": ("its disk is full", "Free space there."),
        "57P03": (f"it is not ready ({said})", "Wait until it has started, and try again."),
        "25006": ("it is read-only", "Name the primary, or add target_session_attrs=primary."),
    }
    return known.get(state)


def _last(error: BaseException) -> str:
    """The message of the innermost error, on one line."""
    return _sentence(str(list(_chain(error))[-1])) or type(error).__name__


def _sentence(said: str) -> str:
    return " ".join(said.split())[:300].rstrip(".")


def _state(error: BaseException) -> str:
    return next((state for each in _chain(error) if (state := _own_state(each))), "")


def _own_state(error: BaseException) -> str:
    found: Any = getattr(error, "sqlstate", None)
    return found if isinstance(found, str) else ""


def _sqlite_name(error: BaseException) -> str:
    names = (getattr(each, "sqlite_errorname", None) for each in _chain(error))
    return next((name for name in names if isinstance(name, str)), "")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, outermost first."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [getattr(each, "orig", None), each.__cause__, each.__context__]
