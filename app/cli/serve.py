"""`voipavatar serve`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from app.config import Settings


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""

    @app.command("serve")
    def command(
        host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
        port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
        insecure: Annotated[
            bool, typer.Option("--insecure", help="Serve other machines without any API key.")
        ] = False,
    ) -> None:
        """Run the service. It brings its database up to date by itself."""
        chosen = {"host": host, "port": port, "insecure": insecure or None}
        _serve(**{name: value for name, value in chosen.items() if value is not None})


def _serve(**chosen: Any) -> None:
    # Imported here: the other commands need no web server.
    from app.errors import AppError
    from app.http.descriptors import raise_descriptor_limit
    from app.http.server import CannotServe, listen, serve
    from app.main import create_app
    from app.process.signals import EndedAtStart
    from app.telemetry.native_stderr import logged_stderr
    from engine import EngineError

    try:
        settings = Settings(**chosen)
        raise_descriptor_limit()
        with (
            logged_stderr(settings.log_format, settings.log_level),
            listen(settings) as listening,
        ):
            asyncio.run(serve(settings, listening, create_app))
    except (CannotServe, AppError, EngineError) as error:
        raise _Exit(str(error)) from None
    except EndedAtStart as end:
        raise typer.Exit(end.status) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


class _Exit(typer.Exit):
    """Says one sentence and leaves with 1."""

    def __init__(self, sentence: str) -> None:
        typer.echo(sentence, err=True)
        super().__init__(1)
