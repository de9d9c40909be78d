"""A folder of PNG and JPEG files as a raw image table: a sub-folder for each class, nothing else to write.

pets/cat/*.png pets/dog/*.jpg            split by hash
pets/train/cat/*.png pets/test/cat/*.png  split as published
pets/parts.parquet pets/concepts.parquet  what is known about the images, by their path below the folder
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps

from winnow.errors import InputError
from winnow.workloads.annotations import FILES, read_annotations
from winnow.workloads.image_tables import MAX_SIDE, raw_image_table

SUFFIXES = {".png", ".jpg", ".jpeg"}
SPLIT_FOLDERS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
MAX_PIXELS = 1 << 26
"""An image of more pixels is not decoded: a small file can claim any size."""
MIN_IMAGES = 3
"""Fewer images of a class than splits leave one of them without it."""


@dataclass(frozen=True)
class _File:
    path: Path
    name: str
    label: str | None
    split: str | None


def _folders(path: Path) -> list[Path]:
    visible = (p for p in path.iterdir() if not p.name.startswith(".") and not p.is_symlink() and p.is_dir())
    return sorted(visible, key=lambda p: os.fsencode(p.name))


def _image_files(folder: Path, deep: bool) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if deep and not name.startswith(".")]
        found += [Path(parent, n) for n in names if Path(n).suffix.lower() in SUFFIXES and not n.startswith(".")]
    return found


def _scan(root: Path) -> tuple[list[_File], list[str], bool]:
    """Files in the order of their paths, class names in order, and whether the top level names splits."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; correct `path`")
    top = _folders(root)
    published = "train" in (p.name for p in top) and all(p.name in SPLIT_FOLDERS for p in top)
    files, classes = [], set()
    for split, level in [(SPLIT_FOLDERS[p.name], p) for p in top] if published else [(None, root)]:
        members: list[tuple[str | None, Path]] = [(None, path) for path in _image_files(level, deep=False)]
        for folder in _folders(level):
            classes.add(folder.name)
            members += [(folder.name, path) for path in _image_files(folder, deep=True)]
        files += [_File(path, path.relative_to(root).as_posix(), label, split) for label, path in members]
    return sorted(files, key=lambda f: os.fsencode(f.name)), sorted(classes, key=os.fsencode), published


def _refusal(file: _File, root: Path) -> str | None:
    """Why a file must not be opened, or None."""
    if file.path.is_symlink() and not file.path.resolve().is_relative_to(root.resolve()):
        return "symbolic link to outside the folder"
    return None if file.path.is_file() else "not a regular file"


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    """Mode L for grey images, RGB for others; transparent becomes white, 16-bit grey 8-bit."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image, np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if grey else "RGB")


def _decode(path: Path, size: Sequence[int] | None) -> np.ndarray | str:
    """uint8[height, width, 1 or 3], or why the file cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    return f"claims {image.width} x {image.height} pixels, more than {MAX_PIXELS}"
                image.load()
                plain = _grey_or_rgb(image)
        if size is not None and plain.size != (size[1], size[0]):
            plain = plain.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return np.atleast_3d(np.asarray(plain, np.uint8))
    except Exception as error:  # a damaged file makes decoders raise whatever they like; it is dropped, not fatal
        return f"cannot be decoded ({type(error).__name__}: {' '.join(str(error).split())[:120]})"


def _require_one_size(image: np.ndarray, first: np.ndarray, path: Path) -> None:
    height, width = image.shape[:2]
    if max(height, width) > MAX_SIDE:
        raise InputError(
            f"{path}: is {height} x {width}, larger than {MAX_SIDE} x {MAX_SIDE}; set `size: [height, width]`"
        )
    if image.shape[:2] != first.shape[:2]:
        raise InputError(
            f"{path}: is {height} x {width} while images before it are {first.shape[0]} x {first.shape[1]}; "
            "set `size: [height, width]` to bring all to one size"
        )


def _require_classes(files: list[_File], classes: list[str], readable: list[bool], root: Path) -> None:
    if not any(readable):
        raise InputError(f"{root}: no readable PNG or JPEG file; put the images in one sub-folder for each class")
    if len(classes) < 2:
        found = ", ".join(classes) or "no sub-folder"
        raise InputError(f"{root}: holds one class ({found}); put the images in two or more sub-folders, one a class")
    for name in classes:
        count = sum(ok and file.label == name for file, ok in zip(files, readable, strict=True))
        if count < MIN_IMAGES:
            raise InputError(f"{root}: class {name!r} has {count} readable images; it needs {MIN_IMAGES} or more")


def _check_size(size: Sequence[int] | None) -> None:
    if size is None:
        return
    whole = len(size) == 2 and all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in size)
    if not whole:
        raise InputError(f"size is {list(size)}; give [height, width], each 1 to {MAX_SIDE} pixels")


def read_image_folder(path: Path | str, size: Sequence[int] | None = None) -> tuple[pa.Table, list[tuple[str, str]]]:
    """Raw table of a folder, `row, pixels, label, source[, split][, parts][, concepts]`, and the files that could
    not be read, with why.

    Classes are the names of the sub-folders, in order; source is the file's path below the folder, and rows
    follow it. A top level of train, valid (or val) and test is honoured as split. A file in no class has no
    label; an unreadable one has null pixels. size: height and width that every image is resized to (bilinear,
    antialiased, without keeping proportions); None where all have one size of at most 512 x 512. All are grey,
    or all RGB if one has colour. Hidden files and links to outside are not followed. Raises InputError for a
    folder without images, with one class, with a class of fewer than 3 images, or with images that need
    `size`.
    """
    _check_size(size)
    root = Path(path)
    files, classes, published = _scan(root)
    images: list[np.ndarray | None] = []
    unreadable = []
    first: np.ndarray | None = None
    for file in files:
        image = _refusal(file, root) or _decode(file.path, size)
        if isinstance(image, str):
            unreadable.append((file.name, image))
            images.append(None)
            continue
        first = image if first is None else first
        _require_one_size(image, first, file.path)
        images.append(image)
    readable = [image is not None for image in images]
    _require_classes(files, classes, readable, root)
    index = {name: label for label, name in enumerate(classes)}
    annotations = read_annotations(root, [_text(file.name) for file in files])
    if annotations and size is not None:
        raise InputError(f"{root}: parts.parquet and concepts.parquet give places in pixels; leave out `size`")
    table = raw_image_table(
        _stack(images),
        [None if file.label is None else index[file.label] for file in files],
        [_text(file.name) for file in files],
        [_text(name) for name in classes],
        present=np.array(readable),
        splits=[file.split for file in files] if published else None,
        annotations=annotations,
    )
    return table, unreadable


def _stack(images: list[np.ndarray | None]) -> np.ndarray:
    """uint8[n, h, w, c] with zeros where an image is missing; grey is repeated where others have colour."""
    present = [image for image in images if image is not None]
    channels = max(image.shape[2] for image in present)
    stacked = np.zeros((len(images), *present[0].shape[:2], channels), np.uint8)
    for row, image in enumerate(images):
        if image is not None:
            stacked[row] = image
    return stacked


def _text(name: str) -> str:
    """A file name as text; bytes that are not UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def folder_digest(path: Path | str) -> str:
    """Hex digest of all that `read_image_folder` depends on: classes, files' paths and content, annotations.

    Raises InputError where there is no such folder.
    """
    root = Path(path)
    files, classes, published = _scan(root)
    digest = blake2b(repr((published, classes)).encode(), digest_size=16)
    for file in files:
        refusal = _refusal(file, root)
        content = refusal.encode() if refusal else file.path.read_bytes()
        name = os.fsencode(file.name)
        digest.update(len(name).to_bytes(8, "big") + name + len(content).to_bytes(8, "big") + content)
    for path in (root / f"{known}.parquet" for known in FILES):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()
