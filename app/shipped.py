"""Files that ship with the source: a speech sample and scripts."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "samples" / "speech.wav"
SCRIPTS = ROOT / "scripts"
