"""Output of the suite. A report may be published, so it holds nothing that a worker printed."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from app.telemetry.redact import TOKEN

SECRETS = ("LIVEKIT_API_SECRET", "VOIPAVATAR_API_KEY")
LEAST = 12  # characters: a shorter secret is a word that means something elsewhere


def redacted(text: str) -> str:
    """The text without tokens and without this run's secrets."""
    for name in SECRETS:
        secret = os.environ.get(name, "")
        if len(secret) >= LEAST:
            text = text.replace(secret, f"<{name}>")
    return TOKEN.sub("<token>", text)


def tell(line: str, where: TextIO | None = None) -> None:
    """Print, by default to standard error."""
    where = where or sys.stderr
    where.write(redacted(line) + "\n")
    where.flush()
