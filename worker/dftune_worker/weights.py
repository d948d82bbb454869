"""A model folder's tensors, and what every parameter starts with."""

import json
import math
import zlib
from pathlib import Path

import torch
from torch import nn

from .apart import OWN_FAMILIES
from .errors import check
from .vision import MODEL_TYPES as VISION


class Weights:
    """A model folder's tensors by name, read by slice from memory maps."""

    def __init__(self, folder: Path):
        from safetensors import safe_open

        index = folder / "model.safetensors.index.json"
        if index.is_file():
            files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            escaping = [f for f in files if f != Path(f).name]
            check(not escaping, f"{index}: file name {escaping[:1]} leaves its folder")
        else:
            files = ["model.safetensors"]
        self.folder, self._of, self.buffers = folder, {}, {}
        for name in files:
            path = folder / name
            check(path.is_file(), f"{path}: missing; weights must be safetensors")
            try:
                opened = safe_open(str(path), framework="pt")
            except Exception as error:
                check(False, f"{path}: cannot be read as safetensors: {error}")
            self._of |= dict.fromkeys(opened.keys(), opened)

    def __contains__(self, name: str) -> bool:
        return name in self._of

    def read(self, name: str, shape: torch.Size, rows: slice) -> torch.Tensor:
        """Rows of tensor `name`, which must have `shape`, in the file's precision."""
        check(name in self, f"{self.folder}: tensor {name} is missing")
        part = self._of[name].get_slice(name)
        came = tuple(part.get_shape())
        check(came == tuple(shape), f"{self.folder}: tensor {name} is {list(came)}, config.json makes it {list(shape)}")
        return part[rows]

    def rows_of(self, name: str) -> int:
        check(name in self, f"{self.folder}: tensor {name} is missing")
        return self._of[name].get_slice(name).get_shape()[0]


def auto_class(model_type: str, scores: bool = False):
    """Transformers' class that opens models of this type."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForSequenceClassification

    if scores:
        return AutoModelForSequenceClassification
    return AutoModelForImageTextToText if model_type in VISION else AutoModelForCausalLM


class ConvertedWeights:
    """Tensors as Transformers' own loading makes them of a folder: for families whose files keep other names and shapes
    than their modules (experts one by one, fused projections). All of them are held, in the files' precision."""

    def __init__(self, folder: Path, model_type: str):
        known = Weights(folder)  # names the file that is missing or damaged
        model, info = auto_class(model_type).from_pretrained(
            str(folder),
            dtype="auto",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        missing = sorted(info["missing_keys"])
        check(not missing, f"{folder}: tensors {', '.join(missing[:5])} are missing")
        check(
            not info["mismatched_keys"],
            f"{folder}: tensors do not have config.json's shapes: {info['mismatched_keys']}",
        )
        self.folder = known.folder
        self._tensors = {name: p.detach() for name, p in model.named_parameters()}
        self.buffers = dict(model.named_buffers())

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def read(self, name: str, shape: torch.Size, rows: slice) -> torch.Tensor:
        check(name in self, f"{self.folder}: tensor {name} is missing")
        return self._tensors[name][rows]

    def rows_of(self, name: str) -> int:
        check(name in self, f"{self.folder}: tensor {name} is missing")
        return len(self._tensors[name])


class WithNewTokens:
    """A model's tensors, with rows for added tokens in its vocabulary's matrices: each the mean of the rows of the tokens
    before them."""

    def __init__(self, weights: Weights | ConvertedWeights, ids: list[int]):
        self._weights, self._ids = weights, ids
        self.folder, self.buffers = weights.folder, weights.buffers

    def __contains__(self, name: str) -> bool:
        return name in self._weights

    def read(self, name: str, shape: torch.Size, rows: slice) -> torch.Tensor:
        return self._weights.read(name, shape, rows)

    def read_vocabulary(self, name: str, shape: torch.Size, rows: slice) -> torch.Tensor:
        """Rows of the embedding or the head; all of it is looked at, for the mean."""
        known = self._weights.rows_of(name)
        own = self._weights.read(name, torch.Size((known, *shape[1:])), slice(None)).float()
        whole = torch.zeros(shape)
        whole[:known] = own
        whole[self._ids] = own[: self._ids[0]].double().mean(0).float()
        return whole[rows]


def weights_of(folder: Path, model_type: str) -> "Weights | ConvertedWeights | WithNewTokens":
    pointer = folder / "added-tokens.json"
    if pointer.is_file():
        added = json.loads(pointer.read_text())
        return WithNewTokens(weights_of(Path(added["base"]), model_type), added["ids"])
    return Weights(folder) if model_type in OWN_FAMILIES else ConvertedWeights(folder, model_type)


def fill_parameters(
    model: nn.Module,
    weights: Weights | ConvertedWeights | WithNewTokens,
    seed: int,
    adapter_start: Path | None,
    vocabulary: list[nn.Parameter] = (),
    score_start: Path | None = None,
) -> None:
    """Gives every parameter its value; of a sharded one, this rank's part alone is read. `vocabulary`: the embedding's and
    the head's weights."""
    grown = [id(p) for p in vocabulary] if isinstance(weights, WithNewTokens) else []
    start = adapter_tensors(adapter_start) if adapter_start else None
    for name, parameter in model.named_parameters():
        local, rows = local_rows(parameter)
        with torch.no_grad():
            if score_start is not None and checkpoint_name(name) == "score.weight":
                local.copy_(adapter_tensors(score_start)["score.weight"][rows])
            elif MAGNITUDE in name and (start is None or checkpoint_name(name) not in start):
                local.copy_(_row_lengths(model, name, weights, rows))
            elif "lora_" in name:
                local.copy_(_adapter_start(name, parameter.shape, seed, start)[rows])
            elif start is not None and checkpoint_name(name) in start:  # what an adapter has whole
                local.copy_(start[checkpoint_name(name)][rows])
            elif len(local):
                read = weights.read_vocabulary if id(parameter) in grown else weights.read
                local.copy_(read(checkpoint_name(name), parameter.shape, rows))
    for name, buffer in model.named_buffers():
        if (value := weights.buffers.get(checkpoint_name(name))) is not None:
            buffer.copy_(value)


MAGNITUDE = ".lora_magnitude_vector"
"""Of DoRA, by PEFT's name."""


def _row_lengths(model: nn.Module, magnitude: str, weights, rows: slice) -> torch.Tensor:
    """A new DoRA adapter's magnitudes, with which it changes nothing: the lengths of the base's rows."""
    path = magnitude.split(MAGNITUDE)[0]
    layer = model.get_submodule(path)
    shape, turned = layer.base_layer.weight.shape, getattr(layer, "fan_in_fan_out", False)
    weight = weights.read(checkpoint_name(f"{path}.base_layer.weight"), shape, slice(None) if turned else rows)
    return (weight.double().T[rows] if turned else weight.double()).norm(dim=1).float()


def local_rows(parameter: torch.Tensor) -> tuple[torch.Tensor, slice]:
    """This rank's part of a parameter, and which of its rows that is."""
    from torch.distributed.tensor import DTensor

    if not isinstance(parameter, DTensor):
        return parameter, slice(0, len(parameter))
    local, first = parameter.to_local(), _first_row(parameter)
    return local, slice(first, first + len(local))


def _first_row(parameter) -> int:
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    _, offset = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    return offset[0]


def checkpoint_name(name: str) -> str:
    """A parameter's name in a checkpoint: without what PEFT and this module put around it."""
    for around in ("lm.", "base_model.model."):
        name = name.removeprefix(around)
    name = name.replace(".base_layer.", ".").replace(".default.", ".")
    return name.removesuffix(".weight") if name.endswith(f"{MAGNITUDE}.weight") else name


def adapter_tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    check(path.is_file(), f"{path}: the adapter's start is missing")
    return {name.removeprefix("base_model.model."): tensor for name, tensor in load_file(str(path)).items()}


def _adapter_start(name: str, shape: torch.Size, seed: int, start: dict | None) -> torch.Tensor:
    """Whole: as given, or A uniform in +-1/sqrt(in) (PEFT's Kaiming start) from a seed of its own, and B zero."""
    if start is not None:
        key = checkpoint_name(name)
        check(
            key in start and start[key].shape == shape, f"adapter start: tensor {key} of shape {list(shape)} is missing"
        )
        return start[key]
    if "lora_B" in name:
        return torch.zeros(shape)
    generator = torch.Generator().manual_seed((seed << 32) + zlib.crc32(checkpoint_name(name).encode()))
    bound = 1 / math.sqrt(shape[1])
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
