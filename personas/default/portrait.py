"""The default persona as layers that can be moved: the light comes from the upper left."""

from __future__ import annotations

from functools import cache

import numpy as np
from brush import SCALE, Layer, Mask, Points, blank, fill, oval, path, ramp, soften, strands, stroke

SKIN, LIGHT, SHADE, DEEP = "#eec2a2", "#fde0c8", "#cf8f70", "#9a5a48"
HAIR, HAIR_MID, HAIR_LIGHT, HAIR_DARK = "#4a2c20", "#754931", "#b98355", "#2a1712"
COAT, COAT_LIGHT, COAT_DARK = "#27506a", "#3d6f8b", "#16303f"
BLOUSE, BLOUSE_SHADE = "#f6efe4", "#cdbfae"
SIDES = (False, True)  # left and right of the picture; the drawing is made for the left

FACE = path(
    "256,96 304,104 338,136 353,184 354,228 348,272 336,310 313,345 284,370 256,377"
    " 228,370 199,345 176,310 164,272 158,228 159,184 174,136 208,104"
)


def shifted(mask: Mask, dx: float, dy: float) -> Mask:
    return np.roll(mask, (round(dy * SCALE), round(dx * SCALE)), (0, 1))


def background() -> Layer:
    layer = Layer()
    layer.paint(blank() + 1, "#d9e4df")
    layer.paint(ramp((120, 60), (470, 520)), "#8fb0b4")
    layer.paint(oval(130, 110, 150, 150, blur=70), "#fff6e2", 0.75)
    for x, y, r, strength in (
        (420, 90, 46, 0.20),
        (466, 190, 30, 0.16),
        (52, 280, 38, 0.16),
        (380, 36, 26, 0.18),
    ):
        layer.paint(oval(x, y, r, r, blur=5), "#ffffff", strength)
    layer.paint(ramp((256, 330), (256, 560)), "#5f868f", 0.5)
    return layer


def back_hair() -> Layer:
    """What hangs behind head and neck."""
    layer = Layer()
    shape = fill(
        path(
            "256,46 178,62 132,126 116,204 108,290 109,352 120,404 158,440 206,450 256,440"
            " 306,450 354,440 392,404 404,352 406,288 398,204 382,126 334,62"
        )
    )
    layer.paint(shape, HAIR)
    layer.paint(oval(256, 330, 92, 150, blur=26), HAIR_DARK, 0.9, shape)
    for side in SIDES:
        outer = path("186,62 134,126 116,204 108,290 111,352 134,424", flip=side)
        inner = path("210,90 176,140 164,210 166,290 172,360 190,446", flip=side)
        band = oval(372 if side else 140, 262, 40, 46, blur=16)
        layer.paint(strands(outer, inner, 170, (0.4, 1.5), 5 + side), HAIR_MID, 0.5, shape)
        layer.paint(strands(outer, inner, 120, (0.4, 1.2), 15 + side), HAIR_DARK, 0.5, shape)
        shine = strands(outer, inner, 150, (0.3, 1.0), 25 + side)
        layer.paint(shine, HAIR_LIGHT, 0.35 if side else 0.6, band)
        edge = path("184,60 131,124 113,204 105,292 108,356 122,410", flip=side)
        wisps = strands(edge, outer, 26, (0.25, 0.5), 35 + side)
        layer.paint(wisps, HAIR_MID, 0.5)
    layer.paint(ramp((300, 0), (430, 0)), HAIR_DARK, 0.35, shape)
    return layer


def neck() -> Mask:
    return fill(
        path(
            "212,320 210,372 204,410 186,436 150,456 180,512 256,520"
            " 332,512 362,456 326,436 308,410 302,372 300,320"
        )
    )


def blouse(layer: Layer, skin: Mask) -> None:
    shape = fill(
        path("150,452 184,470 222,496 256,506 290,496 328,470 362,452 400,540 256,560 112,540")
    )
    layer.paint(soften(shifted(shape, 0, -4), 3), DEEP, 0.35, skin)
    layer.paint(shape, BLOUSE)
    layer.paint(ramp((240, 0), (350, 0)), BLOUSE_SHADE, 0.6, shape)
    hem = path("152,456 186,475 222,499 256,509 290,499 326,475 360,456")
    layer.paint(stroke(hem, 2.2, blur=0.6), BLOUSE_SHADE, 0.8, shape)
    for side in SIDES:
        coat_shadow = fill(path("184,424 196,484 222,540 250,600 140,600 150,440", flip=side))
        layer.paint(soften(coat_shadow, 3.5), "#8b7d6c", 0.45, shape)


def coat(layer: Layer, side: bool) -> None:
    shape = fill(
        path(
            "176,424 150,440 96,462 44,488 14,530 -10,600 240,600 214,540 186,484",
            flip=side,
        )
    )
    layer.paint(shape, COAT)
    x, tilt = (432, 20) if side else (96, -20)
    layer.paint(oval(x, 476, 66, 18, blur=12, tilt=tilt), COAT_LIGHT, 0.45 if side else 0.85, shape)
    layer.paint(oval(452 if side else 60, 540, 60, 44, blur=18), COAT_DARK, 0.6, shape)
    lapel = fill(
        path(
            "178,424 164,434 140,462 128,490 150,500 146,516 170,560 236,600 212,540 188,484",
            flip=side,
        )
    )
    layer.paint(soften(shifted(lapel, 3 if side else -3, 3), 3), COAT_DARK, 0.7, shape)
    layer.paint(lapel, "#264e67" if side else "#2f5d79")
    edge = stroke(path("178,425 190,484 214,540", flip=side), 1.6, blur=0.5)
    layer.paint(edge, COAT_LIGHT, 0.8, lapel)


def torso(face: Mask) -> Layer:
    """Neck, blouse and coat, with the shadow of the chin."""
    layer = Layer()
    skin = neck()
    layer.paint(skin, SKIN)
    layer.paint(ramp((230, 0), (330, 0)), SHADE, 0.55, skin)
    for side in SIDES:
        tendon = stroke(path("206,400 226,436 250,462", flip=side), 7, blur=4)
        collar_bone = stroke(path("176,452 216,462 246,470", flip=side), 4, blur=2.5)
        layer.paint(np.maximum(tendon, collar_bone), SHADE, 0.6 if side else 0.45, skin)
    layer.paint(oval(238, 420, 10, 34, blur=8, tilt=-8), LIGHT, 0.5, skin)
    layer.paint(soften(shifted(face, 8, 30), 7), "#a9664f", 0.85, skin)
    blouse(layer, skin)
    for side in SIDES:
        coat(layer, side)
    layer.paint(ramp((330, 0), (500, 0)), COAT_DARK, 0.3, layer.alpha * (1 - skin))
    return layer


def ear(layer: Layer, side: bool) -> None:
    shape = fill(
        path("172,222 156,214 144,220 141,240 146,264 153,285 162,293 172,288 180,256", flip=side)
    )
    layer.paint(shape, "#d79f80" if side else "#e6b394")
    fold = stroke(path("160,228 152,232 152,250 157,270", flip=side), 5, blur=1.6)
    layer.paint(fold, SHADE, 0.8, shape)
    layer.paint(stroke(path("163,244 157,252 161,264", flip=side), 4, blur=1.4), DEEP, 0.5, shape)
    x = 354 if side else 158
    layer.paint(oval(x, 287, 3.4, 3.4, blur=0.3), "#d9a441")
    layer.paint(oval(x - 1, 286, 1.2, 1.2, blur=0.3), "#fff3cf")


def face_skin(layer: Layer, face: Mask, hair: Mask) -> None:
    layer.paint(face, SKIN)
    inner = [(x + (256 - x) * 0.16 - 4, y + (236 - y) * 0.1) for x, y in FACE]
    layer.paint(1 - soften(fill(inner), 15), SHADE, 0.62, face)
    layer.paint(ramp((268, 200), (372, 250)), SHADE, 0.55, face)
    for x, y, rx, ry, blur, strength in (
        (240, 160, 56, 30, 22, 0.75),
        (206, 262, 26, 20, 12, 0.6),
        (302, 260, 22, 18, 12, 0.35),
        (254, 354, 20, 11, 8, 0.55),
    ):
        layer.paint(oval(x, y, rx, ry, blur), LIGHT, strength, face)
    for x, strength in ((196, 0.34), (316, 0.38)):
        layer.paint(oval(x, 278, 24, 17, blur=12), "#e0776a", strength, face)
    for x in (212, 300):
        layer.paint(oval(x, 222, 28, 13, blur=8), "#c07f66", 0.5, face)
        layer.paint(oval(x, 213, 26, 5, blur=4), LIGHT, 0.35, face)
        layer.paint(oval(x, 250, 20, 3, blur=2.5), "#c58a70", 0.3, face)
    for x in (236, 276):
        layer.paint(oval(x, 226, 7, 14, blur=5), "#b97a62", 0.45, face)
    layer.paint(soften(shifted(hair, 3, 9), 6), "#b06d52", 0.7, face)
    layer.paint(oval(262, 372, 60, 10, blur=7), "#c98468", 0.55, face)


def nose(layer: Layer, face: Mask) -> None:
    for outline, blur, code, strength in (
        ("250,206 246,232 250,262 248,284 256,292 264,284 264,240 262,206", 5, LIGHT, 0.55),
        ("270,208 268,236 272,262 282,284 276,292 266,272 264,240", 5, SHADE, 0.6),
        ("240,208 242,236 240,264 232,282 238,288 246,266", 6, SHADE, 0.28),
    ):
        layer.paint(fill(path(outline), blur), code, strength, face)
    layer.paint(oval(256, 297, 19, 5, blur=3.4), "#b8705a", 0.6, face)
    for side in SIDES:
        wing = stroke(path("234,280 230,288 234,295 241,295", flip=side), 2.5, 0.9, (0.2, 0.4))
        layer.paint(wing, "#a8604d", 0.85 if side else 0.7, face)
        nostril = oval(266.5 if side else 245.5, 294.6, 5.2, 2.2, 0.9, 14 if side else -14)
        layer.paint(nostril, "#6e352c", 0.85, face)
    layer.paint(oval(254, 283, 6.5, 5, blur=2.6), "#fff1e2", 0.75, face)
    layer.paint(oval(253, 250, 2.6, 18, blur=2), "#fff1e2", 0.35, face)


def mouth(layer: Layer, face: Mask) -> None:
    """Closed lips with a clear line, the corners a little up; relative to its middle."""
    y = 322.0
    layer.paint(oval(256, y - 16, 4.5, 8, blur=2.4), SHADE, 0.45, face)
    cupid = "218,-4.5 232,-7.5 246,-11.5 256,-9.2 266,-11.5 280,-7.5 294,-4.5"
    upper = fill(path(f"{cupid} 276,1.5 256,2.8 236,1.5", dy=y), blur=0.7)
    lower = fill(
        path(
            "220,-3.6 238,0.6 256,1.8 274,0.6 292,-3.6 282,6.5 269,12.8 256,14.4 243,12.8 230,6.5",
            dy=y,
        ),
        blur=0.9,
    )
    layer.paint(oval(256, y + 21, 24, 4.4, blur=3.6), "#bb7760", 0.62, face)
    layer.paint(lower, "#d4736c")
    layer.paint(oval(256, y + 14, 30, 5, blur=3), "#b2544f", 0.55, lower)
    layer.paint(oval(252, y + 6.6, 15, 3.2, blur=2.2), "#f4b3a6", 0.85, lower)
    layer.paint(upper, "#b9564f")
    layer.paint(oval(250, y - 7, 16, 3, blur=2), "#d1766b", 0.8, upper)
    layer.paint(oval(256, y + 1, 32, 2.4, blur=1.5), "#8c3837", 0.6, upper)
    line = "216,-6.4 224,-3 239,0.7 249,1.3 256,2.5 263,1.3 273,0.7 288,-3 296,-6.4"
    layer.paint(stroke(path(line, dy=y), 2.3, blur=0.45, ends=(0.4, 0.4)), "#5e2226", 0.95)
    for side in SIDES:
        corner = oval(296.5 if side else 215.5, y - 6.2, 3.4, 2.4, 1.6, -40 if side else 40)
        layer.paint(corner, "#8a4438", 0.4, face)
    rim = path("226,-8 246,-13.6 256,-11 266,-13.6 286,-8", dy=y)
    layer.paint(stroke(rim, 1.8, blur=1), LIGHT, 0.55, face)


def brow(layer: Layer, side: bool) -> None:
    top = path("235,200.5 218,193.8 200,191.6 183,197 170,208.5", flip=side)
    bottom = path("235,206.5 218,201.4 200,198.6 184,202.2 170,209.5", flip=side)
    shape = fill([*top, *bottom[::-1]], blur=1.6)
    layer.paint(shape, "#5b3626", 0.68)
    hairs = strands(top, bottom, 60, (0.4, 0.8), 41 + side)
    layer.paint(hairs, "#3a2017", 0.6, soften(shape, 0.4))


def front_hair() -> tuple[Mask, list[tuple[Points, Points]]]:
    """Its outline, and the pairs of guides that its strands follow."""
    guides = [
        (
            path("292,96 262,122 222,148 184,180 163,216 153,240 146,268 140,306"),
            path("284,48 222,46 164,78 134,136 122,204 118,246 116,280 118,312"),
        ),
        (
            path("292,96 306,120 330,152 347,188 356,220 361,242 367,270 373,306"),
            path("284,48 330,54 370,92 388,146 394,208 397,248 398,280 396,312"),
        ),
    ]
    left, right = (fill([*inner, *outer[::-1]], 0.5) for inner, outer in guides)
    fade = 1 - ramp((0, 262), (0, 306))
    return np.maximum(left, right) * fade, guides


@cache
def head() -> tuple[Layer, Mask]:
    """Ears, face and the hair before it, eyes left out; and the face's mask."""
    layer = Layer()
    face = fill(FACE)
    hair, guides = front_hair()
    for side in SIDES:
        ear(layer, side)
    ears = layer.alpha.copy()
    layer.paint(soften(hair, 4), DEEP, 0.4, ears)
    layer.paint(soften(face, 3), "#b0694f", 0.75, ears)
    face_skin(layer, face, hair)
    nose(layer, face)
    mouth(layer, face)
    for side in SIDES:
        brow(layer, side)
    layer.paint(hair, HAIR)
    shines = ((178, 116, -46, 0.95), (358, 122, 58, 0.6))
    for number, ((inner, outer), (x, y, tilt, glow)) in enumerate(zip(guides, shines, strict=True)):
        layer.paint(strands(inner, outer, 260, (0.4, 1.6), 60 + number), HAIR_DARK, 0.55, hair)
        layer.paint(strands(inner, outer, 260, (0.4, 1.5), 70 + number), HAIR_MID, 0.6, hair)
        shine = oval(x, y, 62, 17, blur=9, tilt=tilt)
        layer.paint(shine, HAIR_MID, 0.6, hair)
        fine = strands(inner, outer, 320, (0.3, 1.1), 80 + number, reach=0.6)
        layer.paint(fine, HAIR_LIGHT, glow, hair * shine)
    parting = stroke(path("292,97 289,80 285,50"), 1.8, blur=0.9, ends=(0.2, 0.2))
    layer.paint(parting, HAIR_DARK, 0.85, hair)
    return layer, face
