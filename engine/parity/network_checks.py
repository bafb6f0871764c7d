"""Checks that run networks: the preparation of an avatar, and tiny networks from end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from engine.core.persona import ping_pong
from engine.core.remedies import install_extras
from engine.parity.avatar import prepared
from engine.parity.sound_checks import MEL_ALLOWED, TABLE_ALLOWED, as_served, case_of, streamed_mel
from engine.parity.vectors import EXACT, LEVEL, Comparison, Result, Vectors

LATENTS_ALLOWED = 1e-4
UNSCALED_ALLOWED = 1e-5  # a convolution multiplies, where the reference divides
MOST_SAMPLES = 160_000  # of a clip that is gathered in one batch
INSTALL = f"needs the networks' libraries. Install them with: {install_extras('models')}"


def installed() -> bool:
    """Whether this installation has the libraries of the networks."""
    return find_spec("torch") is not None and find_spec("diffusers") is not None


def _not_run(check: str, allowed: float) -> Result:
    return Result(check, np.inf, allowed, INSTALL, ran=False)


def device_windows(folder: Path) -> Iterator[Result]:
    """The windows as the device gathers them."""
    vectors = Vectors(folder, "a_audio_chunks")
    checks = "audio windows on the device", "audio windows of real width"
    if not installed():
        yield from (_not_run(check, EXACT) for check in checks)
        return
    from engine.parity.tiny import device_tokens

    marks, wide = (Comparison(check) for check in checks)
    for key in vectors.some("prompt_"):
        if as_served(key) and case_of(key)[0] <= MOST_SAMPLES:
            marks.add(key, device_tokens(case_of(key)[0]), vectors[key])
    yield marks.result
    for key in vectors.some("full_prompt_"):
        states = vectors[vectors.some("full_hidden_first")[0]].swapaxes(0, 1)
        if as_served(key):
            wide.add(key, device_tokens(case_of(key)[0], states), vectors[key])
    yield wide.result


def device_mel(folder: Path) -> Iterator[Result]:
    """A stream's log-mel as the device floors and scales it."""
    check = "log-mel on the device"
    vectors = Vectors(folder, "g_logmel")
    if not installed():
        yield _not_run(check, MEL_ALLOWED)
        return
    from engine.parity.tiny import device_mels

    yield streamed_mel(vectors, check, device_mels)


def device_places(folder: Path) -> Iterator[Result]:
    """Tokens with their places, as the device adds them, in either precision."""
    vectors = Vectors(folder, "b_positional_encoding")
    tokens, half = vectors["x"], vectors["y_fp16"].astype(np.float16)
    step = float(np.spacing(np.abs(half).max()))  # of half precision
    # A table that differs by its rounding can turn the last bit of a sum with a large token.
    single = max(TABLE_ALLOWED, float(np.spacing(np.abs(vectors["y_fp32"]).max())))
    checks = {"tokens with positions, fp32": single, "tokens with positions, fp16": step}
    if not installed():
        yield from (_not_run(*check) for check in checks.items())
        return
    from engine.parity import tiny

    pairs = (tokens, vectors["y_fp32"]), (tokens.astype(np.float16), half)
    for (check, allowed), (entered, expected) in zip(checks.items(), pairs, strict=True):
        comparison = Comparison(check, allowed)
        comparison.add("sum", tiny.device_places(entered), expected)
        yield comparison.result


def device_faces(folder: Path) -> Iterator[Result]:
    """Latents into the decoder and its output to pictures, as the device does both."""
    vectors = Vectors(folder, "c_image_pre_post")
    checks = {
        "latents to decoder, fp32": UNSCALED_ALLOWED,
        "network to image, fp32": EXACT,
        "latents to decoder, fp16": 0.0,
        "network to image, fp16": LEVEL,
    }
    largest = float(np.abs(vectors["unscaled_latent_fp16"]).max())
    checks["latents to decoder, fp16"] = float(np.spacing(np.float16(largest)))
    if not installed():
        yield from (_not_run(*check) for check in checks.items())
        return
    from engine.parity import tiny

    for name, kind in (("fp32", np.float32), ("fp16", np.float16)):
        latents, planes = vectors["decode_latent_in"], vectors["decode_sample"]
        into = Comparison(check := f"latents to decoder, {name}", checks[check])
        into.add(name, tiny.unscaled(latents.astype(kind)), vectors[f"unscaled_latent_{name}"])
        yield into.result
        out = Comparison(check := f"network to image, {name}", checks[check])
        out.add(name, tiny.device_faces(planes.astype(kind)), vectors[f"decoded_bgr_{name}"])
        yield out.result


def avatar_preparation(folder: Path) -> Iterator[Result]:
    """Checks the stored entries of an avatar: N that represent upstream's 2N."""
    vectors = Vectors(folder, "h_avatar_prepare")
    coords, squares = vectors["coords"], vectors["mask_coords"]
    count = len(coords) // 2
    version = str(json.loads(str(vectors["info"]))["version"])
    order = [ping_pong(k, count) for k in range(len(coords))]
    personas = list(prepared(coords[:count], version))
    comparison = Comparison("avatar preparation")
    comparison.add("coords", [personas[source].boxes[0] for source in order], coords)
    comparison.add("mask_coords", [personas[source].crops[0] for source in order], squares)
    for source, persona in enumerate(personas):
        sides = squares[order.index(source), 2:] - squares[order.index(source), :2]
        comparison.add(f"mask {source}", persona.masks[0].shape[::-1], sides)
        for each in (persona.boxes, persona.crops):
            comparison.add(f"still {source}", each, each[[0] * len(each)])
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
