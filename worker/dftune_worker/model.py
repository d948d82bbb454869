"""A Transformers causal language model over packed rows, its head replaced by `head_pass`."""

import contextlib
import copy
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from . import attention
from .errors import check
from .fusion import fused
from .head import HeadRequest, Reference, TiedGradient, float32_product, head_pass
from .packing import MicroBatch


class PackedModel(nn.Module):
    """Backbone, head and objective in one forward, so that sharding gathers and frees the head's weight around it."""

    def __init__(self, causal_lm: nn.Module, fuse: bool = False):
        """`fuse`: compiles each layer's norms, rotations, gates and sums. Attention stays outside (its kernels need no help)."""
        super().__init__()
        self.lm = causal_lm
        self.recompute = RecomputePlan()
        self._tied: TiedGradient | None = None
        for index, layer in enumerate(self.layers):
            packed = self.recompute.wrap(fused(layer.forward) if fuse else layer.forward, index)
            layer.forward = _by_packing(packed, layer.forward)

    def join_tied_gradients(self) -> None:
        """Where embedding and head are one weight: one gradient [V, C] for both, not one each and a sum."""
        embedding = self.backbone.embed_tokens
        if embedding.weight is self._plain.lm_head.weight and embedding.weight.requires_grad:
            self._tied = TiedGradient()
            embedding.forward = lambda token_ids: _embedded(
                embedding, _TiedRows.apply(embedding.weight, token_ids, self._tied)
            )

    def recomputed_bytes_per_token(self, element_bytes: int) -> int:
        """Where every layer keeps its input alone: those, and all of the one layer that is being computed again."""
        config = self.backbone.config
        return len(self.layers) * config.hidden_size * element_bytes + activation_bytes_per_token(config, element_bytes)

    @property
    def backbone(self) -> nn.Module:
        return self._plain.model

    @property
    def layers(self) -> nn.ModuleList:
        return self.backbone.layers

    @property
    def _plain(self) -> nn.Module:
        return self.lm.get_base_model() if hasattr(self.lm, "get_base_model") else self.lm

    def forward(
        self, batch: MicroBatch, request: HeadRequest | None, without_adapter: str = ""
    ) -> torch.Tensor | tuple:
        """The scaled loss; or, without a request, this model's hidden states at supervised positions and its head, as a reference.

        `without_adapter` ("logp" or "all") takes the reference from this very model with its adapter off.
        """
        if request is None:
            return self._hidden(batch), self._plain.lm_head.weight.detach()
        if without_adapter:
            with torch.no_grad(), self.lm.disable_adapter():
                request.reference = Reference(
                    self._hidden(batch), self._plain.lm_head.weight.detach(), without_adapter == "all"
                )
        request.tied = self._tied
        return head_pass(self._hidden(batch), self._plain.lm_head.weight, request)

    def next_logits(self, token_ids: torch.Tensor, position_ids: torch.Tensor, view, at: slice) -> torch.Tensor:
        """Logits [n, V] in float32 after the tokens `at` of [1, T], whose attention goes through a view of a key-value cache."""
        states = self.backbone(
            input_ids=token_ids, position_ids=position_ids, use_cache=False, packing=view
        ).last_hidden_state
        return float32_product(states[0, at], self._plain.lm_head.weight)

    def _hidden(self, batch: MicroBatch) -> torch.Tensor:
        """[S, C] at the positions that predict a target."""
        packing = attention.Packing(batch.lengths, batch.row_starts)
        states = self.backbone(
            input_ids=batch.token_ids, position_ids=batch.position_ids, use_cache=False, packing=packing
        ).last_hidden_state
        return states[0].index_select(0, batch.predicting)


def _by_packing(packed: Callable, decoding: Callable) -> Callable:
    """Tokens decoded one by one are not worth compiling for."""
    return lambda *args, packing, **kwargs: (packed if isinstance(packing, attention.Packing) else decoding)(
        *args, packing=packing, **kwargs
    )


def _embedded(embedding: nn.Embedding, rows: torch.Tensor) -> torch.Tensor:
    """The embedding's own forward over rows [..., C] that have been looked up: what a family does beyond that (Gemma scales)."""
    if type(embedding) is nn.Embedding:
        return rows
    looked_up = copy.copy(embedding)
    looked_up._parameters, looked_up.padding_idx = {}, None
    looked_up.weight = rows.flatten(0, -2)
    order = torch.arange(len(looked_up.weight), device=rows.device).view(rows.shape[:-1])
    return type(embedding).forward(looked_up, order)


class _TiedRows(torch.autograd.Function):
    """Rows of the embedding; its gradient is added to the head's, which backward has made before."""

    @staticmethod
    def forward(ctx, weight: torch.Tensor, token_ids: torch.Tensor, tied: TiedGradient) -> torch.Tensor:
        ctx.tied = tied
        ctx.save_for_backward(token_ids)
        return weight[token_ids]

    @staticmethod
    def backward(ctx, dy: torch.Tensor):
        (token_ids,) = ctx.saved_tensors
        gradient, ctx.tied.head = ctx.tied.head, None
        met, place = token_ids.reshape(-1).unique(return_inverse=True)
        rows = dy.new_zeros((len(met), dy.shape[-1]), dtype=torch.float32)  # a frequent token's many small terms
        rows.index_add_(0, place, dy.reshape(-1, dy.shape[-1]).float())
        gradient[met] = (rows + gradient[met]).to(gradient.dtype)
        return gradient, None, None


class RecomputePlan:
    """Which layers keep what their backward needs, and which keep only their input and compute again."""

    def __init__(self):
        self.first_kept = 0
        """Layers from this one on keep. The last ones: backward frees them first, before the other layers' gradients exist."""

    def wrap(self, forward, index: int):
        def either(*args, **kwargs):
            if not torch.is_grad_enabled() or index >= self.first_kept:
                return forward(*args, **kwargs)
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)

        return either


def kept_layers(mode: str, layers: int, tokens: int, bytes_per_token: int, budget: int) -> int:
    """How many layers keep their activations for a micro-batch of `tokens`; auto keeps what `budget` bytes hold."""
    if mode != "auto":
        return layers if mode == "never" else 0
    return max(0, min(layers, budget // max(1, tokens * bytes_per_token)))


def activation_bytes_per_token(config, element_bytes: int) -> int:
    """Of one layer, roughly: what autograd keeps of norms (float32), projections, attention and the gated MLP."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = config.num_attention_heads * head_dim
    kept = 4 * config.hidden_size + 5 * heads + 4 * config.intermediate_size
    return kept * element_bytes + 4 * 4 * config.hidden_size


def read_config(folder: Path):
    """The model's configuration, checked: nothing of a model folder is ever executed."""
    from transformers import AutoConfig

    path = folder / "config.json"
    check(path.is_file(), f"{path}: missing; expected a folder in Hugging Face's layout")
    raw = json.loads(path.read_text())
    check("auto_map" not in raw, f"{path}: auto_map asks for code from the model folder, which is never run")
    return AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)


def build(folder: Path, adapter: dict | None) -> nn.Module:
    """The model with parameters on the meta device (no memory), its adapter attached. Buffers are real."""
    from transformers import AutoModelForCausalLM

    config = read_config(folder)
    attention.register()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation=attention.NAME, trust_remote_code=False, dtype=torch.float32
        )
    rotary = model.model.rotary_emb
    model.model.rotary_emb = type(rotary)(config=config)  # its frequencies are computed, not loaded
    strays = [name for name, buffer in model.named_buffers() if buffer.is_meta]
    assert not strays, f"buffers without values: {strays}"
    model.train()
    return model if adapter is None else attach_adapter(model, adapter)


def attach_adapter(model: nn.Module, adapter: dict) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    targets = adapter["target_modules"]
    linears = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, nn.Linear)} - {
        "lm_head"
    }
    if targets != "all-linear":
        unknown = sorted(set(targets) - linears)
        check(
            not unknown,
            f"adapter.target_modules: {', '.join(unknown)} not in this model, which has {', '.join(sorted(linears))}",
        )
    config = LoraConfig(
        r=adapter["r"],
        lora_alpha=adapter["lora_alpha"],
        lora_dropout=adapter["lora_dropout"],
        use_rslora=adapter.get("use_rslora", False),
        target_modules=sorted(linears) if targets == "all-linear" else sorted(set(targets)),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config, autocast_adapter_dtype=False, low_cpu_mem_usage=True)


def freeze(model: nn.Module, dtype: torch.dtype) -> None:
    """For a reference: parameters in the precision it computes in, none of them trained. Buffers keep theirs."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
        parameter.requires_grad_(False)
    model.eval()


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
        self.folder, self._of = folder, {}
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


def fill_parameters(model: nn.Module, weights: Weights, seed: int, adapter_start: Path | None) -> None:
    """Gives every parameter its value; of a sharded one, this rank's part alone is read."""
    from torch.distributed.tensor import DTensor

    start = adapter_tensors(adapter_start) if adapter_start else None
    for name, parameter in model.named_parameters():
        local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
        first = _first_row(parameter) if isinstance(parameter, DTensor) else 0
        rows = slice(first, first + len(local))
        with torch.no_grad():
            if "lora_" in name:
                local.copy_(_adapter_start(name, parameter.shape, seed, start)[rows])
            elif len(local):
                local.copy_(weights.read(checkpoint_name(name), parameter.shape, rows))


def _first_row(parameter) -> int:
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    _, offset = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    return offset[0]


def checkpoint_name(name: str) -> str:
    """A parameter's name in a checkpoint: without what PEFT and this module put around it."""
    for around in ("lm.", "base_model.model."):
        name = name.removeprefix(around)
    return name.replace(".base_layer.", ".").replace(".default.", ".")


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


@contextlib.contextmanager
def step_randomness(seed: int, step: int, rank: int):
    """Dropout of a step depends on the step and the rank alone, so that a resumed run draws the same."""
    torch.manual_seed((seed * 1_000_003 + step) * 65_537 + rank)
    yield
