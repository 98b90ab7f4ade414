"""Inputs are real images at the model's size and scale; equal seeds give equal images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.domain.checks import ConfigError
from pipeline.network.images import ImageFolder, Photographs, preprocess
from pipeline.network.models.spec import ModelSpec

SPEC = ModelSpec(name="mobilenet_v2", library="torchvision", input_size=32)


def test_preprocess_by_hand() -> None:
    spec = ModelSpec(
        name="mobilenet_v2", library="torchvision", input_size=32, mean=(0.5, 0, 0), std=(0.25, 1, 2)
    )
    x = preprocess(Image.new("RGB", (40, 40), (255, 51, 102)), spec)
    assert x.shape == (1, 3, 32, 32)
    assert x[0, :, 0, 0].tolist() == pytest.approx([2.0, 0.2, 0.2])


def test_crops_are_of_both_photographs_seeded_and_different() -> None:
    first = Photographs(seed=3).inputs(SPEC, 4)
    again = Photographs(seed=3).inputs(SPEC, 4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], Photographs(seed=4).inputs(SPEC, 1)[0])
    assert len({float(x.sum()) for x in first}) == 4
    assert all(x.std() > 0.1 for x in first)


def test_a_folder_is_taken_in_order(tmp_path: Path) -> None:
    for name, value in (("b.png", 200), ("a.jpg", 100), ("notes.txt", 0)):
        if name.endswith("txt"):
            (tmp_path / name).write_text("not an image")
        else:
            Image.fromarray(np.full((50, 70, 3), value, np.uint8)).save(tmp_path / name)
    x = ImageFolder(str(tmp_path)).inputs(SPEC, 3)
    assert len(x) == 2
    assert x[0].mean() < x[1].mean()
    assert torch.equal(x[0], ImageFolder(str(tmp_path), count=1).inputs(SPEC)[0])


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="images.path: no such folder .*nowhere"):
        ImageFolder(str(tmp_path / "nowhere")).inputs(SPEC, 3)
    with pytest.raises(ConfigError, match="images.path: no images in"):
        ImageFolder(str(tmp_path)).inputs(SPEC, 3)
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(ConfigError, match="cannot read the image .*broken.png"):
        ImageFolder(str(tmp_path)).inputs(SPEC, 3)
    with pytest.raises(ConfigError, match=r"images.count: must be a whole number >= 1 \(it is 0\)"):
        Photographs(count=0)


@pytest.mark.parametrize("side", [8000, 13_000, 20_000])
def test_a_picture_beyond_the_limit_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.ppm").write_bytes(f"P6 {side} {side} 255\n".encode())
    with pytest.raises(ConfigError, match=r"a\.ppm \(.*pixels.*; images\.most_pixels: 50000000\)$"):
        ImageFolder(str(tmp_path)).inputs(SPEC, 1)


def test_the_limit_of_pixels_is_a_key(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    assert len(ImageFolder(str(tmp_path), most_pixels=2000).inputs(SPEC)) == 1
    with pytest.raises(ConfigError, match="50 x 40 pixels are more than 1999"):
        ImageFolder(str(tmp_path), most_pixels=1999).inputs(SPEC)
    with pytest.raises(ConfigError, match=r"images\.most_pixels: must be a whole number >= 1"):
        ImageFolder(str(tmp_path), most_pixels=0)


def test_a_pipe_and_a_format_that_starts_programs_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"cannot read the image .*a\.png \(.*is not a file"):
        ImageFolder(str(tmp_path)).inputs(SPEC)
    (tmp_path / "a.png").unlink()
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png", format="EPS")
    with pytest.raises(ConfigError, match=r"cannot read the image .*a\.png \(cannot identify"):
        ImageFolder(str(tmp_path)).inputs(SPEC)
