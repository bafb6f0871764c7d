"""Draws the default persona: seven seconds of a woman who waits, and listens.

    python personas/default/draw.py [OUT.mp4]

Breathing, blinks, small movements of head, eyes and hair. Every movement is a sum of cosines that
stands still at both ends, since the service plays the frames forwards and backwards. The result
is the same on every run; `default.mp4` beside this file is what it made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from brush import SCALE, SIZE, Layer, soften
from eyes import EYES
from numpy.typing import NDArray
from portrait import back_hair, background, head, torso

FRAMES = 176
BLINKS = (30, 92, 101, 149)  # frame at which the eyes are shut; one of them is a double
BIG = SIZE * SCALE
ZOOM = 0.95  # of head and shoulders on the picture: room above the hair
Field = NDArray[np.float32]


def sway(u: float, *amplitudes: float) -> float:
    """Cosines of one, two, three … half periods over the clip: still at u = 0 and u = 1."""
    return sum(a * float(np.cos(np.pi * (k + 1) * u)) for k, a in enumerate(amplitudes))


def openness(frame: int) -> float:
    """1 awake, 0 shut: three frames to close, five to open."""
    level = 1.0
    for at in BLINKS:
        away = (at - frame) / 3 if frame < at else (frame - at) / 5
        if away < 1:
            level = min(level, away * away * (3 - 2 * away))
    return level


class Scene:
    """The painted layers, and the fields that say how deep each place of them is."""

    def __init__(self) -> None:
        self.front, face = head()
        self.ground = np.round(background().bgr * 255).astype(np.uint8)
        self.behind = back_hair().bytes()
        self.body = torso(face).bytes()
        ys, xs = np.mgrid[0:BIG, 0:BIG].astype(np.float32)
        self.xs, self.ys = xs, ys
        u, v = (xs / SCALE - 256) / 118, (ys / SCALE - 240) / 168
        dome = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
        bump = np.exp(-(((xs / SCALE - 256) / 20) ** 2) - ((ys / SCALE - 280) / 34) ** 2)
        self.depth = soften(dome, 10) + 0.4 * bump  # 0 at the ears, 1 in the middle, nose 1.4
        down = np.clip((ys / SCALE - 200) / 230, 0, 1)
        self.hang = down * down * (3 - 2 * down)  # how freely hair swings
        rise = np.clip((470 - ys / SCALE) / 110, 0, 1)
        self.lift = rise * rise * (3 - 2 * rise)  # how far the neck goes with the head

    def frame(self, number: int) -> NDArray[np.uint8]:
        """(SIZE, SIZE, 3) BGR."""
        u = number / (FRAMES - 1)
        breath = 0.5 - 0.5 * np.cos(4 * np.pi * u)  # one in 3.5 s
        yaw = sway(u, 2.6, 1.5, -1.3, 0.5)  # units that the middle of the face moves sideways
        nod = sway(u, -0.5, 0.9, 0.5, -0.3)
        tilt = sway(u, 0.010, -0.008, 0.004)  # radians
        slide = sway(u, 1.2, -1.0, 0.6)
        swing = sway(u, -0.7, 1.1, -1.2, 0.6)
        gaze = (-0.75 * yaw * 0.5 + sway(u, 0.2, 0, 0.3), -0.4 * nod)
        face = Layer()
        face.bgr, face.alpha = self.front.bgr.copy(), self.front.alpha.copy()
        for eye in EYES:
            eye.draw(face, openness(number), gaze)
        move = (slide, -1.1 * breath, tilt)
        zero = np.zeros_like(self.xs)
        out = self.ground.astype(np.float32)
        hair = self._moved(self.behind, move, swing * self.hang - 0.35 * yaw, zero)
        body = self._raised(slide, breath)
        front = self._moved(face.bytes(), move, yaw * self.depth, nod * self.depth)
        for layer in (hair, body, front):
            out *= 1 - layer[..., 3:].astype(np.float32) / 255
            out += layer[..., :3]
        small = cv2.resize(out, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return np.clip(np.round(small), 0, 255).astype(np.uint8)

    def _moved(
        self, layer: NDArray[np.uint8], move: tuple[float, float, float], dx: Field, dy: Field
    ) -> NDArray[np.uint8]:
        """A layer of the head: turned about the neck, moved, and shifted by depth."""
        slide, lift, tilt = move
        cos, sin = float(np.cos(tilt)) / ZOOM, float(np.sin(tilt)) / ZOOM
        px, py = (256 + slide) * SCALE, (400 + lift) * SCALE
        x = (self.xs - px) * cos + (self.ys - py) * sin + 256 * SCALE
        y = (self.ys - py) * cos - (self.xs - px) * sin + 400 * SCALE
        # The depth is read where the pixel lands, beside its source: too smooth to matter.
        x, y = (x - dx * SCALE).astype(np.float32), (y - dy * SCALE).astype(np.float32)
        return cv2.remap(layer, x, y, cv2.INTER_LINEAR)

    def _raised(self, slide: float, breath: float) -> NDArray[np.uint8]:
        """The torso: shoulders rise and widen with the breath, the neck follows the head."""
        widen = (1 - 0.004 * breath) / ZOOM
        x = (self.xs - (256 + slide * self.lift) * SCALE) * widen + 256 * SCALE
        y = self.ys + 1.7 * breath * SCALE
        x, y = x.astype(np.float32), y.astype(np.float32)
        return cv2.remap(self.body, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def frames() -> Iterator[NDArray[np.uint8]]:
    scene = Scene()
    for number in range(FRAMES):
        yield scene.frame(number)


def main(target: Path) -> None:
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "17", "preset": "slow"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(frames()):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            container.mux(stream.encode(frame))
            sys.stderr.write(f"\r{number + 1}/{FRAMES}")
        container.mux(stream.encode(None))
    sys.stderr.write("\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("default.mp4"))
