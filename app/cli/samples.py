"""`voipavatar samples`: speech to try an avatar with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.cli.output_files import refusal
from app.process.private_files import callers_mode
from app.shipped import SAMPLE
from engine.core.new_file import NewFile


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""
    app.command("samples")(_samples)


def _samples(
    out: Annotated[Path, typer.Option(help="The WAV file to write.")] = Path("speech.wav"),
    text: Annotated[
        str,
        typer.Option(help="Said by espeak-ng; without it, the shipped sample."),
    ] = "",
    voice: Annotated[str, typer.Option(help="Of espeak-ng, as in en-us or de.")] = "en-us",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write half a minute of sample speech, or what you want said."""
    if not out.is_symlink():
        out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists() and not force:
        _refuse(f"{out} exists; name another file with --out, or add --force to replace it.")
    if trouble := refusal(out, "--out", "voipavatar samples", force=True, inputs=[SAMPLE]):
        _refuse(trouble)
    with NewFile(out, callers_mode()) as new:
        if text:
            _speak(text, voice, new)
        else:
            shutil.copyfile(SAMPLE, new)
    if text:
        typer.echo(f"{out}: made by espeak-ng, voice {voice}")
        return
    typer.echo(f"{out}: a copy of the sample that comes with voipavatar")


def _speak(text: str, voice: str, out: Path) -> None:
    """Exits with a sentence where that does not work."""
    if shutil.which("espeak-ng") is None:
        _refuse("espeak-ng is not installed; on Debian run `apt install espeak-ng`.")
    command = ["espeak-ng", "-v", voice, "-w", str(out), "--", text]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or not out.is_file():
        _refuse(f"espeak-ng did not speak: {done.stderr.strip() or 'it gave no reason'}.")


def _refuse(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
