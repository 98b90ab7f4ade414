"""Inputs are real images at the model's size and scale; equal seeds give equal images."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.domain.checks import ConfigError
from pipeline.network.images import ImageFolder, Photographs, preprocess
from pipeline.network.models.spec import ModelSpec
from pipeline.network.picture import MOST_PIXELS, opened
from pipeline.network.picture_pixels import as_rgb
from pipeline.network.picture_work import require_small_tiles

SPEC = ModelSpec(name="mobilenet_v2", library="torchvision", input_size=32)
COMMENT = b"\xff\xfe\0\2"
"""A segment of a JPEG: a comment without text."""


def expected(complaint: str | None) -> contextlib.AbstractContextManager[Any]:
    """ConfigError with these words; None: no error."""
    return contextlib.nullcontext() if complaint is None else pytest.raises(ConfigError, match=complaint)


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
    with pytest.raises(ConfigError, match=r"cannot read the image .*a\.png \(.*is not a regular file"):
        ImageFolder(str(tmp_path)).inputs(SPEC)
    (tmp_path / "a.png").unlink()
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png", format="EPS")
    with pytest.raises(ConfigError, match=r"cannot read the image .*a\.png \(cannot identify"):
        ImageFolder(str(tmp_path)).inputs(SPEC)


def test_a_jpeg_whose_last_scan_is_repeated_is_refused() -> None:
    """Each scan passes over all pixels: 1000 of 75 bytes took half a minute."""
    file = io.BytesIO()
    Image.new("L", (64, 64), 128).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    for times, complaint in ((80, None), (100, "it has more than 100 scans")):
        with expected(complaint), opened(io.BytesIO(whole[:-2] + scan * times + whole[-2:]), 10_000) as image:
            image.load()
    with expected("it has more than 500 segments"), opened(io.BytesIO(whole[:2] + COMMENT * 501), 10_000):
        pass


def test_markers_within_a_segment_and_after_the_end_do_not_count() -> None:
    """A thumbnail has scans of its own, and a film after the picture any bytes."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG", comment=b"\xff\xda\0\2" * 1000)
    with opened(io.BytesIO(file.getvalue() + b"\xff\xda\0\2" * 1000), 10_000) as image:
        image.load()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("tags", "complaint"),
    [
        ({322: 128, 323: 128}, None),
        ({322: 26_700, 323: 26_700}, "its tiles hold 712890000 pixels, which are more than 10000"),
        ({322: 1, 323: 10_000}, "its tiles hold 1000000 pixels"),  # 100 tiles of 10,000
        ({273: (100_001, 8)}, "the tag 273 has more than 100000 values"),
        ({322: (2, 8)}, "the tag 322 is not one whole number"),
    ],
)
def test_a_tiff_with_more_in_its_tiles_than_in_its_picture_is_refused(
    order: str, tags: dict[int, Any], complaint: str | None
) -> None:
    """One tile of 2.1 MB, beside a header of 100 x 100 pixels, took 2.3 GB."""
    entries = {256: 100, 257: 100, **tags}
    pairs = {tag: value if isinstance(value, tuple) else (1, value) for tag, value in entries.items()}
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}LH", 8, len(pairs))
    rows = (struct.pack(f"{order}HHLL", tag, 4, *pair) for tag, pair in pairs.items())
    with expected(complaint):
        require_small_tiles(head + b"".join(rows), 10_000)


def test_tiffs_with_strips_and_compression_are_read(tmp_path: Path) -> None:
    for compression in ("raw", "tiff_adobe_deflate", "jpeg"):
        Image.new("RGB", (50, 40)).save(tmp_path / f"{compression}.tif", compression=compression)
    assert len(ImageFolder(str(tmp_path), most_pixels=2000).inputs(SPEC)) == 3


def test_a_file_larger_than_any_picture_of_that_size_is_refused() -> None:
    with expected("the file is larger than 10.0 MB"), opened(io.BytesIO(b"P6 1 1 255\n" + bytes(10**7)), 1):
        pass


@pytest.mark.parametrize("text", ["P3 {side} {side} 255\n", "P6 {side} {side} 100\n"])
def test_what_pillow_decodes_in_python_is_small(text: str) -> None:
    for side, complaint in (
        (1000, None),
        (1001, "1001 x 1001 pixels are more than 1000000, the most of a PPM"),
    ):
        with expected(complaint), opened(io.BytesIO(text.format(side=side).encode()), MOST_PIXELS):
            pass


def test_a_run_length_bitmap_that_leaps_over_its_rows_is_refused() -> None:
    """Four bytes that leap over 255 rows of 50 million pixels took 13 GB."""
    head = struct.pack("<LLLHHLLLLLL", 40, MOST_PIXELS, 1, 1, 8, 1, 4, 0, 0, 2, 0) + bytes(8)
    file = struct.pack("<2sLHHL", b"BM", 14 + len(head) + 4, 0, 0, 14 + len(head)) + head + b"\0\2\0\xff"
    refused = "50000000 x 1 pixels are more than 1000000, the most of a BMP"
    with expected(refused), opened(io.BytesIO(file), MOST_PIXELS):
        pass


def grey(values: object, kind: type) -> Image.Image:
    return Image.fromarray(np.asarray(values, kind))


RAMP = np.tile(np.linspace(0, 255, 64).round(), (48, 1))
"""(48, 64): from black to white, in whole numbers of 8 bits."""


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("16.png", grey(RAMP * 257, np.uint16)),
        ("16.tif", grey(RAMP * 257, np.uint16)),
        ("32.tif", grey(RAMP * 257, np.int32)),
        ("float.tif", grey(RAMP / 255, np.float32)),
        ("alpha.png", Image.merge("LA", [grey(RAMP, np.uint8), grey(np.full((48, 64), 255), np.uint8)])),
        ("palette.png", grey(RAMP, np.uint8).convert("P")),
    ],
)
def test_a_grey_picture_of_any_depth_is_that_of_8_bits(
    name: str, picture: Image.Image, tmp_path: Path
) -> None:
    """16 bits were all white, and floats all black."""
    (tmp_path / "of 8 bits").mkdir()
    grey(RAMP, np.uint8).save(tmp_path / "of 8 bits" / "a.png")
    (tmp_path / "other").mkdir()
    picture.save(tmp_path / "other" / name)
    one, other = (ImageFolder(str(tmp_path / folder)).inputs(SPEC)[0] for folder in ("of 8 bits", "other"))
    assert torch.equal(one, other)
    assert one.std() > 0.5


@pytest.mark.parametrize(
    ("picture", "complaint"),
    [
        (grey([[0.0, 300.0]], np.float32), "its grey values are 0 to 300, not within 0 to 1"),
        (grey([[0.0, np.nan]], np.float32), "its grey values are nan to nan"),
        (grey([[-5, 100_000]], np.int32), "its grey values are -5 to 100000, not within 0 to 65535"),
    ],
)
def test_grey_values_without_a_known_scale_are_one_line(
    picture: Image.Image, complaint: str, tmp_path: Path
) -> None:
    picture.save(tmp_path / "a.tif")
    with pytest.raises(ConfigError, match=f"a.tif .{complaint}"):
        ImageFolder(str(tmp_path)).inputs(SPEC)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_stands_as_its_camera_was_held(orientation: int, tmp_path: Path) -> None:
    source = np.zeros((60, 40, 3), np.uint8)
    source[:20, :, 0], source[:, :10, 1] = 255, 200
    there = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that EXIF's orientation undoes
    picture = Image.fromarray(source)
    lying = picture if orientation == 1 else picture.transpose(Image.Transpose(there[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying.save(tmp_path / "a.png", exif=exif)
    with opened(tmp_path / "a.png", MOST_PIXELS) as image:
        assert np.array_equal(np.asarray(as_rgb(image)), source)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    """Its hidden colour is whatever the program that wrote it left there."""
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(tmp_path / "a.png")
    with opened(tmp_path / "a.png", MOST_PIXELS) as image:
        assert as_rgb(image).getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (300, 1), (2, 2)])
def test_a_picture_may_be_one_pixel_wide(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, (255, 0, 0)).save(tmp_path / "a.png")
    (x,) = ImageFolder(str(tmp_path)).inputs(SPEC)
    assert torch.equal(x, preprocess(Image.new("RGB", (5, 5), (255, 0, 0)), SPEC))


def test_hidden_files_and_folders_named_like_pictures_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "album.jpg").mkdir()
    (tmp_path / ".thumbnails").mkdir()
    for name in ("album.jpg/a.png", ".thumbnails/b.png", ".c.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "._a.jpg").write_bytes(b"a Mac's")
    assert len(ImageFolder(str(tmp_path)).inputs(SPEC)) == 1


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, depth: int, colour: int, row: bytes, clear: tuple[int, ...]) -> io.BytesIO:
    """A PNG of one row; clear: its transparent colour in the file's own bits, as Pillow cannot write it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0))
    colours = chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    data = chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + head + colours + data)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (png(2, 16, 0, struct.pack(">2H", 257, 514), (257,)), [255, 2]),
        (png(2, 16, 0, struct.pack(">2H", 257, 258), (257,)), [255, 1]),
        (png(4, 2, 0, b"\x1b", (1,)), [0, 255, 170, 255]),  # 0, 1, 2, 3
        (png(2, 4, 0, b"\x1f", (1,)), [255, 255]),
        (png(2, 8, 0, b"\1\2", (1,)), [255, 2]),
        (png(2, 16, 2, struct.pack(">6H", *[0x0100] * 3, *[0x0200] * 3), (0x0100,) * 3), [255, 2]),
    ],
    ids=["16", "16 exactly", "2", "4", "8", "colours of 16"],
)
def test_the_transparent_colour_of_a_png_is_in_its_own_bits(file: io.BytesIO, expected: list[int]) -> None:
    with opened(file, 10) as image:
        assert np.asarray(as_rgb(image))[0, :, 0].tolist() == expected


def tiff(bits: int, photometric: int, kind: int, data: bytes, width: int) -> io.BytesIO:
    tags = {
        256: width,
        257: 1,
        258: bits,
        259: 1,
        262: photometric,
        273: 122,
        278: 1,
        279: len(data),
        339: kind,
    }
    rows = b"".join(struct.pack("<HHLL", tag, 3, 1, value) for tag, value in tags.items())
    return io.BytesIO(b"II*\0" + struct.pack("<LH", 8, len(tags)) + rows + bytes(4) + data)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (tiff(16, 0, 1, struct.pack("<3H", 0, 257 * 55, 65_535), 3), [255, 200, 0]),
        (tiff(16, 1, 1, struct.pack("<3H", 0, 257 * 55, 65_535), 3), [0, 55, 255]),
        (tiff(8, 0, 1, bytes([0, 55, 255]), 3), [255, 200, 0]),
        (tiff(32, 0, 3, struct.pack("<3f", 0, 0.2, 1), 3), [255, 204, 0]),
        (tiff(12, 1, 1, bytes.fromhex("000fff"), 2), [0, 255]),
    ],
    ids=["16 of white", "16", "8 of white", "floats of white", "12"],
)
def test_a_tiff_says_whether_zero_is_white_and_how_many_bits_it_has(
    file: io.BytesIO, expected: list[int]
) -> None:
    with opened(file, 10) as image:
        assert np.asarray(as_rgb(image))[0, :, 0].tolist() == expected
