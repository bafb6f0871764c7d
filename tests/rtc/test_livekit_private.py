"""What a `livekit` package that does not fit is answered with, in processes of their own."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CHANGED = {
    "a newer version": "import importlib.metadata as m; m.version = lambda _: '1.3.0'",
    "an older version": "import importlib.metadata as m; m.version = lambda _: '1.0.25'",
    "no queue": "from livekit.rtc._ffi_client import FfiClient; del FfiClient.queue",
    "no events of a room": "from livekit import rtc; del rtc.Room._on_room_event",
    "no module": "import sys; del rtc._ffi_client; sys.modules['livekit.rtc._ffi_client'] = None",
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED.keys())
def test_a_package_that_does_not_fit_is_named_in_one_sentence(change: str) -> None:
    command = f"from livekit import rtc; {change}; from app.entry import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    assert "is installed, but this voipavatar needs livekit >=1.1.21,<1.3" in lines[0]


def test_all_private_uses_are_in_one_file() -> None:
    """Modules and attributes of the package that begin with an underscore."""
    found = set()
    for path in [*ROOT.glob("app/**/*.py"), *ROOT.glob("engine/**/*.py")]:
        text = path.read_text()
        if "livekit" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name}" for name in names]
            if any(n.startswith("livekit.") and "._" in n for n in names):
                found.add(path.relative_to(ROOT).as_posix())
            if isinstance(node, ast.Attribute) and node.attr in (
                "_ffi_handle",
                "_on_room_event",
                "_token",
            ):
                found.add(path.relative_to(ROOT).as_posix())
    assert found == {"app/rtc/sdk/livekit_private.py"}
