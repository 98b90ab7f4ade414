"""A folder's pictures: those of a person, each once, and a line about what is left out."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from pipeline.domain.checks import ConfigError
from pipeline.network.images import ImageFolder
from pipeline.network.models.spec import ModelSpec
from pipeline.network.picture_folder import SYSTEM_FOLDERS, pictures

SPEC = ModelSpec(name="mobilenet_v2", library="torchvision", input_size=32)


def names(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in pictures(folder).files]


def make(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / file, format="JPEG")


@pytest.mark.parametrize("system", [*sorted(SYSTEM_FOLDERS), ".Trash-1000"])
def test_thumbnails_and_deleted_pictures_are_left_out(system: str, tmp_path: Path) -> None:
    make(tmp_path, "b/1.jpg", f"{system}/2.jpg", f"b/{system}/1.jpg/SYNOPHOTO_THUMB_M.jpg")
    assert names(tmp_path) == ["b/1.jpg"]
    assert pictures(tmp_path).left_out == ("" if system.startswith(".") else f"the folder {system}")


def test_every_name_of_a_jpeg_is_read(tmp_path: Path) -> None:
    make(tmp_path, "1.jpg", "2.JPEG", "3.jfif", "4.JPE")
    assert len(ImageFolder(str(tmp_path)).inputs(SPEC)) == 4


def test_one_line_says_how_many_pictures_are_used_and_what_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "1.jpg", "2.jpg", "3.HEIC", "4.heic", "5.gif", "notes.txt", "@eaDir/1.jpg")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # as the trials of a sweep
            ImageFolder(str(tmp_path), count=1).inputs(SPEC)
    left_out = "left out: 2 .heic, 1 .gif, the folder @eaDir"
    assert caplog.messages == [f"images.path: 1 of 2 pictures in {tmp_path} are used; {left_out}"]
    for file in ("1.jpg", "2.jpg"):
        (tmp_path / file).unlink()
    with pytest.raises(ConfigError, match=f"images.path: no images in .*; {left_out}"):
        ImageFolder(str(tmp_path)).inputs(SPEC)


def test_nothing_is_said_where_all_pictures_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "1.jpg", "notes.txt", "._1.heic")
    ImageFolder(str(tmp_path)).inputs(SPEC)
    assert caplog.messages == []


def test_links_to_folders_are_followed_without_end_or_repetition(tmp_path: Path) -> None:
    """As torchvision's ImageFolder follows them: classes of a data set are often links."""
    make(tmp_path, "real/cat/1.jpg", "mine/dog/1.jpg", "other.jpg")
    mine = tmp_path / "mine"
    (mine / "cat").symlink_to("../real/cat")
    (mine / "cat again").symlink_to("../real/cat")
    (mine / "dog" / "round").symlink_to("..")
    (mine / "above").symlink_to("..")
    (mine / "all").symlink_to("/")
    assert names(mine) == ["cat/1.jpg", "dog/1.jpg"]
    (tmp_path / "link").symlink_to("mine")
    assert names(tmp_path / "link") == ["cat/1.jpg", "dog/1.jpg"]


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "cat/1.jpg", "dog/1.jpg")
    scandir = os.scandir

    def refuse(place: str) -> object:
        if str(place).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match="images.path: cannot read the folder .*/dog .Permission denied"):
        pictures(tmp_path)
