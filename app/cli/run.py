"""`voipavatar run`: one session without the API, as the single-session service before us had."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from typing import Annotated

import typer
from rich.console import Console

from app.config import Settings
from app.errors import AppError
from app.personas.catalogue import Catalogue
from app.rtc.resources import open_resources, runner_on
from app.rtc.sdk.tokens import avatar_token
from app.rtc.sdk.validate import ask_livekit
from app.session_types import AudioSpec, EndReason, Limits, Outcome, SessionSpec, State
from app.telemetry.logging import configure_logging
from engine import EngineError, EnginePool

LIMITS = Limits(participant_left_timeout_s=300.0)  # time to open the room in a browser


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""

    @app.command()
    def run(
        persona: Annotated[str, typer.Option(help="Who speaks.", envvar="PERSONA_NAME")] = "",
        room: Annotated[str, typer.Option(help="Where.", envvar="LIVEKIT_ROOM")] = "",
        identity: Annotated[str, typer.Option(help="The avatar's name in the room.")] = "avatar",
        participant: Annotated[
            str | None, typer.Option(help="Whose microphone to follow; else whoever speaks.")
        ] = None,
        agent: Annotated[
            str | None, typer.Option(help="Speak for this LiveKit agent instead.")
        ] = None,
        use_tensorrt: Annotated[
            bool, typer.Option("--use-tensorrt", help="The same as --engine tensorrt.")
        ] = False,
        engine: Annotated[str, typer.Option(help="auto, warp, torch or tensorrt.")] = "",
    ) -> None:
        """Join one room with one avatar and stay until it ends or Ctrl-C.

        It ends by itself when nobody has been there for five minutes.
        """
        console = Console(stderr=True)
        settings = Settings()
        configure_logging(settings.log_format, settings.log_level)
        if chosen := "tensorrt" if use_tensorrt else engine:
            settings = settings.model_copy(update={"engine": chosen})
        room = room or settings.livekit_room
        if not room:
            raise typer.BadParameter("Say which room: --room NAME, or set LIVEKIT_ROOM.")
        audio = AudioSpec("track", participant)
        if agent is not None:
            audio = AudioSpec("data_stream", participant, agent, settings.barge_in)
        try:
            spec = _spec(settings, room, persona or settings.persona_name, identity, audio)
            outcome = asyncio.run(_run(settings, spec, console))
        except (EngineError, AppError) as error:
            console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(1) from None
        console.print(f"{outcome.state}: {outcome.reason}. {outcome.detail}".rstrip(" "))
        raise typer.Exit(0 if outcome.state is State.ENDED else 1)


def _spec(
    settings: Settings, room: str, persona: str, identity: str, audio: AudioSpec
) -> SessionSpec:
    number = f"run_{secrets.token_hex(6)}"
    return SessionSpec(
        id=number,
        room=room,
        persona=persona,
        identity=identity,
        livekit_url=settings.livekit_url,
        token=lambda: avatar_token(settings, number, room, identity, audio, LIMITS),
        requested_at=time.monotonic(),
        audio=audio,
        limits=LIMITS,
    )


async def _run(settings: Settings, spec: SessionSpec, console: Console) -> Outcome:
    catalogue = Catalogue.of(settings)
    try:
        # What takes no time is told first: a wrong name, an engine that is not installed.
        catalogue.settings(spec.persona)
        pool = EnginePool(settings.engine_config())
        await ask_livekit(spec.livekit_url, spec.token(), ours=True)
        async with open_resources(settings, catalogue, pool) as stage:
            runner = runner_on(stage)(spec)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, runner.stop, EndReason.SHUTDOWN)

            async def on_ready() -> None:
                console.print(
                    f"{spec.persona} is live in {spec.room} ({stage.pool.backend_name} engine)."
                    " Ctrl-C ends it.",
                    highlight=False,
                )

            return await runner.run(on_ready)
    finally:
        await catalogue.aclose()
