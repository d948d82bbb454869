"""The model in Hugging Face's layout (or its adapter in PEFT's), consolidated from all ranks, read back once written."""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from .adapters import head_name, saved_names, written_names
from .apart import OWN_FAMILIES
from .errors import check
from .parallel import reshard
from .principal import as_saved, saved_config
from .weights import checkpoint_name

PEFT_PREFIX = "base_model.model."
MAX_FILE_BYTES = 5_000_000_000
TOKENIZER_FILES = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "chat_template.json",
]


def export_model(run, folder: Path) -> None:
    """All ranks call it; rank 0 writes. One tensor at a time is whole, on rank 0's CPU in the end."""
    reshard(run.model)  # what an evaluation has left gathered is in the precision that it computes in
    first, adapter = run.world.first, run.spec.config["adapter"] is not None
    converted = not adapter and run.model.model_type not in OWN_FAMILIES
    writer = _Writer(folder, "adapter_model" if adapter else "model") if first else None
    held: dict[str, torch.Tensor] = {}  # of families whose files are laid out in another way: converted as one
    dtype = torch.float32 if adapter else saved_dtype(run.spec.model)
    twin = run.model.tied_weight  # embedding and head in one, which PEFT takes as two
    for name, parameter in run.model.named_parameters():
        if adapter and not parameter.requires_grad:
            continue
        master = run.optimizer.master(name, parameter)
        whole = master.full_tensor() if isinstance(master, DTensor) else master
        if first:
            key = f"{PEFT_PREFIX}{checkpoint_name(name)}" if adapter else checkpoint_name(name)
            value = whole.detach().to("cpu", dtype, copy=True)
            if adapter:
                value = as_saved(checkpoint_name(name), value, run.model.begun)
            if converted:
                held[key] = value
            else:
                writer.add(key, value)
                if adapter and parameter is twin:
                    writer.add(f"{PEFT_PREFIX}{head_name(run.model.lm.get_base_model())}", value.clone())
        del whole
    if not first:
        return
    for name, value in _as_in_files(run.model, held).items() if converted else ():
        writer.add(name, value)
    writer.close()
    if adapter:
        config = run.model.lm.peft_config["default"].to_dict()
        if run.model.begun:
            config = saved_config(config)
        config |= {"base_model_name_or_path": run.spec.config["model"], "inference_mode": True}
        if run.model.gives_scores:
            config["task_type"] = "SEQ_CLS"
        plain, tokens = run.model.lm.get_base_model(), bool(run.spec.config.get("model_tokens"))
        if names := saved_names(plain, run.spec.config["adapter"], tokens):
            config["modules_to_save"] = written_names(plain, names)
        plain = {k: sorted(v) if isinstance(v, set) else getattr(v, "value", v) for k, v in config.items()}
        write_whole(folder / "adapter_config.json", json.dumps(plain, indent=2, default=str))
    else:
        if run.spec.model_json is None:
            shutil.copyfile(run.spec.model / "config.json", folder / "config.json")
        else:
            write_whole(folder / "config.json", run.spec.model_json)
    for name in TOKENIZER_FILES:
        if (run.spec.model / name).is_file():
            shutil.copyfile(run.spec.model / name, folder / name)
    if run.spec.template is not None:
        shutil.copyfile(run.spec.template, folder / "chat_template.jinja")
    if run.spec.layout is not None:
        write_whole(folder / "dftune.json", run.spec.layout)


def _as_in_files(model, parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Under the names and in the shapes of the family's checkpoints; with the buffers that they hold."""
    from transformers.core_model_loading import revert_weight_conversion

    plain = model.lm
    kept = {name: t.cpu() for name, t in plain.state_dict().items() if name in dict(plain.named_buffers())}
    return {name: t.contiguous() for name, t in revert_weight_conversion(plain, kept | parameters).items()}


def saved_dtype(model: Path) -> torch.dtype:
    """The precision that the model came in, so that a result is no larger than its base."""
    raw = json.loads((model / "config.json").read_text())
    name = raw.get("dtype") or raw.get("torch_dtype") or "float32"
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(name, torch.float32)


def write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.writing")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def publish(temporary: Path, final: Path) -> None:
    """Puts a finished folder in the place of an older one."""
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)


class _Writer:
    """safetensors files of at most 5 GB, with an index when there are several."""

    def __init__(self, folder: Path, stem: str):
        self.folder, self.stem = folder, stem
        self._pending: dict[str, torch.Tensor] = {}
        self._bytes = self._total = 0
        self._files: list[tuple[Path, list[str]]] = []

    def add(self, name: str, tensor: torch.Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        if self._pending and self._bytes + size > MAX_FILE_BYTES:
            self._flush()
        self._pending[name] = tensor.contiguous()
        self._bytes += size
        self._total += size

    def _flush(self) -> None:
        path = self.folder / f"{self.stem}-part{len(self._files):05d}.safetensors"
        save_file(self._pending, str(path), metadata={"format": "pt"})
        with safe_open(str(path), framework="pt") as back:
            check(sorted(back.keys()) == sorted(self._pending), f"{path}: what was written does not read back")
        self._files.append((path, list(self._pending)))
        self._pending, self._bytes = {}, 0

    def close(self) -> None:
        self._flush()
        count, weight_map = len(self._files), {}
        for number, (path, names) in enumerate(self._files, 1):
            final = f"{self.stem}.safetensors" if count == 1 else f"{self.stem}-{number:05d}-of-{count:05d}.safetensors"
            os.replace(path, self.folder / final)
            weight_map |= dict.fromkeys(names, final)
        if count > 1:
            index = {"metadata": {"total_size": self._total}, "weight_map": weight_map}
            write_whole(self.folder / f"{self.stem}.safetensors.index.json", json.dumps(index, indent=2))
