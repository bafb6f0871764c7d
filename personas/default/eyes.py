"""The default persona's eyes, drawn for each frame: how far open, and where they look."""

from __future__ import annotations

import numpy as np
from brush import Layer, Points, curve, fill, oval, path, stroke
from numpy.typing import NDArray

# From the inner corner to the outer, around the eye's middle.
UPPER = path("-25,4.4 -18,-5 -8.5,-11.7 2,-13.6 12.7,-10.6 21.2,-3.7 26.5,0.6")
LOWER = path("-25,4.4 -17,7.5 -6.4,10.1 4.2,10.6 14.8,7.7 22.3,3.5 26.5,0.6")


def _between(a: Points, b: Points) -> NDArray[np.float64]:
    return np.vstack([curve(a), curve(b)[::-1]])


class Eye:
    """In the coordinates of the head layer; `turn` is -1 where the inner corner is on the right."""

    def __init__(self, x: float, y: float, turn: int) -> None:
        self.x, self.y, self.turn = x, y, turn

    def _place(self, points: Points) -> Points:
        return [(self.x + self.turn * px, self.y + py) for px, py in points]

    def draw(self, layer: Layer, openness: float, gaze: tuple[float, float]) -> None:
        """Paint it on the face: openness 1 is awake, 0 closed; gaze in units."""
        shut = 1 - openness
        lower = [(px, py - 1.3 * shut * (1 - (px / 26.5) ** 2)) for px, py in LOWER]
        upper = [
            (px, py + (below - py - 0.2) * shut)
            for (px, py), (_, below) in zip(UPPER, lower, strict=True)
        ]
        fold = 5 * (0.55 + 0.45 * openness)
        lid = [(px, py - fold * (1 - (px / 32) ** 2)) for px, py in upper]
        edges = self._place(lid), self._place(upper)
        layer.paint(fill(_between(*edges), 1.4, smooth=False), "#d9a283", 0.6)
        if openness > 0.04:
            self._ball(layer, self._place(upper), self._place(lower), gaze)
        self._lashes(layer, upper, lower, shut)

    def _ball(self, layer: Layer, upper: Points, lower: Points, gaze: tuple[float, float]) -> None:
        inside = fill(_between(upper, lower), 0.25, smooth=False)
        x, y = self.x + gaze[0], self.y - 1.3 + gaze[1]
        layer.paint(inside, "#f4ede8")
        layer.paint(oval(self.x - self.turn * 23, self.y + 3, 7, 5, 2), "#dda79a", 0.6, inside)
        layer.paint(oval(self.x, self.y + 10, 27, 4, 2.5), "#d8c4bc", 0.6, inside)
        layer.paint(oval(x, y, 13.4, 13.8, 0.5), "#2f1c14", 1, inside)
        layer.paint(oval(x, y, 12.2, 12.6, 0.9), "#6b4226", 1, inside)
        layer.paint(oval(x, y + 5, 9.2, 6.6, 2.2), "#c08a48", 0.85, inside)
        layer.paint(oval(x, y, 5.8, 5.9, 0.6), "#140b09", 1, inside)
        shadow = stroke([(px, py + 3.6) for px, py in upper], 7.5, blur=2)
        layer.paint(shadow, "#3a2018", 0.55, inside)
        layer.paint(oval(x - 4.4, y - 4.8, 3.4, 3.2, 0.4), "#ffffff", 0.97, inside)
        layer.paint(oval(x + 4.9, y + 5, 1.8, 1.6, 0.5), "#ffffff", 0.6, inside)

    def _lashes(self, layer: Layer, upper: Points, lower: Points, shut: float) -> None:
        rim = stroke(self._place(lower), 1.5, blur=0.5, ends=(0.3, 0.5))
        layer.paint(rim, "#a5644f", 0.75)
        tip = (28.3, upper[-1][1] - 2 + 3.8 * shut)
        lashes = stroke(self._place([*upper[:-1], tip]), 3.6, blur=0.35, ends=(0.25, 0.55))
        layer.paint(lashes, "#2a1512", 0.97)
        rise = 6.8 - 2.4 * shut
        crease = [(px * 0.98, py - rise * (1 - (px / 36) ** 2)) for px, py in upper[1:]]
        layer.paint(stroke(self._place(crease), 1.7, blur=0.7), "#9c5f4b", 0.75 - 0.35 * shut)


EYES = (Eye(211, 233, turn=-1), Eye(301, 233, turn=1))
