"""Weights of a file: found by name, in wrappers and below prefixes, or refused in one line."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.domain.checks import ConfigError
from tests.network.test_models import small


@pytest.mark.parametrize("ending", ["pt", "pth", "safetensors"])
def test_weights_from_a_file(ending: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    source, path = small(seed=3).build(), tmp_path / f"weights.{ending}"
    (save_file if ending == "safetensors" else torch.save)(source.state_dict(), path)
    loaded = small(weights=str(path)).build()
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(loaded(x), source(x))


def test_weights_of_an_installed_package_are_read_without_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "site" / "trap" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    torch.save(small().build().state_dict(), inner / "net.pth")
    shutil.copy(inner / "net.pth", tmp_path / "site" / "net.pth")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert small(weights="package:trap.inner/net.pth").build() is not None
    with pytest.raises(ConfigError, match=r"package:trap/../net.pth .it lies outside the package trap"):
        small(weights="package:trap/../net.pth").build()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("prefix", ["module.", "module.model.", "backbone.", "net/"])
@pytest.mark.parametrize(
    "wrappers", [(), ("state_dict",), ("model",), ("model_state_dict",), ("model", "state_dict")]
)
def test_weights_go_by_name_below_a_prefix_and_in_wrappers(
    prefix: str, wrappers: tuple[str, ...], tmp_path: Path
) -> None:
    """In another order, as of a file that a newer or older program wrote, without its counters."""
    source, path = small(seed=3).build(), tmp_path / "weights.pt"
    state = dict(reversed(source.state_dict().items()))
    content: dict[str, Any] = {
        f"{prefix}{key}": value for key, value in state.items() if "num_batches" not in key
    }
    content["criterion.weight"] = torch.ones(3)  # of the training
    for wrapper in wrappers:
        content = {"epoch": 3, "optimizer": {"state": {}}, wrapper: content}
    torch.save(content, path)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(small(weights=str(path)).build()(x), source(x))


def test_safetensors_may_have_a_prefix_too(tmp_path: Path) -> None:
    """Its files have their keys in the order of the alphabet."""
    from safetensors.torch import save_file

    source, path = small(seed=3).build(), tmp_path / "weights.safetensors"
    save_file({f"module.{key}": value for key, value in source.state_dict().items()}, path)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(small(weights=str(path)).build()(x), source(x))


SETS: list[tuple[str, str, Any]] = [
    ("state_dict", "state_dict_ema", {"epoch": 3, "optimizer": {"state": {0: torch.ones(1)}}}),  # timm's
    ("model", "model_ema", {"args": {"lr": 0.1}}),  # torchvision's
    ("net", "net_ema", {}),
    ("state_dict", "model", {}),
    ("student.", "teacher.", {}),
    ("model.", "model.ema.", {}),
    (".", "ema.", {}),
]


@pytest.mark.parametrize(("one", "other", "beside"), SETS, ids=[f"{one} {other}" for one, other, _ in SETS])
@pytest.mark.parametrize("outer", ["", "model"])
def test_of_two_sets_of_weights_the_key_says_which(
    one: str, other: str, beside: Any, outer: str, tmp_path: Path
) -> None:
    """timm's own loader takes the averaged weights of its checkpoints, others the last ones."""
    path, x = tmp_path / "weights.pt", torch.randn(1, 3, 32, 32)
    sources = {one: small(seed=3).build(), other: small(seed=4).build()}
    content = {**beside}
    for place, source in sources.items():
        if place.endswith("."):
            content |= {f"{place}{key}".lstrip("."): value for key, value in source.state_dict().items()}
        else:
            content[place] = source.state_dict()
    torch.save({outer: content} if outer else content, path)
    with pytest.raises(ConfigError, match="weights under each of|has two of them") as refused:
        small(weights=str(path)).build()
    for place, source in sources.items():
        key = f"{outer}.{place.lstrip('.')}" if outer else place
        assert f"++model.weights_key={key}" in str(refused.value)
        assert torch.equal(small(weights=str(path), weights_key=key).build()(x), source(x))


def test_a_mapping_without_tensors_is_no_set_of_weights(tmp_path: Path) -> None:
    source, path, x = small(seed=3).build(), tmp_path / "weights.PTH", torch.randn(1, 3, 32, 32)
    torch.save({"model": {"name": "mine", "classes": 9}, "state_dict": source.state_dict()}, path)
    assert torch.equal(small(weights=str(path)).build()(x), source(x))


def test_a_set_of_weights_under_an_unknown_key_is_named(tmp_path: Path) -> None:
    source, path, x = small(seed=3).build(), tmp_path / "weights.pt", torch.randn(1, 3, 32, 32)
    torch.save({"net": source.state_dict(), "epoch": 3}, path)
    with pytest.raises(ConfigError, match=r"its keys: net, epoch; name .*: \+\+model.weights_key=net\)$"):
        small(weights=str(path)).build()
    assert torch.equal(small(weights=str(path), weights_key="net").build()(x), source(x))


def test_a_key_that_names_no_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": {"a.b": torch.zeros(1)}, "model_ema": {"shadow": [torch.zeros(1)]}}, path)
    for key, message in (
        ("state_dict.c", r"has no keys below 'c', as model.weights_key says \(one is 'a.b'\)"),
        ("model_ema", r"must hold a state_dict \(its keys: shadow"),
        ("gone", "weights under each of state_dict, model_ema"),
    ):
        with pytest.raises(ConfigError, match=f"^model.weights: .*{message}"):
            small(weights=str(path), weights_key=key).build()
    with pytest.raises(
        ConfigError, match="model.weights_key: names a part of a file, and model.weights is random"
    ):
        small(weights_key="state_dict")
    with pytest.raises(ConfigError, match="model.weights_key: must be text"):
        small(weights=str(path), weights_key=3)


def test_position_decides_only_where_it_is_asked_to(tmp_path: Path) -> None:
    source, path = small(seed=3).build(), tmp_path / "weights.pt"
    torch.save(
        {f"n{k}.{key.rpartition('.')[2]}": v for k, (key, v) in enumerate(source.state_dict().items())}, path
    )
    with pytest.raises(
        ConfigError, match="does not fit .missing: 262, unknown: 314.*set ..model.weights_by_order=t"
    ):
        small(weights=str(path)).build()
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(small(weights=str(path), weights_by_order=True).build()(x), source(x))
    swap = {"running_mean": "running_var", "running_var": "running_mean"}
    other = {
        f"{key.rpartition('.')[0]}.{swap.get(key.rpartition('.')[2], key.rpartition('.')[2])}": value
        for key, value in source.state_dict().items()
    }
    torch.save(other, path)
    with pytest.raises(ConfigError, match="by order .314 weights for 314; .*running_var for .*running_mean"):
        small(weights=str(path), weights_by_order=True).build()


def test_weights_without_a_finite_answer_are_refused_with_the_layer_at_fault(tmp_path: Path) -> None:
    """Variances below 0."""
    state, path = small(seed=3).build().state_dict(), tmp_path / "weights.pt"
    torch.save({k: -v if k.endswith("running_var") else v for k, v in state.items()}, path)
    message = r"^model.weights: mobilenet_v2 gives answers that are not finite \(NaN or infinity, first from "
    with pytest.raises(ConfigError, match=message + r"features.0.1 \(BatchNorm2d\)\); check that"):
        small(weights=str(path)).build()
    state["classifier.1.bias"][7] = torch.inf
    torch.save(state, path)
    with pytest.raises(ConfigError, match=message + r"classifier.1 \(Linear\)"):
        small(weights=str(path)).build()


def test_weights_of_a_file_are_tried_at_the_input_size(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    vit = small(name="deit_tiny_patch16_224", library="timm", options={"img_size": 32})
    torch.save(vit.build().state_dict(), path)
    with pytest.raises(ConfigError, match="^model.input_size: deit_tiny_patch16_224 cannot take 64 pixels"):
        replace(vit, weights=str(path), input_size=64).build()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.zeros(1)}, r"for mobilenet_v2, does not fit \(missing: 262, unknown: 1"),
        ([1, 2], r"must hold a state_dict \(it holds a list\)"),
        ({"a": 1}, "must hold a state_dict"),
        (subprocess.Popen, "must hold only tensors"),
        ({"a": torch.zeros(2, device="meta")}, "must hold plain tensors"),
        ({"a": torch.zeros(2).to_sparse()}, "must hold plain tensors"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "must hold plain tensors"),
        ({"a": torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8)}, "must hold plain tensors"),
    ],
)
def test_files_that_hold_something_else(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(ConfigError, match=f"^model.weights: .*{message}"):
        small(weights=str(path)).build()


def test_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=r"^model.weights: cannot read"):
        small(weights=str(path)).build()
