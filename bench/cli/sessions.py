"""`voipavatar bench sessions`."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from app.cli.files import Force, Json, must_differ, to_be_written

Sessions = Annotated[int, typer.Option("-n", min=1, help="How many at once.")]
Seconds = Annotated[float, typer.Option(min=4, help="How long they are measured.")]
FindMax = Annotated[bool, typer.Option("--find-max", help="Start at -n; find the most that hold.")]
Runs = Annotated[int, typer.Option(min=1, help="How often a number has to hold.")]
SourceKind = Annotated[
    Literal["microphone", "agent"],
    typer.Option(help="A microphone in the room, or an agent's byte streams, turn by turn."),
]
ReceiverKind = Annotated[
    Literal["count", "sdk", "decode"],
    typer.Option(help="Count packets; let LiveKit's SDK decode; take each decoded picture, too."),
]
Duty = Annotated[float, typer.Option(min=0.05, max=1, help="Share of the time that is speech.")]
Interrupts = Annotated[
    float, typer.Option(min=0, max=1, help="Share of an agent's turns that it interrupts.")
]
LimitChanges = Annotated[
    list[str] | None, typer.Option("--limit", help="Another limit, as gap=120; may be repeated.")
]
EngineKind = Annotated[str, typer.Option(help="auto, warp, torch or tensorrt.")]
Decoder = Annotated[Literal["kl", "tiny"] | None, typer.Option(help="Of MuseTalk.")]
Models = Annotated[Path | None, typer.Option(help="Folder of the weights.")]
SetValues = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the service, as VOIPAVATAR_VIDEO_CODEC=vp8."),
]
LiveKitServer = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="The server's binary, else as usual."),
]
PeopleBinary = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="The binary of tools/people, else built with Go."
    ),
]


def register_bench(bench: typer.Typer) -> None:
    """Add this module's command to `voipavatar bench`."""
    bench.command("sessions")(_sessions)


def _sessions(
    n: Sessions = 4,
    seconds: Seconds = 30,
    find_max: FindMax = False,
    runs: Runs = 1,
    source: SourceKind = "microphone",
    receiver: ReceiverKind = "count",
    duty: Duty = 1.0,
    interrupts: Interrupts = 0.3,
    limit: LimitChanges = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT; the persona's own by default.")] = "",
    persona: Annotated[str, typer.Option(help="Who speaks.")] = "default",
    engine: EngineKind = "",
    decoder: Decoder = None,
    models: Models = None,
    set_values: SetValues = None,
    livekit_server: LiveKitServer = None,
    people: PeopleBinary = None,
    json: Json = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a report there.", callback=to_be_written)
    ] = None,
    force: Force = False,
) -> None:
    """Many rooms at once through one service and one LiveKit server, all on this machine."""
    from bench.rooms.limits import limits
    from bench.rooms.plan import Load, Rig
    from bench.rooms.run import bench_sessions

    must_differ(json=json, html=html)
    try:
        bounds = limits(limit or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--limit") from error
    load = Load(
        n, seconds, persona, size_of(size), duty, source, receiver, interrupts, limits=bounds
    )
    rig = Rig(settings_of(engine, decoder, models, set_values or []), livekit_server, people)
    run_benchmark(
        bench_sessions(load, rig, find_max=find_max, times=runs, json_file=json, html_file=html)
    )


def settings_of(
    engine: str, decoder: str | None, models: Path | None, more: list[str]
) -> dict[str, str]:
    """The environment of the service under test, beside its own."""
    found: dict[str, str] = {}
    if engine:
        found["VOIPAVATAR_ENGINE"] = engine
    if decoder is not None:
        found["VOIPAVATAR_DECODER"] = decoder
    if models is not None:
        found["VOIPAVATAR_MODELS_DIR"] = str(models.resolve())
    for setting in more:
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise typer.BadParameter("write it as NAME=VALUE", param_hint="--set")
        if name not in names():
            near = " or ".join(get_close_matches(name, names()))
            hint = f"; did you mean {near}?" if near else ""
            raise typer.BadParameter(f"{name} is no setting{hint}", param_hint="--set")
        found[name] = value
    _check(found)
    return found


def _check(environment: dict[str, str]) -> None:
    """Refuse at once what the service would refuse half a minute later, when it starts."""
    from app.config import Settings
    from engine.core.engine_errors import BackendUnavailable
    from engine.models.layout import missing, needed

    fields = names()
    given = {fields[name]: value for name, value in environment.items()}
    settings = Settings(**given)  # type: ignore[arg-type]  # it reads them as it does text
    if settings.engine in ("torch", "tensorrt"):
        try:
            missing(settings.models_dir, needed(settings.musetalk_version, settings.decoder))
        except BackendUnavailable as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None


def names() -> dict[str, str]:
    """Of the settings in the environment, each with the name that `Settings` takes it by."""
    from app.config import Settings

    prefix, found = Settings.model_config["env_prefix"], {}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        found[str(alias or f"{prefix}{name.upper()}")] = str(alias or name)
    return found


def run_benchmark(benchmark: Coroutine[Any, Any, int]) -> None:
    """Run to the end, or until stopped, and exit with its code."""
    from app.telemetry.logging import configure_logging
    from bench.devstack import run_until_stopped

    configure_logging("auto", "error")  # the service logs to a file of its own
    raise typer.Exit(run_until_stopped(benchmark))


def size_of(text: str) -> tuple[int, int] | None:
    """`512x512` as numbers."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None:
        raise typer.BadParameter("write it as 512x512", param_hint="--size")
    return int(found[1]), int(found[2])
