"""A model that asks for gigabytes is refused before it takes them; large classifiers are not."""

from __future__ import annotations

import resource
import time
from typing import Any

import pytest
import torch

from pipeline.network.models.memory import TooLargeError, few_parts, require_moderate
from pipeline.network.models.spec import ModelSpec

VIT = "vit_tiny_patch16_224"


@pytest.mark.parametrize(
    ("library", "name", "changes", "complaint"),
    [
        (
            "torchvision",
            "resnet50",
            {"options": {"width_per_group": 2000}},
            "options: .*1200000000 parameters",
        ),
        ("torchvision", "resnet50", {"options": {"width_per_group": 100_000}}, "options: .* parameters"),
        ("timm", VIT, {"options": {"depth": 100_000}}, "options: .* has more than 10000 modules"),
        ("timm", VIT, {"options": {"img_size": 4096, "patch_size": 1}}, "options: .* parameters"),
        ("torchvision", "mobilenet_v2", {"input_size": 4096}, "input_size: .* at 4096 pixels has a layer"),
        (
            "torchvision",
            "regnet_x_400mf",
            {"input_size": 4096},
            "input_size: .* at 4096 pixels has a layer",
        ),
    ],
)
def test_a_model_that_takes_gigabytes_is_refused_in_little_time_and_memory(
    library: str, name: str, changes: dict[str, Any], complaint: str
) -> None:
    began_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLargeError, match=f"^model.{complaint}"):
        require_moderate(ModelSpec(name, library, **changes))
    assert time.monotonic() - began_s < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@pytest.mark.parametrize(
    ("library", "name", "changes"),
    [
        ("torchvision", "vit_h_14", {}),
        ("torchvision", "mobilenet_v2", {"input_size": 1024, "options": {"num_classes": 21_841}}),
        ("timm", "convnext_xxlarge", {"input_size": 256}),
        ("timm", "eva_giant_patch14_560", {"input_size": 560}),
        ("torchvision", "vgg16", {"input_size": 31}),  # which it cannot take; the build tells
    ],
)
def test_other_models_are_not(library: str, name: str, changes: dict[str, Any]) -> None:
    require_moderate(ModelSpec(name, library, **changes))


def test_parts_are_counted_where_the_meta_device_is_of_no_use() -> None:
    with pytest.raises(TooLargeError, match="more than 1200000000 parameters"), few_parts("m"):
        torch.nn.Linear(2**16, 2**16)  # which is not filled yet
    torch.nn.Linear(2, 2)
