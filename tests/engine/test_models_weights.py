"""Published files to what serving loads, and what is said when they are not good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from app.cli import app
from engine.errors import BackendUnavailable
from engine.models import networks
from engine.models.configs import SMALL
from engine.models.header import fingerprint
from engine.models.layout import NETWORKS
from engine.prepare.weights import BrokenWeights, convert, verify

KL = NETWORKS["kl"]
CPU = torch.device("cpu")


def publish(models: Path, name: str, weights: dict[str, Any], config: Any = None) -> Path:
    """Lay a network's files out as upstream does."""
    network = NETWORKS[name]
    path = network.weights_path(models)
    path.parent.mkdir(parents=True, exist_ok=True)
    network.config_path(models).write_text(json.dumps(config or SMALL[network.kind]))
    torch.save(weights, path)
    return path


def old_names(weights: dict[str, Any]) -> dict[str, Any]:
    """As sd-vae-ft-mse was saved, years ago."""
    renames = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, value in weights.items():
        for new, before in renames.items():
            if "attentions" in name:
                name = name.replace(f".{new}.", f".{before}.")
        old[name] = value
    return old


def test_old_attention_names_are_read_and_everything_is_halved(tmp_path: Path) -> None:
    weights = networks.build("kl", SMALL["kl"]).state_dict()
    assert old_names(weights).keys() != weights.keys()
    publish(tmp_path, "kl", old_names(weights))
    convert(tmp_path, KL)
    loaded = networks.load(tmp_path, "kl", torch.float16, CPU).state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name].half()) for name in weights)


def test_of_whisper_only_the_encoder_is_kept(tmp_path: Path) -> None:
    encoder = networks.build("whisper", SMALL["whisper"]).state_dict()
    whole = {f"model.encoder.{name}": value for name, value in encoder.items()}
    publish(tmp_path, "whisper", whole | {"model.decoder.layer_norm.weight": torch.ones(384)})
    convert(tmp_path, NETWORKS["whisper"])
    loaded = networks.load(tmp_path, "whisper", torch.float32, CPU).state_dict()
    assert loaded.keys() == encoder.keys()


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    weights = dict(networks.build("tiny", SMALL["tiny"]).state_dict())
    network = NETWORKS["tiny"]
    lost = next(iter(weights))
    del weights[lost]
    publish(tmp_path, "unet-v15", weights, SMALL["tiny"])
    with pytest.raises(BrokenWeights, match=r"unet\.pth does not fit its configuration"):
        convert(tmp_path, NETWORKS["unet-v15"])
    network.config_path(tmp_path).parent.mkdir()
    network.config_path(tmp_path).write_text("{")
    with pytest.raises(BrokenWeights, match=r"config\.json is not JSON"):
        convert(tmp_path, network)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = publish(tmp_path, "kl", dict(networks.build("kl", SMALL["kl"]).state_dict()))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BrokenWeights, match=r"truncated or damaged\. Download it again"):
        convert(tmp_path, KL)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BrokenWeights, match="voipavatar models download"):
        convert(tmp_path, KL)


def test_a_converted_file_that_changed_is_found(tmp_path: Path, tiny_models: Path) -> None:
    ready = NETWORKS["tiny"].ready_path(tmp_path)
    ready.parent.mkdir()
    content = bytearray(NETWORKS["tiny"].ready_path(tiny_models).read_bytes())
    content[-1] ^= 1
    ready.write_bytes(content)
    (verdict,) = (each for each in verify(tmp_path) if each.name == "tiny")
    assert "changed since its conversion" in verdict.fault
    ready.write_bytes(content[:-8])
    with pytest.raises(BackendUnavailable, match=r"truncated or damaged\. Run `voipavatar models"):
        networks.load(tmp_path, "tiny", torch.float32, CPU)


def test_every_network_of_random_weights_is_good(tiny_models: Path) -> None:
    verdicts = list(verify(tiny_models))
    assert {each.name for each in verdicts} == set(NETWORKS)
    assert all(each.origin == "random, seed 7" and not each.fault for each in verdicts)
    assert fingerprint(tiny_models, ("kl",)) != fingerprint(tiny_models, ("kl", "tiny"))


def test_the_command_makes_the_same_weights_of_the_same_seed(tmp_path: Path) -> None:
    prints = []
    for folder in ("first", "second"):
        models = tmp_path / folder
        run = ["models", "init-random", "--size", "tiny", "--seed", "7", "kl", "--models"]
        done = CliRunner().invoke(app, [*run, str(models)])
        assert done.exit_code == 0, done.output
        prints.append(fingerprint(models, ("kl",)))
    assert prints[0] == prints[1]
    shown = CliRunner().invoke(app, ["models", "verify", "--models", str(tmp_path / "first")])
    assert shown.exit_code == 0
    assert "random, seed 7" in shown.output


def test_the_commands_refuse_in_a_sentence(tmp_path: Path) -> None:
    for arguments in (["verify"], ["convert", "kl"], ["convert", "nonsense"]):
        done = CliRunner().invoke(app, ["models", *arguments, "--models", str(tmp_path)])
        assert done.exit_code == 1
        assert "Traceback" not in done.output
