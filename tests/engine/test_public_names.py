"""`from engine import …`: the names that the service uses."""

from __future__ import annotations

import subprocess
import sys

import pytest

import engine


def test_every_public_name_can_be_imported() -> None:
    for name in engine.__all__:
        assert getattr(engine, name) is not None, name
    assert sorted(vars(engine)["_MODULE_OF"]) == sorted(engine.__all__), (
        "typed and lazy names differ"
    )


def test_an_unknown_name_is_refused() -> None:
    unknown = "EnginePond"
    with pytest.raises(AttributeError, match="no attribute 'EnginePond'"):
        getattr(engine, unknown)


def test_the_package_alone_loads_no_library() -> None:
    """Thread counts are set before numpy and OpenCV read them, and `--help` waits for neither."""
    script = "import engine, sys; print(sorted({'numpy', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
