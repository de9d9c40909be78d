"""Real side-scan sonar: Humminbird recordings as pings, cut into patches whose classes a rule tells.

The transect of D. Buscombe, "Shallow water benthic imaging and substrate characterization using recreational-grade
sidescan-sonar", Environmental Modelling & Software, 2017, recorded by the United States Geological Survey. It is not
labelled: the rule below looks at depth, darkness and texture, so a class means no more than it says.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import ndimage

from winnow.errors import InputError
from winnow.workloads.image_tables import raw_image_table

START = b"\xc0\xde\xab\x21"
END_OF_HEADER = 0x21
SAMPLES = 0xA0
"""Tag of a ping's number of samples, the last one of its header."""
DEPTH, TIME = 0x87, 0x81
ONE_BYTE = frozenset({0x50, 0x51, 0x53, 0x54, 0x56, 0x57})
"""Tags whose value is one byte; that of all others is a big-endian int32."""

METRES_PER_SAMPLE = 0.0203
"""Depth in the headers over the number of the first strong return; the format itself does not tell it."""
LOOKS = 2
"""Samples that are averaged into one pixel, which then is about half as long as pings lie apart."""
PIXEL = METRES_PER_SAMPLE * LOOKS
SIDE = 64
PULSE = 16
"""Pixels in which the transmitted pulse still rings."""
STRIDE = SIDE // 2
"""Patches of one block of pings overlap by half; blocks do not, and a block is never divided among splits."""
CLASSES = ("water", "smooth", "rough", "shadow")
DARK = 80
"""Despeckled level between the two humps that the levels of the far half have, one of shadow and one of bottom."""
SHADOWED, LIT = 0.8, 0.1
"""Shares of dark pixels from which on a patch is shadow, and up to which it is bottom."""
SMOOTH, ROUGH = 7.0, 10.0
"""Texture (see `texture`) up to which bottom is smooth, and from which on it is rough."""
CLEAR = 14.0
"""Texture up to which water is clear of ground; fish and bubbles stay below."""


class Pings(NamedTuple):
    """One beam of a recording."""

    samples: np.ndarray
    """uint8[pings, samples]; longer pings are cut to the shortest."""
    depth: np.ndarray
    """float64[pings], metres."""
    time: np.ndarray
    """int64[pings], milliseconds since the first ping."""


def read_pings(data: bytes, name: str) -> Pings:
    """The pings of one .SON file.

    Each is a start mark, tags with values, and as many one-byte samples as its last tag says. Raises InputError,
    naming the file and the byte, for anything else.
    """
    at, headers, rows = 0, [], []
    while at < len(data):
        if data[at : at + len(START)] != START:
            raise InputError(f"{name}: no ping starts at byte {at}; the file is damaged or not a Humminbird recording")
        tags, first = _header(data, at + len(START), name)
        count = tags.get(SAMPLES, -1)
        if count < 1 or first + count > len(data):
            raise InputError(f"{name}: the ping at byte {at} promises {count} samples; the file is cut off or damaged")
        for tag in (DEPTH, TIME):
            if tag not in tags:
                raise InputError(f"{name}: the ping at byte {at} has no tag {tag:#x}; this model's format is not known")
        headers.append(tags)
        rows.append(np.frombuffer(data, np.uint8, count, first))
        at = first + count
    if not rows:
        raise InputError(f"{name}: holds no ping; the file is empty")
    shortest = min(map(len, rows))
    return Pings(
        np.stack([row[:shortest] for row in rows]),
        np.array([tags[DEPTH] / 10 for tags in headers]),
        np.array([tags[TIME] for tags in headers], np.int64),
    )


def _header(data: bytes, at: int, name: str) -> tuple[dict[int, int], int]:
    """Tags of a header, and where the samples start."""
    tags: dict[int, int] = {}
    try:
        while data[at] != END_OF_HEADER:
            tag = data[at]
            if tag in ONE_BYTE:
                tags[tag] = data[at + 1]
                at += 2
            else:
                tags[tag] = struct.unpack_from(">i", data, at + 1)[0]
                at += 5
    except (IndexError, struct.error):
        raise InputError(f"{name}: a header is cut off at byte {at}; get the file again") from None
    return tags, at + 1


def pixels_of(pings: Pings) -> np.ndarray:
    """float64[pings, pixels]: means of LOOKS samples."""
    whole = pings.samples.shape[1] // LOOKS * LOOKS
    return pings.samples[:, :whole].reshape(len(pings.samples), -1, LOOKS).mean(axis=2)


def despeckled(pixels: np.ndarray) -> np.ndarray:
    """Means over 5 x 5 pixels."""
    return ndimage.uniform_filter(pixels, 5)


def texture(calm: np.ndarray) -> float:
    """Standard deviation of a despeckled patch about its straight line over range."""
    distance = np.arange(calm.shape[1])
    slope, level = np.polyfit(distance, calm.mean(axis=0), 1)
    return float((calm - level - slope * distance).std())


def class_of(calm: np.ndarray, first: int, bottom: np.ndarray) -> str | None:
    """Class of a despeckled patch [pings, SIDE] from pixel `first` on; None where the rule sees no clear case.

    bottom: pixel of the first return from the ground, for each ping.
    """
    if first >= PULSE and first + calm.shape[1] <= 0.9 * bottom.min():
        # The depth in a header lags behind where the ground rises, and boulders stand out of it.
        return "water" if texture(calm) <= CLEAR else None
    if first < 1.15 * bottom.max():
        return None
    dark = float((calm < DARK).mean())
    if dark >= SHADOWED:
        return "shadow"
    if dark > LIT:
        return None
    found = texture(calm)
    return "smooth" if found <= SMOOTH else "rough" if found >= ROUGH else None


def patch_corners(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """First ping and first pixel of every patch of pixels[pings, pixels]."""
    starts = range(PULSE, shape[1] - SIDE + 1, STRIDE)
    return [(block * SIDE, first) for block in range(shape[0] // SIDE) for first in starts]


def side_scan(beams: dict[str, Pings], source_id: str) -> pa.Table:
    """Raw image table of all patches of the beams, SIDE x SIDE, label null where the rule sees no clear case.

    Rows are pings, columns range. group: the block of pings, which all beams share. Annotations: altitude_m, mean
    depth under the boat, and range_m, slant range of the patch's first column.
    """
    images, labels, sources, groups, altitude, distance = [], [], [], [], [], []
    for name, pings in beams.items():
        pixels = pixels_of(pings)
        calm = despeckled(pixels)
        bottom = pings.depth / PIXEL
        for ping, first in patch_corners(pixels.shape):
            rows, columns = slice(ping, ping + SIDE), slice(first, first + SIDE)
            kind = class_of(calm[rows, columns], first, bottom[rows])
            images.append(np.rint(pixels[rows, columns]).astype(np.uint8))
            labels.append(None if kind is None else CLASSES.index(kind))
            sources.append(f"{source_id}/{name}")
            groups.append(f"pings {ping}")
            altitude.append(pings.depth[rows].mean())
            distance.append(first * PIXEL)
    annotations = {"altitude_m": pa.array(altitude, pa.float32()), "range_m": pa.array(distance, pa.float32())}
    return raw_image_table(
        np.stack(images)[..., None], labels, sources, CLASSES, groups=groups, annotations=annotations
    )
