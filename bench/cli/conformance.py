"""`voipavatar conformance`: the suite of bench/conformance against this worker or another."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.cli.files import Force, must_differ
from app.cli.output_files import refusal
from app.config import Settings
from app.process.private_files import callers_umask
from bench.devstack import LocalError, local_livekit, local_service, run_until_stopped

ROOT = Path(__file__).parents[2]
ENV = ".tools/agents"  # of the real livekit-agents, which pins another livekit than ours
# We receive Ctrl-C and end the suite; while it imports, it would answer with a traceback.
DEAF = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
PLUGIN = "plugins/livekit-plugins-voipavatar"
STALLS = "20:200,40:400,60:1000"  # seconds into a session: milliseconds without the engine

# Of bench/conformance, which cannot be imported here: its livekit-agents pin another livekit.
CASES = (
    *("segments", "interruption", "turn-start", "lips", "storm", "trailers", "rates", "rooms"),
    *("retries", "users", "removals", "tokens", "reconnects", "agents", "restarts"),
    *("bey", "voipavatar", "loss", "sync", "soak"),
)

Arguments = list[str]


def register(app: typer.Typer) -> None:
    """Add this module's command to the main command."""
    app.command()(conformance)


def conformance(
    api_url: Annotated[str, typer.Option(help="A service; else one is started here.")] = "",
    api_key: Annotated[str, typer.Option(envvar="VOIPAVATAR_API_KEY")] = "",
    avatar_id: Annotated[str, typer.Option(help="Whose face: a persona.")] = "default",
    command: Annotated[
        str, typer.Option(help="A worker: joins AVATAR_LIVEKIT_URL by AVATAR_TOKEN.")
    ] = "",
    short: Annotated[bool, typer.Option("--short", help="A minute, not half an hour.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"This case; may be repeated. One of: {', '.join(CASES)}."),
    ] = None,
    service_pid: Annotated[
        int | None, typer.Option(help="Of the worker on this machine, to see what it leaks (soak).")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write it there as Markdown.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write it there as JSON.")] = None,
    force: Force = False,
) -> None:
    """Measure a LiveKit avatar worker with the real livekit-agents package.

    The worker must reach the LiveKit server that LIVEKIT_URL, LIVEKIT_API_KEY and
    LIVEKIT_API_SECRET name; without --api-url and --command everything is started here.
    """
    files = {"--report": report, "--json": json}
    elsewhere = bool(api_url or command)
    if api_url and command:
        raise _refusal("Name a service with --api-url or a worker with --command, not both.")
    if service_pid is not None and not elsewhere:
        raise _refusal("The service started here is looked at anyway: leave --service-pid out.")
    if service_pid is not None and service_pid < 1:
        raise _refusal(f"There is no process {service_pid}: look at --service-pid.")
    must_differ(report=report, json=json)
    _examine(only or [], files, force)
    arguments = [*(["--short"] if short else []), "--avatar-id", avatar_id]
    if only:
        arguments += ["--only", *only]
    for option, path in files.items():
        if path is not None:
            arguments += [option, str(path.resolve())]
    if elsewhere:
        # One word: a command may begin with a dash.
        arguments += [f"--command={command}" if command else f"--api-url={api_url}"]
    if service_pid is not None:
        arguments += ["--service-pid", str(service_pid)]
    # Not an argument: every user of the machine can read those.
    env = {"VOIPAVATAR_API_KEY": api_key} if api_key else {}
    try:
        if elsewhere:
            env |= _livekit()
        raise typer.Exit(run_until_stopped(_run(arguments, env, here=not elsewhere)))
    except LocalError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def _refusal(sentence: str) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(2)


def _examine(only: list[str], files: dict[str, Path | None], force: bool) -> None:
    """Check the arguments before half an hour is spent. Raises Exit."""
    if not (ROOT / "bench" / "conformance").is_dir():
        raise _refusal("The suite comes with the source: run this in a clone of the repository.")
    if unknown := sorted(set(only) - set(CASES)):
        raise _refusal(f"There is no case {unknown[0]}; the cases are {', '.join(CASES)}.")
    for option, path in files.items():
        if path is not None:
            trouble = refusal(path, option, "voipavatar conformance", force=force)
            if trouble:
                raise _refusal(trouble)


def _livekit() -> dict[str, str]:
    """The server that the worker and the suite meet on. Raises Exit."""
    known = Settings()
    access = {
        "LIVEKIT_URL": known.livekit_url,
        "LIVEKIT_API_KEY": known.livekit_api_key,
        "LIVEKIT_API_SECRET": known.livekit_api_secret.get_secret_value(),
    }
    if not all(access.values()):
        raise _refusal(f"Set {', '.join(access)}: the LiveKit server where the worker meets us.")
    return access


async def _run(arguments: Arguments, given: dict[str, str], *, here: bool) -> int:
    await asyncio.to_thread(make_environment)
    if not here:
        return await _suite(arguments, given)
    with tempfile.TemporaryDirectory(prefix="voipavatar-") as folder:
        async with _everything(Path(folder)) as (more, env):
            return await _suite([*more, *arguments], {**given, **env})


@asynccontextmanager
async def _everything(folder: Path) -> AsyncIterator[tuple[Arguments, dict[str, str]]]:
    """A LiveKit server, a service that stalls now and then, and how to reach them."""
    stumbling = {"VOIPAVATAR_TEST_STALLS": STALLS}
    async with (
        # It stands for another machine, as the listener of the suite does.
        local_livekit(folder / "livekit", first=True) as livekit,
        local_service(folder / "service", livekit, env=stumbling) as service,
    ):
        access = {
            "LIVEKIT_URL": livekit.url,
            "LIVEKIT_API_KEY": livekit.key,
            "LIVEKIT_API_SECRET": livekit.secret,
        }
        yield ["--api-url", service.url, "--service-pid", str(service.child.pid)], access


def make_environment() -> None:
    """Fill .tools/agents from requirements/agents.txt. Raises LocalError."""
    made = subprocess.run(
        [ROOT / "scripts" / "setup.sh", "agents"],
        env={**os.environ, "VENV": ENV, "PROJECT": PLUGIN},
        check=False,
        umask=callers_umask(),
    )
    if made.returncode != 0:
        raise LocalError("The environment of the suite could not be made; the lines above say why.")


async def _suite(arguments: Arguments, env: dict[str, str]) -> int:
    process = await asyncio.create_subprocess_exec(
        *DEAF,
        ROOT / ENV / "bin" / "python",
        *("-m", "bench.conformance", *arguments),
        cwd=ROOT,
        env={**os.environ, **env},
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
