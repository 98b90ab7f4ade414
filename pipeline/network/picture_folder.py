"""Which files of a folder are pictures, and what is left out. Shell."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipeline.domain.checks import ConfigError

JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
SUFFIXES = JPEG | {".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
"""Names of files that are read end in one of these, in any case."""
OTHER_PICTURES = {
    *(
        ".heic",
        ".heif",
        ".avif",
        ".gif",
        ".jp2",
        ".j2k",
        ".jxl",
        ".psd",
        ".tga",
        ".svg",
        ".exr",
        ".pbm",
        ".pnm",
    ),
    *(".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),  # of cameras
}
"""Pictures that are not read."""
SYSTEM_FOLDERS = {
    *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot"),  # of network storage
    *("$RECYCLE.BIN", "$Recycle.Bin", "System Volume Information", "Thumbs", "lost+found", "__MACOSX"),
}
"""Folders of thumbnails, deleted files and the like, beside hidden ones such as .Trash-1000."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder and its subfolders."""

    files: list[Path]
    """In the order of their paths."""
    left_out: str
    """What else looks like pictures, in words such as `7 .heic, 1 .gif, the folder @eaDir`."""


def pictures(folder: Path) -> Pictures:
    """The pictures of a folder and its subfolders, without those of other programs.

    Links to folders are followed, as by torchvision's ImageFolder, but each folder is read once, and one that
    holds this folder is not. Raises ConfigError for a folder that cannot be read.
    """
    files, others, systems = list[Path](), Counter[str](), set[str]()
    for place, folders, names in _walked(folder):
        systems |= SYSTEM_FOLDERS.intersection(folders)
        for name in names:
            suffix = Path(name).suffix.lower()
            if suffix in SUFFIXES:
                files.append(place / name)
            elif suffix in OTHER_PICTURES:
                others[suffix] += 1
    counts = [f"{count} {suffix}" for suffix, count in others.most_common()]
    return Pictures(sorted(files), ", ".join([*counts, *(f"the folder {name}" for name in sorted(systems))]))


def _walked(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder with the names of its folders and of its files, which are not hidden."""
    top = folder.resolve()
    seen = {top}
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        inner = _shown(folders)
        yield Path(place), inner, _shown(names)
        folders.clear()
        for name in inner:
            real = Path(place, name).resolve()
            if name not in SYSTEM_FOLDERS and real not in seen and not top.is_relative_to(real):
                seen.add(real)
                folders.append(name)


def _shown(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))


def _unreadable(error: OSError) -> NoReturn:
    raise ConfigError(f"images.path: cannot read the folder {error.filename} ({error.strerror})") from error
