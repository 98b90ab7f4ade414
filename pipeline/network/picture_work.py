"""What a picture takes to decode beyond its pixels, by its file's own words: scans, tiles, lists. Pure."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import islice

from pipeline.domain.checks import require

MOST_SCANS = 100
"""Most scans of a JPEG: each may pass over all pixels. A progressive one mostly has 10; libtiff's limit."""
MOST_SEGMENTS = 500
"""Most segments of a JPEG, scans included: profiles, tables and texts, each of up to 64 kB."""
MOST_VALUES = 100_000
"""Most values of a TIFF's tag that is no text or bytes, such as the places of its strips."""
TIFF_HEADS = {b"II*\0": "<", b"MM\0*": ">"}
"""How a TIFF begins, and the order of its bytes. BigTIFF is for files of more than 4 GB."""

_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""A marker of JPEG; 0xFF before 0x00, 0x01 or a restart (0xD0 to 0xD7) belongs to the scan."""
_SOS, _SOI, _EOI = 0xDA, 0xD8, 0xD9
_SHORT, _LONG = 3, 4
_BYTES = (1, 2, 7)
"""Types of a TIFF's values that Pillow leaves as bytes."""
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323


def require_few_scans(jpeg: bytes) -> None:
    """Raise ConfigError for a JPEG with more segments or scans than a picture needs."""
    markers = [*islice(_markers(jpeg), MOST_SEGMENTS + 1)]
    require(markers.count(_SOS) <= MOST_SCANS, f"it has more than {MOST_SCANS} scans")
    require(len(markers) <= MOST_SEGMENTS, f"it has more than {MOST_SEGMENTS} segments")


def _markers(jpeg: bytes) -> Iterator[int]:
    """The markers up to the picture's end, without those within a segment, such as a thumbnail's."""
    position = 2
    while found := _MARKER.search(jpeg, position):
        marker = jpeg[found.end() - 1]
        if marker in (_SOI, _EOI):  # of a second picture, or the end
            return
        yield marker
        length = int.from_bytes(jpeg[found.end() : found.end() + 2], "big")
        position = found.end() + max(2, length)


def require_small_tiles(tiff: bytes, most_pixels: int) -> None:
    """Raise ConfigError for a TIFF whose tiles hold more pixels in all, or a tag more values than it needs.

    Raises struct.error for one that is cut off.
    """
    sides: dict[int, int] = {}
    for tag, kind, count, value in _entries(tiff):
        many = f"the tag {tag} has more than {MOST_VALUES} values"
        require(kind in _BYTES or count <= MOST_VALUES, many)
        if tag in (_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT):
            require(count == 1 and kind in (_SHORT, _LONG), f"the tag {tag} is not one whole number")
            sides[tag] = max(sides.get(tag, 1), value)
    pixels = 1
    for side, tile in ((_WIDTH, _TILE_WIDTH), (_HEIGHT, _TILE_HEIGHT)):
        length, of_tile = sides.get(side, 1), sides.get(tile, 1)
        pixels *= -(-length // of_tile) * of_tile
    # The last tile of a row or a column may reach beyond the picture.
    require(pixels <= 2 * most_pixels, f"its tiles hold {pixels} pixels, which are more than {most_pixels}")


def _entries(tiff: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, number of values, and first value (or where the values are), of the first directory."""
    order = TIFF_HEADS[tiff[:4]]
    (start,) = struct.unpack_from(f"{order}L", tiff, 4)
    (number,) = struct.unpack_from(f"{order}H", tiff, start)
    for place in range(start + 2, start + 2 + 12 * number, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHL", tiff, place)
        (value,) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'L'}", tiff, place + 8)
        yield tag, kind, count, value
