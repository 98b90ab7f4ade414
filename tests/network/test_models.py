"""Equal specs build equal models, errors are one line, and real weights classify a photograph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import MissingMandatoryValue, OmegaConf
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from pipeline.domain.checks import ConfigError
from pipeline.network.models import libraries
from pipeline.network.models.spec import ModelSpec
from tests.conftest import ROOT, configured, shipped

CONF = ROOT / "conf" / "model"
DAISY = 985
"""Its index among ImageNet's classes."""


def small(**changes: Any) -> ModelSpec:
    spec: dict[str, Any] = {"name": "mobilenet_v2", "library": "torchvision", "input_size": 32}
    return ModelSpec(**spec | changes)


# --- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", shipped("model"), ids=lambda path: path.stem)
def test_every_yaml_gives_a_spec(path: Path) -> None:
    config = OmegaConf.load(path)
    if path.stem in ("torchvision", "timm"):
        with pytest.raises(MissingMandatoryValue):
            instantiate(config)
        config.name = "resnet18"
    spec = instantiate(config)
    assert isinstance(spec, ModelSpec)
    assert isinstance(spec.mean, tuple)
    assert isinstance(spec.std, tuple)
    hash(spec)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"library": "keras"}, r"model.library: must be torchvision or timm \(library: 'keras'\)"),
        ({"name": ""}, r"model.name: must be text"),
        ({"weights": None}, r"model.weights: must be text"),
        ({"seed": -1}, r"model.seed: must be a whole number from 0 to 9223372036854775807 \(it is -1\)"),
        ({"input_size": 0}, r"model.input_size: must be a whole number >= 1"),
        ({"input_size": 20_000}, r"model.input_size: must be at most 4096 \(it is 20000\)"),
        ({"options": {"num_classes": 2_000_000}}, r"model.options.num_classes: must be at most 100000 \(it"),
        ({"options": {"img_size": [64, 20_000]}}, r"model.options.img_size: must be at most 4096"),
        ({"options": {"head": {"dim": 1e9}}}, r"model.options.head.dim: must be at most 100000"),
        ({"mean": [0.5]}, r"model.mean: must be three numbers, one per channel \(mean: \[0.5\]\)"),
        (
            {"mean": [10**400, 0, 0]},
            r"model.mean: must be three numbers, one per channel \(mean: \[10{58}\)$",
        ),
        ({"std": [1, 1, "x"]}, r"model.std: must be three numbers"),
        ({"std": [1, 1, 0]}, r"model.std: must be above 0"),
        ({"options": ["image_size"]}, r"model.options: must map"),
    ],
)
def test_bad_keys_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        small(**changes)


RESNET = {"name": "resnet18", "library": "timm"}
VIT = {"name": "vit_tiny_patch16_224", "library": "timm"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"name": "mobilnet_v2"},
            "model.name: torchvision has no classification model 'mobilnet_v2' .*mobilenet_v2",
        ),
        ({"name": "fasterrcnn_resnet50_fpn"}, "model.name: torchvision has no classification model"),
        (
            {"name": "mobilenetv4_conv_smal", "library": "timm"},
            "model.name: timm has no .*mobilenetv4_conv_small",
        ),
        ({"options": {"colour": 1}}, "model.options: mobilenet_v2 cannot be built .*colour"),
        (RESNET | {"options": {"act_layer": "evil"}}, "model.options: resnet18 cannot be built .*evil"),
        (RESNET | {"options": {"channels": [-1, 1, 1, 1]}}, "model.options: resnet18 cannot be built"),
        (RESNET | {"options": {"layers": [0, 0, 0, 0]}}, "model.input_size: resnet18 cannot take 32 pixels"),
        (VIT | {"options": {"depth": -1}}, "model.options: vit_tiny_patch16_224 cannot be built"),
        (VIT | {"options": {"embed_dim": 0}}, "model.options: vit_tiny_patch16_224 cannot be built"),
        ({"options": {"num_classes": 0}}, "model.options: mobilenet_v2 has a layer without weights"),
        (
            {"library": "timm", "name": "resnet18", "options": {"in_chans": 1}},
            "model.options.in_chans: must be 3, red, green and blue .it is 1",
        ),
        ({"weights": "nowhere.pth"}, "model.weights: cannot read nowhere.pth .*No such file"),
        (
            {"weights": "best"},
            r"model.weights: cannot read best \(expected random, pretrained, package:MODULE",
        ),
        ({"weights": "package:nowhere/x.pth"}, "model.weights: cannot read package:nowhere/x.pth .*nowhere"),
        ({"weights": "package:torch/x.pth"}, "model.weights: cannot read package:torch/x.pth .*No such file"),
        ({"input_size": 1, "name": "alexnet"}, "model.input_size: .*alexnet"),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        small(**changes).build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("library", libraries.LIBRARIES)
def test_no_internet_offers_random_weights(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    owner = libraries.timm() if library == "timm" else libraries.torchvision_models()
    monkeypatch.setattr(owner, "create_model" if library == "timm" else "get_model", unreachable)
    with pytest.raises(ConfigError, match=r"^model.weights: cannot get .*not known.*model.weights=random"):
        ModelSpec("resnet18", library, weights="pretrained").build()


# --- random weights -------------------------------------------------------------------------------


def test_random_weights_do_not_depend_on_the_threads_of_the_process() -> None:
    """A served model, with MLflow's threads, has the weights of its run."""
    threads = torch.get_num_threads()
    spec = configured("model", "mobilenetv4_conv_small", input_size=64)
    weights = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            weights.append(spec.build().state_dict())
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    one, two = weights
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_seed_gives_one_model_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, two, other = small().build(), small().build(), small(seed=1).build()
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(one(x), two(x))
    assert not torch.equal(one(x), other(x))
    assert not one.training
    assert not any(p.requires_grad for p in one.parameters())


@pytest.mark.parametrize(
    "spec",
    [
        small(),
        small(name="vit_b_32", options={"image_size": 32}),  # its head starts at 0
        small(name="resnet18", library="timm"),  # its residual branches end in weights of 0
        small(name="googlenet", input_size=64),
    ],
    ids=lambda spec: spec.name,
)
def test_random_weights_answer_at_about_unit_scale(spec: ModelSpec) -> None:
    model = spec.build()
    one, two = (torch.randn(1, 3, spec.input_size, spec.input_size) for _ in range(2))
    assert 0.05 < model(one).std() < 20
    assert (model(one) - model(two)).abs().max() > 0.05
    assert all(p.any() for name, p in model.named_parameters() if name.endswith("weight"))
    assert not any("aux" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize(
    "key", ["cache_dir", "pretrained_cfg_overlay", "checkpoint_path", "weights", "pretrained"]
)
def test_no_option_of_a_model_says_where_weights_come_from(library: str, key: str) -> None:
    """A stored model could have a file of its choice fetched into a folder of its choice."""
    with pytest.raises(
        ConfigError, match=f"^model.options.{key}: says where weights come from; use model.wei"
    ):
        small(library=library, options={key: "x"}, weights="pretrained")


def test_efficientnet_lite0_sees_a_daisy() -> None:
    """Real weights, offline; and only with the preprocessing that the config gives."""
    spec = instantiate(OmegaConf.load(CONF / "efficientnet_lite0.yaml"))
    model = spec.build()

    def top1(mean: tuple[float, ...], std: tuple[float, ...]) -> int:
        pixels = flower(spec.input_size)
        x = ((pixels - torch.tensor(mean)) / torch.tensor(std)).permute(2, 0, 1)[None]
        return int(model(x).argmax())

    assert top1(spec.mean, spec.std) == DAISY
    imagenet = small()
    assert top1(imagenet.mean, imagenet.std) != DAISY


def flower(size: int) -> Tensor:
    """sklearn's flower.jpg as ImageNet models see it: the middle 87.5%, bicubic; (size, size, 3) on 0..1."""
    image = Image.fromarray(load_sample_image("flower.jpg"))
    side = int(0.875 * min(image.size))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(square, dtype=np.float32) / 255)


# --- libraries ------------------------------------------------------------------------------------


@pytest.mark.full
def test_torchvision_imports_in_a_fresh_process_and_before_timm() -> None:
    code = (
        "import torch; from pipeline.network.models.spec import ModelSpec;"
        "print(ModelSpec('resnet18', 'timm', input_size=32).build()(torch.zeros(1, 3, 32, 32)).shape[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "1000"
