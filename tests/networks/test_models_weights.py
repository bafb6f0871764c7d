"""Published files to what serving loads, and what is said when they are not good."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from app.cli import app
from engine.core.engine_errors import BackendUnavailable
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
    with pytest.raises(BrokenWeights, match=r"truncated or damaged\. Delete it and run `voip"):
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
    for arguments in (["verify"], ["convert"]):
        done = CliRunner().invoke(app, ["models", *arguments, "--models", str(tmp_path)])
        assert done.exit_code == 1
        assert "models init-random" in done.output


class Harm:
    """What a pickle may do when it is read."""

    def __reduce__(self) -> Any:
        return print, ("harm",)


def test_a_pickle_that_holds_more_than_weights_is_not_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(tmp_path, "kl", {"weight": Harm()})
    with pytest.raises(BrokenWeights, match=r"holds more than weights.* It was not loaded\."):
        convert(tmp_path, KL)
    assert "harm" not in capsys.readouterr().out


def test_weights_that_half_precision_cannot_hold_are_refused_by_name(tmp_path: Path) -> None:
    weights = dict(networks.build("tiny", SMALL["tiny"]).state_dict())
    name = next(iter(weights))
    weights[name] = torch.full_like(weights[name], 1e6)
    publish(tmp_path, "tiny", weights)
    network = NETWORKS["tiny"]
    from safetensors.torch import save_file

    save_file(weights, network.weights_path(tmp_path))
    with pytest.raises(BrokenWeights, match=rf"tensor {name} of .* does not fit half .* 1e\+06"):
        convert(tmp_path, network)
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, network.weights_path(tmp_path))
    with pytest.raises(BrokenWeights, match=rf"tensor {name} of .* are not finite"):
        convert(tmp_path, network)
    assert not network.ready_path(tmp_path).exists()


@pytest.mark.parametrize(
    "changes", [{"down_block_types": ["NoSuchBlock"] * 4}, {"norm_num_groups": 7}]
)
def test_a_configuration_that_describes_no_network_is_named(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    weights = dict(networks.build("kl", SMALL["kl"]).state_dict())
    publish(tmp_path, "kl", weights, SMALL["kl"] | changes)
    with pytest.raises(BrokenWeights, match=r"config\.json: .* `voipavatar models download` again"):
        convert(tmp_path, KL)


def test_what_does_not_fit_is_said_in_one_sentence() -> None:
    module = networks.build("kl", SMALL["kl"])
    weights = dict(module.state_dict())
    names = list(weights)
    del weights[names[0]]
    weights["stranger"] = torch.zeros(1)
    weights[names[1]] = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="does not fit") as raised:
        networks.fill(module, weights, "kl.bin")
    said = str(raised.value)
    assert f"1 of {len(names)} tensors are missing, as {names[0]}" in said
    assert "1 are not of this network, as stranger" in said
    assert f"1 are of another shape, as {names[1]}: [2, 3], not" in said


@pytest.mark.parametrize(
    "changes",
    [{"config": "[]"}, {"config": "{"}, {"config": None}, {"digest": None}],
    ids=["a list", "torn", "no config", "no digest"],
)
def test_a_header_that_does_not_say_whole_what_it_is_of_is_refused(
    tmp_path: Path, tiny_models: Path, changes: dict[str, str | None]
) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    ready, good = (NETWORKS["tiny"].ready_path(each) for each in (tmp_path, tiny_models))
    ready.parent.mkdir()
    with safe_open(good, "pt") as file:
        header = {**file.metadata(), **changes}
    save_file(load_file(good), ready, {k: v for k, v in header.items() if v is not None})
    sentence = r"does not say whole what it holds\. Run `voipavatar models convert`"
    with pytest.raises(BackendUnavailable, match=sentence):
        networks.load(tmp_path, "tiny", torch.float32, CPU)
    with pytest.raises(BackendUnavailable, match=sentence):
        fingerprint(tmp_path, ("tiny",))
    (verdict,) = (each for each in verify(tmp_path) if each.name == "tiny")
    assert "does not say whole" in verdict.fault


def test_a_download_without_the_libraries_says_where_the_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "engine.prepare.download", None)
    done = CliRunner().invoke(app, ["models", "download", "kl", "--models", str(tmp_path)])
    assert done.exit_code == 1
    assert "make setup-all" in done.output
    assert str(KL.weights_path(tmp_path)) in done.output
    assert "stabilityai/sd-vae-ft-mse" in done.output
