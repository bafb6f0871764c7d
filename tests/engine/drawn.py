"""A persona drawn in memory: skin, lips that meet in a dark line, a head that moves a little."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.core.persona import Persona, load
from engine.musetalk.boxes import blend_squares
from engine.prepare.jaw_mask import jaw_masks

WIDTH, HEIGHT = 322, 286
SKIN, LIPS, LINE = (140, 170, 215), (90, 90, 190), (40, 40, 80)


def drawn_persona(frames: int = 4, shade: int = 0) -> Persona:
    """`frames` poses of 322 x 286; `shade` is added to its background, to tell two apart."""
    drawn = np.stack([_face(index, shade) for index in range(frames)])
    pictures = [cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).ravel() for frame in drawn]
    shifts = np.arange(frames)
    boxes = np.array([[100 + i, 60, 220 + i, 210] for i in shifts], np.int32)
    return Persona(
        name="drawn",
        display_name="Drawn",
        key=f"drawn-{frames}-{shade}",
        folder=Path(),
        frames=drawn,
        pictures=np.stack(pictures).astype(np.uint8),
        boxes=boxes,
        crops=blend_squares(boxes),
        mouths=np.array([[160 + i, 172, 26, 0.0] for i in shifts], np.float32),
        masks=tuple(jaw_masks(boxes)),
        settings={},
    )


def kept(persona: Persona, folder: Path) -> Persona:
    """The same persona as another process finds it: written to a folder and mapped."""
    for name in ("frames", "pictures", "boxes", "crops", "mouths"):
        np.save(folder / f"{name}.npy", getattr(persona, name))
    np.save(folder / "masks.npy", np.concatenate([mask.ravel() for mask in persona.masks]))
    manifest = {"video": persona.name, "key": persona.key, "settings": persona.settings}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return load(folder)


def _face(shift: int, shade: int) -> NDArray[np.uint8]:
    frame = np.full((HEIGHT, WIDTH, 3), 60 + shade, np.uint8)
    centre = (160 + shift, 172)
    cv2.ellipse(frame, (160 + shift, 130), (62, 84), 0, 0, 360, SKIN, -1, cv2.LINE_AA)
    cv2.ellipse(frame, centre, (26, 9), 0, 0, 360, LIPS, -1, cv2.LINE_AA)
    cv2.line(frame, (136 + shift, 172), (184 + shift, 172), LINE, 1, cv2.LINE_AA)
    return frame
