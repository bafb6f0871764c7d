"""Files that come with the source: a sample of speech, scripts."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "samples" / "speech.wav"
SCRIPTS = ROOT / "scripts"
