"""A safetensors file as memory-mapped numpy arrays: nothing is read before it is used."""

import json
import os
from pathlib import Path

import numpy as np

from .errors import InputError, check

MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own library
DTYPES = {"I32": np.dtype("<i4"), "I64": np.dtype("<i8"), "U8": np.dtype("u1"), "F32": np.dtype("<f4")}


def map_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Name to array, each a view of the file. Sizes and offsets are checked before anything is mapped."""
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            check(8 + length <= size and length <= MAX_HEADER_BYTES, f"{path}: not a whole safetensors file")
            header = json.loads(file.read(length))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {error}") from error
    check(isinstance(header, dict), f"{path}: the header must be an object")
    data_start = 8 + length
    empty = size == data_start  # an empty file cannot be mapped
    data = np.zeros(0, np.uint8) if empty else np.memmap(path, dtype=np.uint8, mode="r", offset=data_start)
    return {name: _view(path, name, entry, data) for name, entry in header.items() if name != "__metadata__"}


def _view(path: Path, name: str, entry: dict, data: np.ndarray) -> np.ndarray:
    try:
        dtype, shape = DTYPES[entry["dtype"]], [int(n) for n in entry["shape"]]
        start, end = (int(n) for n in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: tensor {name}: unexpected header entry ({error!r})") from error
    count = 1
    for n in shape:
        check(n >= 0, f"{path}: tensor {name}: negative size")
        count *= n
    fits = 0 <= start <= end <= data.size and end - start == count * dtype.itemsize
    check(fits, f"{path}: tensor {name}: offsets {start}..{end} do not hold {shape} in {data.size} bytes")
    return data[start:end].view(dtype).reshape(shape)
