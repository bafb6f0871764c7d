"""The configured personas; each is loaded once and shared by all sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import structlog

from app.config import Settings
from app.personas.manifest import FILE, read_blocks, settings_of, video_of
from app.personas.preparation import Preparation
from app.personas.preparation_queue import PreparationQueue
from engine import Persona
from engine.core.engine_errors import (
    EngineError,
    PersonaError,
    PersonaMissing,
    ResourceShortage,
    StorageFault,
)
from engine.media.video import MediaError, VideoInfo, probe_video
from engine.prepare.build import prepare
from engine.prepare.cache import cache_key, is_prepared, require_room
from engine.prepare.crop import Size
from engine.prepare.settings import NEWEST, PersonaSettings
from engine.prepare.tools import Tools, tools_in

log = structlog.get_logger(__name__)

CLOSING = "The service is shutting down."


@dataclass(frozen=True, slots=True)
class PersonaInfo:
    """A persona as `GET /personas` lists it."""

    name: str
    display_name: str
    engine: str  # auto | warp | torch | tensorrt
    width: int | None = None  # the video's; None if `problem` says why it cannot be used
    height: int | None = None
    prepared: bool = False  # at the video's size; otherwise the first session prepares it
    problem: str | None = None  # one sentence


class _Loading:
    """A persona being loaded, and the number of callers that wait for it."""

    def __init__(self, task: asyncio.Task[Persona], forget: Callable[[], None]) -> None:
        self._task = task
        self._forget = forget
        self._waiting = 0

    async def wait(self) -> Persona:
        """One cancelled caller does not affect the others; the last one cancels the work."""
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self._task.done():
                self._forget()  # later callers start anew
                self._task.cancel()


class Catalogue:
    """Reads personas.yaml at each call, so that edits take effect at once."""

    def __init__(
        self,
        personas_dir: Path,
        cache_dir: Path,
        models_dir: Path | None = None,
        version: str = NEWEST,
        own_dir: Path | None = None,
    ) -> None:
        """`own_dir` holds the personas.yaml of personas made here, next to the shipped one.

        `cache_dir` holds prepared personas; it may be deleted at any time.

        Networks in `models_dir`, if installed, find faces and their regions. `version` of MuseTalk
        determines defaults of a persona's settings.
        """
        self._version = version
        self._tools = Tools() if models_dir is None else tools_in(models_dir)
        self._dir = personas_dir
        self._own = own_dir
        self._cache = cache_dir
        self._loaded: WeakValueDictionary[tuple[str, ...], Persona] = WeakValueDictionary()
        self._loading: dict[tuple[str, ...], _Loading] = {}
        self._tasks: set[asyncio.Task[Persona]] = set()
        self._turns = PreparationQueue()
        self._closing = False
        self.preparations = 0  # since the start; for the metrics

    @classmethod
    def of(cls, settings: Settings) -> Catalogue:
        """The catalogue that the settings describe, as the service and its commands use it."""
        return cls(
            settings.personas_dir,
            settings.data_dir / "personas",
            settings.models_dir,
            settings.musetalk_version,
            settings.own_personas,
        )

    def sources(self, name: str) -> list[Path]:
        """The source files of a persona, which nothing may overwrite. Raises PersonaError."""
        return [video_of(self.settings(name), self._dir)]

    def names(self) -> list[str]:
        return list(read_blocks(self._dir, self._own))

    def settings(self, name: str) -> PersonaSettings:
        """Raises PersonaMissing, or PersonaError if its block or video is unusable."""
        blocks = read_blocks(self._dir, self._own)
        if name not in blocks:
            known = ", ".join(blocks) or "none"
            raise PersonaMissing(f"No persona is named {name!r}. {FILE} has: {known}.")
        settings = settings_of(name, blocks[name], self._dir, self._version)
        if not video_of(settings, self._dir).is_file():
            raise PersonaError(
                f"The video of persona {name} does not exist: {settings.video_path}. "
                f"Paths in {FILE} are relative to its folder."
            )
        return settings

    async def listing(self) -> list[PersonaInfo]:
        """Every configured persona. Raises PersonaError if the file itself is broken."""
        return await asyncio.to_thread(lambda: [self._info(name) for name in self.names()])

    def require_usable(self) -> None:
        """Returns if at least one persona is prepared or can be; blocks to read videos.

        Raises the first persona's PersonaError or StorageFault.
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

    async def load(
        self,
        name: str,
        width: int | None = None,
        height: int | None = None,
        *,
        caller: str = "",
    ) -> Persona:
        """A persona at a size: by default its own; one given side keeps its aspect ratio.

        The first call prepares the persona in a child process, which takes seconds; concurrent
        calls for it share the work, which is cancelled once all of them are. Different callers
        take turns.

        Raises:
            PersonaMissing: the name is unknown.
            PersonaError: the persona is unusable; the message says why.
            PoolFull: too many preparations are waiting.
            EngineError: preparation failed through no fault of the persona.
        """
        settings = self.settings(name)
        video = video_of(settings, self._dir)
        size, content = await asyncio.to_thread(self._content, video, settings, width, height)
        key = (name, settings.display_name, content)
        if (known := self._loaded.get(key)) is not None:
            return known
        loading = self._loading.get(key)
        if loading is None:
            work = Preparation(name, settings, video, self._cache, size, self._tools)
            loading = self._begin(key, self._load(work, content, caller))
        try:
            persona = await loading.wait()
        except asyncio.CancelledError:
            # The work was cancelled before it began, so it could not raise the reason itself.
            task = asyncio.current_task()
            if self._closing and task is not None and not task.cancelling():
                raise PersonaError(CLOSING) from None
            raise
        self._loaded[key] = persona
        return persona

    async def aclose(self) -> None:
        """Cancel running preparations and remove what they left unfinished."""
        self._closing = True
        for task in self._tasks:
            if not task.cancelling():  # a second cancel would disturb its clean-up
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, key: tuple[str, ...], work: Coroutine[Any, Any, Persona]) -> _Loading:
        task = asyncio.create_task(work)

        def forget() -> None:
            if self._loading.get(key) is loading:
                del self._loading[key]

        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: forget())
        loading = self._loading[key] = _Loading(task, forget)
        return loading

    def _content(
        self, video: Path, settings: PersonaSettings, width: int | None, height: int | None
    ) -> tuple[Size | None, str]:
        size = _size(video, width, height)
        return size, cache_key(video, settings, size, self._tools)

    async def _load(self, work: Preparation, content: str, caller: str) -> Persona:
        try:
            if not is_prepared(self._cache / content):
                async with self._turns.of(caller):
                    await self._prepare(work, content)
            known = (work.name, work.settings, work.video, work.cache, work.size)
            return await asyncio.to_thread(prepare, *known, tools=work.tools)
        except asyncio.CancelledError:
            if self._closing:
                raise PersonaError(CLOSING) from None
            raise

    async def _prepare(self, work: Preparation, content: str) -> None:
        if is_prepared(self._cache / content):
            return  # another process prepared it while this one waited
        log.warning(
            "persona is not prepared yet: its first session has to wait",
            persona=work.name,
            remedy=f"voipavatar persona prepare --name {work.name}",
        )
        self.preparations += 1
        await work.run()

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
            raise  # not the persona's fault
        except EngineError as error:
            return PersonaInfo(name, name, "auto", problem=str(error))


@lru_cache(maxsize=64)
def _probed(video: Path, _changed: int) -> VideoInfo:
    """Cached until the file changes, since `/ready` is probed every few seconds."""
    return probe_video(video)


def _size(video: Path, width: int | None, height: int | None) -> Size | None:
    """The requested output size, rounded to even sides for I420; None for the video's own."""
    if width is None and height is None:
        return None
    try:
        whole = _probed(video, video.stat().st_mtime_ns)
    except MediaError as error:
        raise PersonaError(str(error)) from error
    width = width or round((height or whole.height) * whole.width / whole.height)
    height = height or round(width * whole.height / whole.width)
    size = (max(2, width & ~1), max(2, height & ~1))
    return None if size == (whole.width, whole.height) else size
