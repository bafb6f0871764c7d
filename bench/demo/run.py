"""Starts everything, records one take, judges it, and stops everything."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx
import numpy as np
from pydantic import ValidationError
from rich.console import Console

from app.cli.output_files import write_json
from app.config import Settings, settings
from app.shipped import SAMPLE
from bench.clients.participant import LiveKitAccess
from bench.clients.viewer import RATE as FILM_RATE
from bench.demo.film import Film
from bench.demo.judge import Verdict, judge
from bench.demo.quiet import native_lines_to
from bench.demo.reference import reference_openings
from bench.demo.surroundings import Surroundings, watched
from bench.demo.take import DemoError, Take, record
from bench.devstack import (
    LiveKit,
    LocalError,
    Service,
    local_livekit,
    local_service,
    own_personas,
    prepare_persona,
)
from bench.measure import report
from bench.measure.clicks import click_track
from bench.measure.mouth import MouthRegion
from bench.measure.recording import Floats, Pcm
from bench.measure.speech import read_wav
from engine.core.engine_errors import EngineError
from engine.engine_config import Stall

ROOM = "demo"
MAKER = "voipavatar demo"  # in what it writes: the next one may replace that
STALL_ROOM_S = 4.0  # of speech that must follow a stall: recovery, then a window to see it in
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may choose."""

    persona: str
    out: Path
    seconds: float | None  # None: the sample as it is
    stalls: str  # "10:200,…", as VOIPAVATAR_TEST_STALLS takes it
    clicks: bool  # short tones instead of speech
    keep: bool
    strict: bool = False  # a number that is not good counts as a failure


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the speaker says."""

    pcm: Pcm
    rate: int
    clicks: Floats | None  # seconds at which tones begin, if that is what it says

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.rate


async def demo(options: Options) -> int:
    """Run it and print what was measured. The exit code: 0 when a film was made."""
    console = Console()
    try:
        spoken = _spoken(options)
        stalls = _stalls(options, spoken.seconds)
        with _folder(options.keep) as folder:
            return await _demo(options, folder, spoken, stalls, console)
    except (DemoError, LocalError, EngineError) as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1


async def _demo(
    options: Options,
    folder: Path,
    spoken: Spoken,
    stalls: tuple[Stall, ...],
    console: Console,
) -> int:
    env = {"VOIPAVATAR_TEST_STALLS": options.stalls, **own_personas()}
    async with AsyncExitStack() as exits:
        with console.status("Preparing the persona …"):
            prepared = await prepare_persona(folder, options.persona)
            region = MouthRegion.of(prepared.mouths, prepared.width, prepared.height)
        with console.status("Starting LiveKit and the service …"):
            livekit = await exits.enter_async_context(
                local_livekit(folder, port=7880 if options.keep else 0)
            )
            service = await exits.enter_async_context(
                local_service(folder, livekit, port=8080 if options.keep else 0, env=env)
            )
        exits.enter_context(native_lines_to(folder / "demo.log"))
        with (
            console.status(f"Speaking for {spoken.seconds:.0f} s and watching …"),
            watched() as watch,
        ):
            take = await _film(service, livekit, options, region, spoken)
        with console.status("Comparing with the same speech rendered offline …"):
            render_env = {**os.environ, **own_personas(), "VOIPAVATAR_DATA_DIR": str(folder)}
            reference = await reference_openings(
                folder, options.persona, region, spoken.pcm, spoken.rate, env=render_env
            )
        verdict = judge(take, reference, stalls, spoken.clicks)
        passed = report.passed(verdict.lines)
        causes = [] if passed or watch.found is None else watch.found.causes()
        _write(options, verdict, take, watch.found)
        console.print(report.table("voipavatar demo", verdict.lines, excused=bool(causes)))
        console.print(
            f"{options.out} is what the viewer received; {json_of(options.out)} holds the numbers.",
            soft_wrap=True,
        )
        for sentence in conclusion(verdict.lines, causes):
            console.print(sentence, soft_wrap=True, markup=False, highlight=False)
        if options.keep:
            await _leave_running(service, livekit, options.persona, console)
    return 0 if passed or not options.strict else 1


def conclusion(lines: list[report.Line], causes: list[str]) -> list[str]:
    """Whether the numbers are good, and what to do where they are not."""
    failed = report.failed(lines)
    if not failed:
        return ["All numbers are good."]
    judged = sum(line.passed is not None for line in lines)
    count = f"{len(failed)} of {judged} numbers {'is' if len(failed) == 1 else 'are'} not good"
    ours = [line.name for line in failed if not line.timed]
    if not causes:
        return [f"{count}, and nothing else that ran on this machine explains it."]
    if ours:
        return [f"{count}; a slow machine does not explain: {', '.join(ours)}.", *causes]
    return [f"{count}, because this machine did not keep time:", *causes]


def _spoken(options: Options) -> Spoken:
    """The sample, cut or repeated to the seconds asked for; or clicks."""
    pcm, rate = read_wav(SAMPLE)
    seconds = len(pcm) / rate if options.seconds is None else options.seconds
    if options.clicks:
        pcm, starts = click_track(seconds, rate)
        return Spoken(pcm, rate, starts)
    return Spoken(np.resize(pcm, round(seconds * rate)), rate, None)


def _stalls(options: Options, seconds: float) -> tuple[Stall, ...]:
    try:
        stalls = Settings.model_validate({"test_stalls": options.stalls}).test_stalls
    except ValidationError as error:
        raise DemoError(str(error.errors()[0]["msg"])) from error
    last = max((stall.at_s + stall.duration_s for stall in stalls), default=0.0)
    if stalls and last + STALL_ROOM_S > seconds:
        raise DemoError(f"The last stall ends at {last:g} s: too late to be seen. Use --seconds.")
    return stalls


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    """Where the data of the service goes: the usual place when it is to be kept."""
    if keep:
        yield settings().data_dir.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="voipavatar-") as temporary:
        yield Path(temporary)


async def _film(
    service: Service,
    livekit: LiveKit,
    options: Options,
    region: MouthRegion,
    spoken: Spoken,
) -> Take:
    film = Film(options.out, FILM_RATE, MAKER)
    access = LiveKitAccess(livekit.url, livekit.key, livekit.secret)
    try:
        speech = spoken.pcm, spoken.rate
        take = await record(service.http, access, ROOM, options.persona, region, speech, film)
    except BaseException as error:
        film.abandon()
        if isinstance(error, httpx.HTTPError):
            raise DemoError(
                f"The service stopped answering: {error}\n{service.child.tail()}"
            ) from error
        raise
    try:
        film.close()
    except OSError as error:
        raise DemoError(f"{options.out} cannot be written: {error.strerror}.") from error
    return take


async def _leave_running(
    service: Service, livekit: LiveKit, persona: str, console: Console
) -> None:
    """A session that waits for a person, and how to get to it. From here on nothing is stopped."""
    limits = {"participant_left_timeout_s": DAY_S}
    body = {"room": ROOM, "persona": persona, "limits": limits}
    answer = await service.http.post("/sessions", json=body, params={"wait": "ready"})
    session = answer.raise_for_status().json()["id"]
    answer = await service.http.post(f"/sessions/{session}/viewer-token", json={})
    token = answer.raise_for_status().json()["token"]
    service.child.keep = livekit.child.keep = True
    console.print(left_running(service, livekit, session, token), soft_wrap=True, highlight=False)


def left_running(service: Service, livekit: LiveKit, session: str, token: str) -> str:
    """Where everything is, and how to end it."""
    query = urlencode({"liveKitUrl": livekit.url, "token": token})
    return f"""[bold]Left running[/bold]
  service      {service.url}/docs
  LiveKit      {livekit.url}, room {ROOM}
  session      {session}
  talk to it   https://meet.livekit.io/custom?{query}
               (LiveKit's public page, which connects your browser to the address above; another
               client needs the token at its end)
  logs         {service.child.log.parent}
  stop it      kill {service.child.pid} {livekit.child.pid}
"""


def json_of(out: Path) -> Path:
    return out.with_suffix(".json")


def _write(options: Options, verdict: Verdict, take: Take, around: Surroundings | None) -> None:
    body = {
        "passed": report.passed(verdict.lines),
        "persona": options.persona,
        "stalls": options.stalls,
        "lines": report.as_json(verdict.lines),
        "offsets_ms": verdict.offsets_ms,
        "gaps_ms": verdict.gaps_ms,
        "service_stats": take.stats,
        "machine": None if around is None else asdict(around),
    }
    write_json(json_of(options.out), body, MAKER)
