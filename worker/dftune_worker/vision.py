"""Pictures of rows: read from their files, as the model's own processor makes tensors of them."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .errors import InputError, check

QWEN = frozenset({"qwen2_vl", "qwen2_5_vl"})
"""Patches of all pictures one after the other, [P, D], with a grid of each; positions are told by kinds of tokens."""
SMOL = frozenset({"smolvlm", "idefics3"})
"""Tiles of one size by row, [R, N, 3, H, W], filled up with empty ones."""
MODEL_TYPES = QWEN | SMOL


@dataclass(frozen=True)
class Picture:
    """As TypeScript prepared it (pictures.jsonl)."""

    path: Path
    sha256: str
    width: int
    height: int
    """In pixels, upright, as the processor gets it."""
    tokens: int
    """That stand for it in the row, with those around it."""


class Eyes:
    """A model's processor of pictures."""

    def __init__(self, folder: Path, config):
        try:
            import PIL  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"{config.model_type}: reads pictures with Pillow, which this Python does not have; pip install pillow, or dftune torch setup"
            ) from error
        from transformers import AutoImageProcessor

        options = {"local_files_only": True, "trust_remote_code": False, "backend": "pil"}
        self._processor = AutoImageProcessor.from_pretrained(str(folder), **options)
        self._image_token, self._is_qwen = config.image_token_id, config.model_type in QWEN
        self._tile_tokens = 0 if self._is_qwen else _tile_tokens(config)

    def inputs(self, rows: tuple[tuple[Picture, ...], ...], sources: tuple[str, ...], ids: torch.Tensor) -> dict:
        """What the model is called with beside the tokens [R, L] of rows with these pictures."""
        if not any(rows):
            return {}
        made = self._grids(rows) if self._is_qwen else self._tiles(rows)
        places = (ids == self._image_token).long()
        expected = made.pop("tokens")
        for source, came, wanted in zip(sources, places.sum(1).tolist(), expected, strict=True):
            check(
                came == wanted,
                f"{source}: has {came} image tokens, and the model's processor makes {wanted} of its pictures; prepare the data again, with this model",
            )
        if self._is_qwen:
            made["mm_token_type_ids"] = places
        return {name: tensor.to(ids.device) for name, tensor in made.items()}

    def _grids(self, rows: tuple[tuple[Picture, ...], ...]) -> dict:
        made = self._processor(images=[load(p) for row in rows for p in row], return_tensors="pt")
        each = iter((made["image_grid_thw"].prod(1) // self._processor.merge_size**2).tolist())
        return {**made, "tokens": [sum(next(each) for _ in row) for row in rows]}

    def _tiles(self, rows: tuple[tuple[Picture, ...], ...]) -> dict:
        made = self._processor(images=[[load(p) for p in row] for row in rows], return_tensors="pt")
        tiles = [int(n) for n in (made["pixel_attention_mask"].flatten(2).amax(2) > 0).sum(1)]
        return {
            "pixel_values": made["pixel_values"],
            "pixel_attention_mask": made["pixel_attention_mask"],
            "tokens": [n * self._tile_tokens for n in tiles],
        }


def eyes_of(folder: Path, config) -> Eyes | None:
    """None where the model reads no pictures."""
    return Eyes(folder, config) if config.model_type in MODEL_TYPES else None


def _tile_tokens(config) -> int:
    """That stand for a tile of SmolVLM."""
    tower = config.vision_config
    return (tower.image_size // tower.patch_size) ** 2 // config.scale_factor**2


def load(picture: Picture):
    """[H, W, 3], upright, as large as it was prepared. What was looked at then is what is decoded now."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = picture.path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the picture cannot be read: {error}") from error
    check(
        hashlib.sha256(data).hexdigest() == picture.sha256,
        f"{path}: is another picture than the one that was prepared; start the run again, which prepares it",
    )
    try:
        image = Image.open(io.BytesIO(data))
        if image.format in ("JPEG", "MPO"):
            image = ImageOps.exif_transpose(image)
        image = image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: the picture cannot be decoded: {error}") from error
    wanted = (picture.width, picture.height)
    if image.size != wanted:
        check(
            image.size[0] * image.size[1] > wanted[0] * wanted[1],
            f"{path}: is {image.size[0]}x{image.size[1]} once decoded, and was prepared as {wanted[0]}x{wanted[1]}",
        )
        image = image.resize(wanted, Image.Resampling.BICUBIC)
    return np.asarray(image)


def tower_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Of what makes embeddings of pictures: all but the language model and the head."""
    text = {id(p) for p in model.get_decoder().parameters()}
    text |= {id(p) for part in (model.get_input_embeddings(), model.get_output_embeddings()) for p in part.parameters()}
    return [(name, p) for name, p in model.named_parameters() if id(p) not in text]


def tower_paths(model: nn.Module) -> list[str]:
    """Of its modules with weights of their own."""
    return sorted({name.rpartition(".")[0] for name, _ in tower_parameters(model)})
