"""`voipavatar demo` as a person runs it, its output piped. Good numbers are not asserted: machines
vary, and a film with bad ones is no failure."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import av
import psutil
import pytest

pytestmark = pytest.mark.e2e


def test_the_demo_films_measures_and_stops_clean(tmp_path: Path) -> None:
    film = tmp_path / "demo.mp4"
    command = [sys.executable, "-c", "from app.cli import main; main()", "demo"]
    command += ["--seconds", "8", "--out", str(film)]
    demo = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    children: set[psutil.Process] = set()
    while demo.poll() is None:
        children.update(psutil.Process(demo.pid).children(recursive=True))
        time.sleep(0.2)
    said, complaints = demo.communicate()
    assert demo.returncode == 0, said + complaints
    assert complaints == ""  # neither a codec's lines nor a library's
    assert "A/V offset" in said, said
    assert not any(line.startswith(("{", "[")) for line in said.splitlines())
    assert "\x1b" not in said
    measured = json.loads(film.with_suffix(".json").read_text())
    assert measured["passed"] is ("All numbers are good." in said)
    assert measured["passed"] or "not good" in said
    assert measured["machine"]["cores"] == psutil.cpu_count()
    lines = {line["name"]: line for line in measured["lines"]}
    assert lines["session's end"]["value"] == "ended"
    assert lines["left in the room"]["passed"]
    with av.open(str(film)) as source:
        codecs = {stream.type: stream.codec_context.name for stream in source.streams}
        assert codecs == {"video": "h264", "audio": "aac"}
        assert sum(1 for _ in source.decode(video=0)) > 8
    assert len(children) >= 2  # LiveKit and the service
    assert [child for child in children if child.is_running()] == []
    assert list(tmp_path.glob("voipavatar-*")) == []
