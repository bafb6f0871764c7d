"""Checks that run networks: the preparation of an avatar, and tiny networks from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from engine.musetalk.windows import PADDING
from engine.parity.avatar import prepared
from engine.parity.sound import case_of
from engine.parity.vectors import EXACT, LEVEL, Comparison, Result, Vectors
from engine.persona import ping_pong
from engine.types import FPS

LATENTS_ALLOWED = 1e-4
MOST_SAMPLES = 160_000  # of a clip that is gathered in one batch
INSTALL = "needs the networks' libraries. Install them with: make setup-all"


def installed() -> bool:
    """Whether this installation has the libraries of the networks."""
    return find_spec("torch") is not None and find_spec("diffusers") is not None


def _not_run(check: str, allowed: float) -> Result:
    return Result(check, np.inf, allowed, INSTALL, ran=False)


def device_windows(folder: Path) -> Iterator[Result]:
    """The windows as the device gathers them."""
    check = "audio windows on the device"
    vectors = Vectors(folder, "a_audio_chunks")
    if not installed():
        yield _not_run(check, EXACT)
        return
    from engine.parity.tiny import device_tokens

    comparison = Comparison(check)
    for key in vectors.some("prompt_"):
        samples, fps, left, right = case_of(key)
        if fps == FPS and left == right == PADDING and samples <= MOST_SAMPLES:
            comparison.add(key, device_tokens(samples), vectors[key])
    yield comparison.result


def device_faces(folder: Path) -> Iterator[Result]:
    """The decoder's output to pictures, as the device does it."""
    check = "network to image on the device"
    vectors = Vectors(folder, "c_image_pre_post")
    if not installed():
        yield _not_run(check, LEVEL)
        return
    from engine.parity import tiny

    comparison = Comparison(check, LEVEL)
    comparison.add("fp32", tiny.device_faces(vectors["decode_sample"]), vectors["decoded_bgr_fp32"])
    yield comparison.result


def avatar_preparation(folder: Path) -> Iterator[Result]:
    """What is kept of an avatar: N entries that stand for upstream's 2N."""
    vectors = Vectors(folder, "h_avatar_prepare")
    coords, squares = vectors["coords"], vectors["mask_coords"]
    count = len(coords) // 2
    comparison = Comparison("avatar preparation")
    order = [ping_pong(k, count) for k in range(len(coords))]
    comparison.add("coords", coords[:count][order], coords)
    for source, persona in enumerate(prepared(coords[:count])):
        same = [place for place in range(len(coords)) if order[place] == source]
        comparison.add(f"box {source}", persona.boxes[[0] * len(same)], coords[same])
        comparison.add(f"square {source}", persona.crops[[0] * len(same)], squares[same])
        sides = squares[same[0], 2:] - squares[same[0], :2]
        comparison.add(f"mask {source}", persona.masks[0].shape[::-1], sides)
    yield comparison.result
    if not installed():
        yield _not_run("avatar latents", EXACT)
        return
    from engine.parity.tiny import TinyNetworks

    networks = TinyNetworks(Vectors(folder, "c_tiny_end_to_end"))
    latents = Comparison("avatar latents")
    rows = networks.latents_of(coords[:count])
    shapes = [rows[source][None].shape for source in order]
    latents.add("shapes", shapes, vectors["latent_shapes"])
    yield latents.result


def tiny_end_to_end(folder: Path) -> Iterator[Result]:
    """Pictures to latents, latents and sound to a picture, through what serves."""
    vectors = Vectors(folder, "c_tiny_end_to_end")
    images = Vectors(folder, "c_image_pre_post")
    checks = {
        "tiny networks: latents in": LATENTS_ALLOWED,
        "tiny networks: latents out": LATENTS_ALLOWED,
        "tiny networks: pixels": LEVEL,
    }
    if not installed():
        yield from (_not_run(name, allowed) for name, allowed in checks.items())
        return
    from engine.parity.tiny import TinyNetworks

    networks = TinyNetworks(vectors)
    if (largest := float(np.abs(vectors["pred_latents_from_mode"]).max())) > 1:
        checks["tiny networks: latents out"] *= largest  # as rounding does
    entered, left, pixels = (Comparison(name, allowed) for name, allowed in checks.items())
    latents = networks.latents(images["crop256_lanczos4_bgr"][None])
    entered.add("latents8_mode", latents, vectors["latents8_mode"])
    predicted, picture = networks.paint(vectors["latents8_mode"], vectors["whisper_chunk"])
    left.add("pred_latents_from_mode", predicted, vectors["pred_latents_from_mode"])
    pixels.add("recon_bgr_from_mode", picture, vectors["recon_bgr_from_mode"])
    yield from (comparison.result for comparison in (entered, left, pixels))
