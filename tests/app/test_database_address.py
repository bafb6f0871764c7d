"""URLs of databases, as people write them and as the drivers take them."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.address import WrongAddress, parse_address


def arguments(url: str) -> dict[str, object]:
    return parse_address(url).arguments


@pytest.mark.parametrize(
    ("query", "dsn"),
    [
        ("sslmode=require", "sslmode=require"),
        ("ssl=verify-full", "sslmode=verify-full"),
        ("ssl=true", "sslmode=require"),
        ("application_name=a%20b", "application_name=a%20b"),
        ("fallback_application_name=f", "application_name=f"),
        ("options=-c%20search_path%3Dx", "options=-c%20search_path%3Dx"),
        ("target_session_attrs=read-write", "target_session_attrs=read-write"),
        ("channel_binding=prefer&gssencmode=disable", ""),
        ("password=a+b", "password=a%2Bb"),
    ],
)
def test_words_of_libpq_reach_the_driver(query: str, dsn: str) -> None:
    for scheme in ("postgresql", "postgres", "postgresql+asyncpg"):
        given = arguments(f"{scheme}://me@db/name?{query}")["dsn"]
        assert given == f"postgresql://me@db/name{'?' * bool(dsn)}{dsn}"


def test_words_that_are_arguments_of_the_driver() -> None:
    query = "connect_timeout=30&command_timeout=2.5&statement_cache_size=0"
    given = arguments(f"postgresql://db/name?{query}&prepared_statement_cache_size=0")
    assert (given["timeout"], given["command_timeout"]) == (30.0, 2.5)
    assert (given["statement_cache_size"], given["prepared_statement_cache_size"]) == (0, 0)
    assert arguments("postgresql://db/name?connect_timeout=0")["timeout"] == 5.0
    found = parse_address("postgresql://db/n?keepalives_idle=30&keepalives_count=4").keep_alive
    assert found is not None
    assert (found.on, found.options) == (True, {"TCP_KEEPIDLE": 30, "TCP_KEEPCNT": 4})


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sslmod=require", "the parameter `sslmod` is not known"),
        ("search_path=x", "the parameter `search_path` is not known"),
        ("sslmode=on", "`sslmode` must be one of disable, allow, prefer, require, verify-ca"),
        ("target_session_attrs=master", "`target_session_attrs` must be one of any, primary"),
        ("channel_binding=require", "`channel_binding=require` cannot be honoured"),
        ("gssencmode=require", "`gssencmode=require` cannot be honoured"),
        ("load_balance_hosts=random", "`load_balance_hosts=random` cannot be honoured"),
        ("connect_timeout=soon", "`connect_timeout` must be a number"),
        ("sslmode", "`sslmode` has no value"),
        ("sslrootcert=/no/such/file", "`sslrootcert` names /no/such/file, which cannot be read"),
        ("sslmode=require&sslrootcert=system", "needs `sslmode=verify-full`"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(query: str, words: str) -> None:
    with pytest.raises(WrongAddress, match=words.replace("(", r"\(")):
        parse_address(f"postgresql://me:secret@db/name?{query}")


@pytest.mark.parametrize(
    "url", ["mysql://db/name", "nonsense", "postgresql+psycopg://db/n", "sqlite://host/file"]
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(WrongAddress):
        parse_address(url)


def test_the_word_host_counts_and_may_be_a_socket() -> None:
    address = parse_address("postgresql://me:pw@nowhere:1/name?host=/run/pg&port=5433")
    assert address.arguments["dsn"] == "postgresql://me:pw@/name?host=/run/pg&port=5433"
    assert address.shown == "postgresql://me@/name?host=/run/pg"
    several = parse_address("postgresql://me@a:1,b:2/name?target_session_attrs=primary")
    assert several.arguments["dsn"] == ("postgresql://me@a:1,b:2/name?target_session_attrs=primary")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hid%40den@db:5433/name?sslmode=require",
        "postgresql://me@db:5433/name?password=hid%40den",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    address = parse_address(url)
    assert address.shown == "postgresql://me@db:5433/name"
    assert "hid" not in repr(address)


def test_files_of_sqlite(tmp_path: Path) -> None:
    address = parse_address(f"sqlite:///{tmp_path}/a.db")
    assert (address.file, address.shown) == (tmp_path / "a.db", f"sqlite:///{tmp_path}/a.db")
    assert parse_address("sqlite://").file is None
