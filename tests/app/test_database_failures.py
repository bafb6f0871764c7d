"""A database that cannot be opened is one sentence with its remedy, in every command; Postgres is
the real one, behind a relay that speaks TLS where that is asked for."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import make_url, text

from app.config import Settings
from app.db.address import parse_address
from app.db.database import Database
from app.db.migrate import migrate
from app.doctor import services
from app.errors import StorageUnavailable, Unhealthy
from app.shipped import MIGRATIONS
from bench.devstack import free_port
from tests.fixtures.database import execute
from tests.fixtures.outage import Outage

TLS = Path(__file__).parents[1] / "fixtures/tls"
AUTHORITY = TLS / "authority.pem"
POSTGRES = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


@asynccontextmanager
async def tls_before(database_url: str, *, client: bool = False) -> AsyncIterator[str]:
    """`HOST:PORT/NAME` of the database, by TLS for the name `localhost`."""
    real = make_url(database_url)
    wire = Path(str(real.query["host"])) / ".s.PGSQL.5432"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    if client:
        context.load_verify_locations(AUTHORITY)
        context.verify_mode = ssl.CERT_REQUIRED

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(8) == b"\0\0\0\x08\x04\xd2\x16/":
            writer.write(b"S")
            with suppress(OSError):
                await writer.start_tls(context)
                inner, outer = await asyncio.open_unix_connection(wire)
                await asyncio.gather(copy(reader, outer), copy(inner, writer))
        writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{real.username}@localhost:{port}/{real.database}"
    finally:
        server.close()


async def opened(url: str) -> str:
    """What `application_name` the server sees; the connection was encrypted or we were refused."""
    database = Database(url)
    try:
        await migrate(database)
        async with database.read() as session:
            return str(await session.scalar(text("SHOW application_name")))
    finally:
        await database.aclose()


async def refused(url: str) -> str:
    """The one sentence, which `doctor` says as well."""
    with pytest.raises(Unhealthy) as caught:
        await opened(url)
    settings = Settings(_env_file=None, database_url=url)
    finding = await services.database(settings)
    assert (finding.state, "VOIPAVATAR_DATABASE_URL" in finding.remedy) == ("missing", True)
    assert finding.detail == caught.value.detail
    assert "\n" not in finding.detail and finding.detail.endswith(".")
    return finding.detail


@POSTGRES
@pytest.mark.parametrize(
    "words",
    [
        "sslmode=require",
        f"sslmode=verify-ca&sslrootcert={AUTHORITY}",
        f"sslmode=verify-full&sslrootcert={AUTHORITY}",
        "sslmode=prefer",
    ],
)
async def test_tls(database_url: str, words: str) -> None:
    async with tls_before(database_url) as place:
        assert await opened(f"postgresql://{place}?{words}&application_name=me") == "me"


@POSTGRES
async def test_tls_with_a_certificate_of_ours(database_url: str) -> None:
    own = f"sslmode=verify-full&sslrootcert={AUTHORITY}"
    async with tls_before(database_url, client=True) as place:
        shown = f"sslcert={TLS / 'client.pem'}&sslkey={TLS / 'client.key'}"
        await opened(f"postgresql://{place}?{own}&{shown}")
        assert "cannot be opened: " in await refused(f"postgresql://{place}?{own}")


@POSTGRES
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (f"sslmode=verify-ca&sslrootcert={TLS / 'stranger.pem'}", "certificate is not trusted"),
        ("sslmode=verify-full&sslrootcert=system", "certificate is not trusted"),
    ],
)
async def test_a_certificate_that_nobody_vouches_for(
    database_url: str, words: str, sentence: str
) -> None:
    async with tls_before(database_url) as place:
        detail = await refused(f"postgresql://{place}?{words}")
    assert sentence in detail and "sslrootcert=FILE" in detail


@POSTGRES
async def test_a_certificate_of_another_name(database_url: str) -> None:
    async with tls_before(database_url) as place:
        place = place.replace("localhost", "127.0.0.1")
        url = f"postgresql://{place}?sslmode=verify-full&sslrootcert={AUTHORITY}"
        assert "certificate is not trusted" in await refused(url)
        await opened(url.replace("verify-full", "verify-ca"))


def on(change: Callable[[str], str]) -> Callable[[str], str]:
    """Of the database's URL as the fixture has it, with the socket as a word."""
    return lambda url: change(url.replace("postgresql+asyncpg", "postgresql"))


NOWHERE = free_port()
CASES = {
    "database": (
        on(lambda url: url.replace("/voipavatar?", "/none?")),
        r"no database none\. Create",
    ),
    "user": (on(lambda url: url.replace("//postgres", "//nobody")), "does not admit nobody"),
    "host": (lambda _: "postgresql://me@no-such-host.invalid/x", "no-such-host.invalid is not"),
    "port": (lambda _: f"postgresql://me@127.0.0.1:{NOWHERE}/x", "nothing listens there"),
    "socket": (lambda _: "postgresql:///x?host=/no/such/folder", "there is no such socket"),
    "word": (on(lambda url: url + "&sslmod=require"), "the parameter `sslmod` is not known"),
}


@POSTGRES
@pytest.mark.parametrize("case", CASES)
async def test_what_is_wrong_is_said(database_url: str, case: str) -> None:
    change, words = CASES[case]
    assert re.search(words, await refused(change(database_url)))


@POSTGRES
async def test_tls_that_the_server_does_not_speak(outage: Outage) -> None:
    url = outage.url
    assert "does not speak TLS" in await refused(f"{url}?sslmode=require")
    await opened(f"{url}?sslmode=prefer")
    await opened(f"{url}?sslmode=disable&keepalives_idle=30&connect_timeout=7")


@POSTGRES
async def test_a_wrong_password(database_url: str) -> None:
    database = Database(database_url)
    async with database.read() as session:
        rules = Path(str(await session.scalar(text("SHOW hba_file"))))
    await database.aclose()
    before = await asyncio.to_thread(rules.read_text)
    await asyncio.to_thread(rules.write_text, "local all locked scram-sha-256\n" + before)
    try:
        await execute(
            database_url,
            "DROP ROLE IF EXISTS locked",
            "CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'right'",
            "SELECT pg_reload_conf()",
        )
        url = database_url.replace("//postgres:@", "//postgres@").replace("//postgres@", "//{}@")
        detail = await refused(url.format("locked:wrong"))
        assert "the password of locked is wrong. Set the right one" in detail
        assert "wrong@" not in detail
        await opened(url.format("locked:right"))
    finally:
        await asyncio.to_thread(rules.write_text, before)
        await execute(database_url, "SELECT pg_reload_conf()", "DROP ROLE locked")


@POSTGRES
async def test_a_database_of_another_version(database_url: str) -> None:
    await execute(database_url, "UPDATE alembic_version SET version_num = 'of_tomorrow'")
    try:
        with pytest.raises(Unhealthy, match=r"another version of voipavatar .*of_tomorrow"):
            await opened(database_url)
    finally:
        head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
        await execute(database_url, f"UPDATE alembic_version SET version_num = '{head}'")


async def test_files_of_sqlite_that_are_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no database " * 100)
    assert "it is not an SQLite file" in await refused(f"sqlite:///{tmp_path}/file")
    with pytest.raises(Unhealthy, match="cannot be opened"):
        Database(f"sqlite:///{tmp_path}/file/below/a.db")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["keys", "list"], ["keys", "create", "a"], ["serve", "--port", "0"]]
)
def test_commands_say_one_line(arguments: list[str], tmp_path: Path) -> None:
    url = f"postgresql://me:secret@127.0.0.1:{NOWHERE}/x?sslmode=require"
    done = subprocess.run(
        [sys.executable, "-c", "from app.cli import main; main()", *arguments],
        env={"VOIPAVATAR_DATABASE_URL": url, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    *logged, last = done.stderr.strip().splitlines()
    assert "nothing listens there. Start Postgres, or set VOIPAVATAR_DATABASE_URL." in last
    assert "secret" not in done.stderr and "Traceback" not in done.stderr
    assert len(logged) <= 1


async def test_a_statement_that_the_server_ends_is_an_outage(database_url: str) -> None:
    """Postgres: an administrator's command. SQLite: a disk that is full."""
    database = Database(database_url)
    try:
        if parse_address(database_url).is_sqlite:
            await migrate(database)
            with pytest.raises(StorageUnavailable):
                async with database.write() as session:
                    await session.execute(text("PRAGMA max_page_count = 1"))
                    await session.execute(text("CREATE TABLE t AS SELECT zeroblob(1000000) AS b"))
            return
        with pytest.raises(Unhealthy):
            async with database.read() as session:
                await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    finally:
        await database.aclose()
