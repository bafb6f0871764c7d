"""Commands that error messages suggest, right for the way in which this copy was installed.

A checkout has a Makefile, scripts and lock files. An installed wheel has extras instead, added by
whatever manages its environment.
"""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
IN_CHECKOUT = (ROOT / "scripts" / "setup.sh").is_file()

_IN_CHECKOUT = {
    "models": "make setup-all",
    "otel": "scripts/setup.sh otel",
    "tensorrt": "uv pip install -e '.[tensorrt]'",
    "tensorrt-rtx": "uv pip install -e '.[tensorrt-rtx]'",
}


def install_extras(*extras: str) -> str:
    """The command that adds these extras to this installation."""
    if IN_CHECKOUT:
        return " && ".join(_IN_CHECKOUT[extra] for extra in extras)
    return _pip_install(f"voipavatar[{','.join(extras)}]")


def reinstall(*words: str, in_checkout: str = "make setup") -> str:
    """The command that brings a required package to a state that works; `words` are pip's."""
    return in_checkout if IN_CHECKOUT else _pip_install(*words)


def _pip_install(*words: str) -> str:
    """An installation into the environment that runs this program."""
    wanted = shlex.join(words)
    if (Path(sys.prefix) / "pipx_metadata.json").is_file():
        return f"pipx runpip {shlex.quote(Path(sys.prefix).name)} install {wanted}"
    python = shlex.quote(sys.executable)
    if find_spec("pip") is not None:
        return f"{python} -m pip install {wanted}"
    return f"uv pip install --python {python} {wanted}"  # environments made by uv have no pip
