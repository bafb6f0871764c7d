"""Options that name a file to write: what may not be written is refused before the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.output_files import refusal


def to_be_written(ctx: typer.Context, param: typer.CallbackParam, file: Path | None) -> Path | None:
    """Callback of an option. Raises typer.BadParameter.

    The command's other files are its inputs, or must at least not be the same.
    """
    if file is None or ctx.resilient_parsing:
        return file
    force = bool(ctx.params.get("force"))
    if trouble := refusal(file, param.opts[0], command_of(ctx), force=force):
        raise typer.BadParameter(trouble)
    return file


def must_differ(**files: Path | None) -> None:
    """Refuse one name for two things. Raises typer.BadParameter."""
    taken: dict[Path, str] = {}
    for option, file in files.items():
        if file is None:
            continue
        if (other := taken.setdefault(file.resolve(), option)) != option:
            raise typer.BadParameter(f"{file} is given for --{other} and for --{option}.")


def command_of(ctx: typer.Context) -> str:
    """As a person types it: `voipavatar bench sessions`."""
    names: list[str] = []
    at: typer.Context | None = ctx
    while at is not None and at.parent is not None:
        names.insert(0, str(at.info_name))
        at = at.parent  # type: ignore[assignment]
    return " ".join(["voipavatar", *names])


Force = Annotated[
    bool,
    typer.Option(
        "--force",
        is_eager=True,  # the options that name files ask for it
        help="Replace files that this command did not write.",
    ),
]
Json = Annotated[
    Path | None,
    typer.Option("--json", help="Write the numbers there, too.", callback=to_be_written),
]
