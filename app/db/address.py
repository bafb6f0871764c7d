"""Parses a database URL as people write it into what the drivers need."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.db.postgres_words import KeepAlive, Refused, translate

BUSY_S = 10  # how long a writer waits for another (SQLite), or a statement may take (Postgres)
CONNECT_S = 5.0
FORMS = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
SCHEMES = ("postgresql+asyncpg://", "postgresql://", "postgres://")


class WrongAddress(ValueError):
    """The URL is unusable; the message says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """What SQLAlchemy and the driver need in order to connect."""

    url: str  # for SQLAlchemy
    shown: str  # for people, without the password
    arguments: dict[str, Any] = field(repr=False)  # for the driver's connect()
    file: Path | None = None  # SQLite's; None for one in memory
    host: str = ""  # Postgres's, for messages
    user: str = ""
    name: str = ""  # of the database
    keep_alive: KeepAlive | None = None

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")


def parse_address(url: str) -> Address:
    """Raises WrongAddress."""
    if url.startswith("sqlite"):
        return _sqlite(url)
    for scheme in SCHEMES:
        if url.startswith(scheme):
            return _postgres("postgresql://" + url.removeprefix(scheme))
    raise WrongAddress(f"it must be {FORMS}")


def _sqlite(url: str) -> Address:
    if url.startswith("sqlite://"):
        url = url.replace("sqlite://", "sqlite+aiosqlite://", 1)
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise WrongAddress(f"it must be {FORMS}") from error
    if parsed.drivername != "sqlite+aiosqlite" or parsed.host:
        raise WrongAddress("write sqlite:///FILE, with a fourth slash before an absolute path")
    named = parsed.database not in (None, "", ":memory:")
    file = Path(str(parsed.database)) if named else None
    shown = f"sqlite:///{file or ':memory:'}"
    return Address(url, shown, {"timeout": BUSY_S}, file=file)


def _postgres(url: str) -> Address:
    try:
        parts = urlsplit(url)
        words = _words(parts.query)
        wanted = translate(words)
    except Refused as error:
        raise WrongAddress(str(error)) from error
    except ValueError as error:
        raise WrongAddress(
            f"it is malformed ({error}); write special characters of a password as %XX"
        ) from error
    if parts.fragment:
        raise WrongAddress("it contains a bare '#'; write it as %23")
    access, _, place = parts.netloc.rpartition("@")
    user, _, password = access.partition(":")
    if "host" in wanted.words:
        place = ""  # as in libpq, the `host` parameter takes precedence
    credentials = quote(unquote(user)) + (f":{quote(unquote(password), safe='')}" * bool(password))
    netloc = f"{credentials}@{place}" if credentials else place
    query = urlencode(wanted.words, quote_via=quote, safe="/,:")
    name = unquote(parts.path.lstrip("/")) or wanted.words.get("dbname", "")
    host = unquote(place) or wanted.words.get("host", "") or "the local socket"
    user = unquote(user) or wanted.words.get("user", "")
    arguments = {
        "dsn": urlunsplit(("postgresql", netloc, parts.path, query, "")),
        "timeout": CONNECT_S,
        "command_timeout": BUSY_S,
        **wanted.arguments,
    }
    whose = f"{user}@" if user else ""
    shown = f"postgresql://{whose}{host}/{name}"
    if host.startswith("/"):
        shown = f"postgresql://{whose}/{name}?host={host}"
    return Address(
        "postgresql+asyncpg://",
        shown,
        arguments,
        host=host,
        user=user,
        name=name,
        keep_alive=wanted.keep_alive,
    )


def _words(query: str) -> dict[str, str]:
    """The query's parameters as libpq reads them: a plus sign is a plus sign."""
    words: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        key, equals, value = item.partition("=")
        if not equals:
            raise Refused(f"`{key}` has no value; write it as {key}=…")
        words[unquote(key)] = unquote(value)
    return words
