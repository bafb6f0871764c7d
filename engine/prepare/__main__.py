"""`python -m engine.prepare`: one preparation in its own process; started by the service only.

The service reads untrusted files this way: a decoder can only harm this process, which can be
killed at any moment. The job is a line of JSON on standard input, which stays open; when it closes,
the result is no longer wanted. Progress and result are lines of JSON on standard output.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from engine.core.engine_errors import BackendUnavailable, EngineError
from engine.core.shortage import blame
from engine.prepare.build import prepare
from engine.prepare.settings import PersonaSettings
from engine.prepare.tools import Tools

BACKGROUND = 10  # niceness: live sessions go first
LEFT = 3  # exit status after standard input has closed


class _Told(logging.Handler):
    """Forwards log records to the service's log."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        tell(self._out, log=record.levelname.lower(), text=record.getMessage())


def tell(out: TextIO, **message: Any) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def main() -> None:
    job = json.loads(sys.stdin.readline())
    # Libraries may print to standard output: send that to the log, not to the service.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with suppress(OSError, ValueError):
        os.nice(BACKGROUND)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain a face
    logging.basicConfig(handlers=[_Told(out)], level=logging.INFO)
    threading.Thread(target=_leave_with_the_service, daemon=True).start()
    done = -1.0

    def progress(share: float) -> None:
        nonlocal done
        if share >= done + 0.01:
            done = share
            tell(out, progress=round(share, 3))

    settings = job["settings"]
    if settings["face_box"] is not None:
        settings["face_box"] = tuple(settings["face_box"])
    try:
        prepare(
            job["name"],
            PersonaSettings(**settings),
            Path(job["video"]),
            Path(job["cache"]),
            size=None if job["size"] is None else (job["size"][0], job["size"][1]),
            progress=progress,
            tools=Tools(*(path and Path(path) for path in job["tools"])),
            unfinished=job["unfinished"],
        )
    except Exception as error:
        failure = blame(
            error, error if isinstance(error, EngineError) else EngineError(repr(error))
        )
        remedy = failure.remedy if isinstance(failure, BackendUnavailable) else ""
        message = str(failure).removesuffix(remedy).rstrip()
        tell(out, failed=type(failure).__name__, message=message, remedy=remedy)
    else:
        tell(out, done=True)


def _leave_with_the_service() -> None:
    while sys.stdin.read(1):
        pass
    os._exit(LEFT)


if __name__ == "__main__":
    main()
