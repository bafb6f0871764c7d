"""A prepared persona: memory-mapped and shared by every session that shows it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.engine_errors import PersonaError
from engine.core.shortage import blame


def ping_pong(k: int, n: int) -> int:
    """Source frame of output frame k when n frames play forwards, backwards, forwards, …

    The first and last frame appear twice in a row, as in the reference (musetalk.md §2, item 7).
    """
    lap, step = divmod(k, n)
    return step if lap % 2 == 0 else n - 1 - step


@dataclass(frozen=True, eq=False)
class Persona:
    """Everything that rendering needs of a persona, at one output size.

    The arrays are memory-mapped; `pictures` is copy-on-write, so that a row can be handed to
    LiveKit (which requires writable memory) without a copy. Nothing writes to them.
    """

    name: str
    display_name: str
    key: str  # content hash of the video, the settings and the size; names the cache folder
    folder: Path
    frames: NDArray[np.uint8]  # (n, height, width, 3) BGR
    pictures: NDArray[np.uint8]  # (n, height * width * 3 // 2) the same frames as I420
    boxes: NDArray[np.int32]  # (n, 4) face box x1, y1, x2, y2; inference paints this region
    crops: NDArray[np.int32]  # (n, 4) square 1.5 x the box, may exceed the frame (musetalk.md §3.1)
    mouths: NDArray[np.float32]  # (n, 4) mouth centre x, y, half width, tilt in radians; frame px
    masks: tuple[NDArray[np.uint8], ...]  # n masks, each of its crop's size; 255 = generated pixel
    settings: dict[str, Any]  # from personas.yaml, as prepared

    @property
    def width(self) -> int:
        return int(self.frames.shape[2])

    @property
    def height(self) -> int:
        return int(self.frames.shape[1])

    def source(self, tick: int) -> int:
        """Index of the frame that is shown at a tick of the output clock."""
        return ping_pong(tick, len(self.frames))

    def array(self, name: str) -> NDArray[Any]:
        """Another prepared array of this persona (`latents`, …), memory-mapped."""
        loaded: NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return loaded


def load(folder: Path) -> Persona:
    """Maps a persona that `engine.prepare.build` has written.

    Raises PersonaError if the folder holds none, or is damaged.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        frames, boxes, crops, mouths, masks = (
            np.load(folder / f"{name}.npy", mmap_mode="r")
            for name in ("frames", "boxes", "crops", "mouths", "masks")
        )
        pictures = np.load(folder / "pictures.npy", mmap_mode="c")
        _check(frames, pictures, boxes, crops, mouths, masks)
        return Persona(
            name=manifest["video"],
            display_name=manifest["video"],
            key=manifest["key"],
            folder=folder,
            frames=frames,
            pictures=pictures,
            boxes=boxes,
            crops=crops,
            mouths=mouths,
            masks=_cut(masks, crops),
            settings=dict(manifest["settings"]),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        damaged = f"The prepared persona in {folder} is damaged ({error}). Delete that folder."
        raise blame(error, PersonaError(damaged)) from error


def _check(
    frames: NDArray[Any],
    pictures: NDArray[Any],
    boxes: NDArray[Any],
    crops: NDArray[Any],
    mouths: NDArray[Any],
    masks: NDArray[Any],
) -> None:
    """Raises ValueError unless the arrays match each other; later code relies on that."""
    if frames.ndim != 4 or not len(frames):
        raise ValueError(f"frames are of shape {frames.shape}")
    count, height, width, _ = frames.shape
    wanted: dict[str, tuple[NDArray[Any], tuple[int, ...], str]] = {
        "frames": (frames, (count, height, width, 3), "u1"),
        "pictures": (pictures, (count, height * width * 3 // 2), "u1"),
        "boxes": (boxes, (count, 4), "i4"),
        "crops": (crops, (count, 4), "i4"),
        "mouths": (mouths, (count, 4), "f4"),
        "masks": (masks, (masks.size,), "u1"),
    }
    for name, (array, shape, kind) in wanted.items():
        if array.shape != shape or array.dtype != np.dtype(kind):
            raise ValueError(f"{name} are {array.dtype} of shape {array.shape}, not {shape}")
    x1, y1, x2, y2 = boxes.T
    if not ((x1 >= 0) & (x1 < x2) & (x2 <= width) & (y1 >= 0) & (y1 < y2) & (y2 <= height)).all():
        raise ValueError("a face box leaves its frame")


def _cut(flat: NDArray[np.uint8], crops: NDArray[np.int32]) -> tuple[NDArray[np.uint8], ...]:
    """Splits the stored masks, which lie one after another, into views of each crop's size."""
    width, height = (crops[:, 2] - crops[:, 0]).tolist(), (crops[:, 3] - crops[:, 1]).tolist()
    ends = np.cumsum(np.multiply(width, height)).tolist()
    if min(width) < 1 or min(height) < 1 or ends[-1] != len(flat):
        raise ValueError("masks and crops do not fit")
    return tuple(
        flat[end - w * h : end].reshape(h, w) for w, h, end in zip(width, height, ends, strict=True)
    )
