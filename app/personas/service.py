"""The personas of this service: what is configured, and each loaded once for all sessions."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import structlog

from app.config import Settings
from app.personas.config import FILE, read_blocks, settings_of, video_of
from engine.errors import (
    EngineError,
    PersonaError,
    PersonaNotFound,
    ResourceShortage,
    StorageFault,
)
from engine.media import MediaError, VideoInfo, probe_video
from engine.persona import Persona
from engine.prepare.build import prepare
from engine.prepare.cache import cache_key, is_prepared, require_room
from engine.prepare.crop import Size
from engine.prepare.settings import NEWEST, PersonaSettings
from engine.prepare.tools import Tools, tools_in

log = structlog.get_logger(__name__)

BACKGROUND = 10  # niceness of a preparation: live sessions go first


@dataclass(frozen=True, slots=True)
class PersonaInfo:
    """A persona as `GET /personas` shows it."""

    name: str
    display_name: str
    engine: str  # auto | warp | torch | tensorrt
    width: int | None = None  # of its video; None where `problem` says why it cannot be used
    height: int | None = None
    prepared: bool = False  # at its own size; else the first session prepares it
    problem: str | None = None  # a sentence


class Catalogue:
    """Reads personas.yaml as it is at each call, so that an edit counts at once."""

    def __init__(
        self,
        personas_dir: Path,
        cache_dir: Path,
        models_dir: Path | None = None,
        version: str = NEWEST,
        own_dir: Path | None = None,
    ) -> None:
        """`own_dir` holds a personas.yaml of this service's own, beside the one that came with it.

        `cache_dir` keeps what was prepared; it may be deleted at any time.

        Networks in `models_dir` find faces and their regions, where they are. `version` of
        MuseTalk decides what a persona's settings leave open.
        """
        self._version = version
        self._tools = Tools() if models_dir is None else tools_in(models_dir)
        self._dir = personas_dir
        self._own = own_dir
        self._cache = cache_dir
        self._loaded: WeakValueDictionary[tuple[str, ...], Persona] = WeakValueDictionary()
        self._loading: dict[tuple[str, ...], asyncio.Task[Persona]] = {}
        self._worker = ThreadPoolExecutor(1, "prepare", initializer=_step_back)
        self._closing = False
        self.preparations = 0  # begun since the start; for the metrics

    @classmethod
    def of(cls, settings: Settings) -> Catalogue:
        """The one that the service, and each of its commands, has by its settings."""
        return cls(
            settings.personas_dir,
            settings.data_dir / "personas",
            settings.models_dir,
            settings.musetalk_version,
            settings.own_personas,
        )

    def sources(self, name: str) -> list[Path]:
        """The files that a persona is made of, which nothing may overwrite. Raises PersonaError."""
        return [video_of(self.settings(name), self._dir)]

    def names(self) -> list[str]:
        return list(read_blocks(self._dir, self._own))

    def settings(self, name: str) -> PersonaSettings:
        """Raises PersonaNotFound, or PersonaError where its block or its video is of no use."""
        blocks = read_blocks(self._dir, self._own)
        if name not in blocks:
            known = ", ".join(blocks) or "none"
            raise PersonaNotFound(f"No persona is named {name!r}. {FILE} has: {known}.")
        settings = settings_of(name, blocks[name], self._dir, self._version)
        if not video_of(settings, self._dir).is_file():
            raise PersonaError(
                f"The video of persona {name} does not exist: {settings.video_path}. "
                f"Paths in {FILE} start at its own folder."
            )
        return settings

    async def listing(self) -> list[PersonaInfo]:
        """Every configured persona. Raises PersonaError where the file itself is broken."""
        return await asyncio.to_thread(lambda: [self._info(name) for name in self.names()])

    def require_usable(self) -> None:
        """Returns when some persona is prepared, or could be; blocks while their videos are read.

        Raises PersonaError or StorageFault, of the first persona.
        """
        reasons: list[EngineError] = []
        for name in self.names():
            try:
                settings = self.settings(name)
                video = video_of(settings, self._dir)
                whole = _probed(video, video.stat().st_mtime_ns)
                if not is_prepared(self._cache / cache_key(video, settings, None, self._tools)):
                    require_room(self._cache, whole.frames, whole.width, whole.height)
                return
            except EngineError as error:
                reasons.append(error)
        raise reasons[0] if reasons else PersonaError(f"{FILE} in {self._dir} names none.")

    async def load(self, name: str, width: int | None = None, height: int | None = None) -> Persona:
        """The persona at a size; its own where none is given, its shape where one side is.

        The first call prepares it, in a thread, for seconds; calls for the same one share that.

        Raises:
            PersonaNotFound: no such name.
            PersonaError: it cannot be used; the message says why.
        """
        settings = self.settings(name)
        video = video_of(settings, self._dir)
        size, content = await asyncio.to_thread(self._content, video, settings, width, height)
        key = (name, settings.display_name, content)
        if (known := self._loaded.get(key)) is not None:
            return known
        if key not in self._loading:
            task = asyncio.create_task(self._load(name, settings, video, size, content))
            self._loading[key] = task
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        # A session that gives up does not take the preparation from the others.
        persona = await asyncio.shield(self._loading[key])
        self._loaded[key] = persona
        return persona

    async def aclose(self) -> None:
        """Give up running preparations; nothing half done stays."""
        self._closing = True
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        self._worker.shutdown(wait=False)

    def _content(
        self, video: Path, settings: PersonaSettings, width: int | None, height: int | None
    ) -> tuple[Size | None, str]:
        size = _size(video, width, height)
        return size, cache_key(video, settings, size, self._tools)

    async def _load(
        self, name: str, settings: PersonaSettings, video: Path, size: Size | None, content: str
    ) -> Persona:
        loop = asyncio.get_running_loop()
        work: tuple[Any, ...] = (
            *(name, settings, video, self._cache, size),
            *(self._progress, self._tools),
        )
        if is_prepared(self._cache / content):
            return await loop.run_in_executor(None, prepare, *work)
        log.warning(
            "persona is not prepared yet: its first session waits",
            persona=name,
            remedy=f"voipavatar persona prepare --name {name}",
        )
        self.preparations += 1
        return await loop.run_in_executor(self._worker, prepare, *work)

    def _progress(self, _: float) -> None:
        if self._closing:
            raise PersonaError("The service is shutting down.")

    def _info(self, name: str) -> PersonaInfo:
        try:
            settings = self.settings(name)
            video = video_of(settings, self._dir)
            whole = probe_video(video)
            return PersonaInfo(
                name=name,
                display_name=settings.display_name,
                engine=settings.engine,
                width=whole.width,
                height=whole.height,
                prepared=is_prepared(self._cache / cache_key(video, settings, None, self._tools)),
            )
        except (StorageFault, ResourceShortage):
            raise  # nothing about this persona
        except EngineError as error:
            return PersonaInfo(name, name, "auto", problem=str(error))


@lru_cache(maxsize=64)
def _probed(video: Path, _changed: int) -> VideoInfo:
    """Remembered until the file changes: probes of `/ready` come every few seconds."""
    return probe_video(video)


def _size(video: Path, width: int | None, height: int | None) -> Size | None:
    """The output size that was asked for: even, as I420 wants it; None for the video's own."""
    if width is None and height is None:
        return None
    try:
        whole = probe_video(video)
    except MediaError as error:
        raise PersonaError(str(error)) from error
    width = width or round((height or whole.height) * whole.width / whole.height)
    height = height or round(width * whole.height / whole.width)
    size = (max(2, width & ~1), max(2, height & ~1))
    return None if size == (whole.width, whole.height) else size


def _step_back() -> None:
    """A niceness of its own for this thread, where the system has that."""
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND)
