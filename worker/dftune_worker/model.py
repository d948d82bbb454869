"""A Transformers causal language model over packed rows, its head replaced by `head_pass`."""

import contextlib
import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from . import apart, attention
from .adapters import attach_adapter
from .context import NAME as SHARED_ATTENTION
from .context import Context, Part
from .context import register as register_shared
from .errors import check
from .fusion import fused
from .head import PLAIN, Head, HeadRequest, Reference, TiedGradient, head_pass
from .noise import EmbeddingNoise, noisy
from .packing import MicroBatch
from .recompute import RecomputePlan, activation_bytes_per_token, can_recompute
from .routers import Routers
from .scores import NAME as SCORE
from .scores import head_of, score_pass
from .vision import MODEL_TYPES as VISION
from .vision import Eyes, tower_parameters, tower_paths
from .weights import auto_class


class PackedModel(nn.Module):
    """Backbone, head and objective in one forward, so that sharding gathers and frees the head's weight around it."""

    def __init__(self, causal_lm: nn.Module, fuse: bool = False):
        """`fuse`: compiles each layer's norms, rotations, gates and sums. Attention stays outside (its kernels need no help)."""
        super().__init__()
        self.lm = causal_lm
        self.recompute = RecomputePlan()
        self._tied: TiedGradient | None = None
        self.kept_apart = apart.choices(self.model_type)[0]
        """How rows are; `self_check` takes the first way that is exact."""
        self.head_form = PLAIN
        self.temperature = 1.0
        """Of the distribution that samples were drawn from; completions are computed at 1."""
        self._head_input = None if self.kept_apart == apart.OWN else apart.HeadInput(self._head_module)
        self.routers: Routers | None = None
        self.eyes: Eyes | None = None
        self.noise: EmbeddingNoise | None = None
        self._own_attention = self._plain.config._attn_implementation
        self.context: Context | None = None
        """The processes that share its rows."""
        self.begun: dict[str, torch.Tensor] = {}
        """What an adapter began with, where that was taken from the base."""
        text = self._plain.get_decoder() if self.model_type in VISION else self._plain
        lists = [m for m in text.modules() if isinstance(m, nn.ModuleList)]
        most = max(lists, key=lambda m: sum(p.numel() for p in m.parameters()), default=nn.ModuleList())
        self._layers = (most,)  # no second name for its modules
        for index, layer in enumerate(self.layers):
            if self.kept_apart == apart.OWN:
                packed = self.recompute.wrap(fused(layer.forward) if fuse else layer.forward, index)
                layer.forward = _by_packing(packed, layer.forward)
            elif can_recompute(layer):
                layer.forward = self.recompute.wrap(layer.forward, index)

    def add_noise(self, alpha: float) -> None:
        """NEFTune, while training."""
        self.noise = EmbeddingNoise(self._plain.get_input_embeddings(), alpha)

    def join_tied_gradients(self) -> None:
        """Where embedding and head are one weight: one gradient [V, C] for both, not one each and a sum."""
        embedding = self._plain.get_input_embeddings()
        one = embedding.weight is self._head_module.weight and embedding.weight.requires_grad
        if one and not self.gives_whole_logits and self._joins(embedding):
            self._tied = TiedGradient()
            embedding.forward = lambda token_ids: _embedded(
                embedding, _TiedRows.apply(embedding.weight, token_ids, self._tied)
            )

    @property
    def vocabulary(self) -> list[nn.Parameter]:
        """The embedding's and the head's weights, which may be one."""
        modules = (self._plain.get_input_embeddings(), self._head_module)
        return [m.weight for m in modules if getattr(m, "weight", None) is not None]

    @property
    def tied_weight(self) -> nn.Parameter | None:
        """Of embedding and head, where they are one."""
        weight = self._plain.get_input_embeddings().weight
        return weight if getattr(self._head_module, "weight", None) is weight else None

    def _joins(self, embedding: nn.Module) -> bool:
        """Whether the embedding's forward is one of looked-up rows alone (looked at with a few)."""
        if type(embedding) is nn.Embedding or isinstance(embedding.weight, DTensor):
            return type(embedding) is nn.Embedding
        some = torch.arange(min(8, len(embedding.weight)), device=embedding.weight.device)[None]
        with torch.no_grad():
            return torch.equal(_embedded(embedding, embedding.weight[some]), embedding(some))

    def recomputed_bytes_per_token(self, element_bytes: int) -> int:
        """Where every layer keeps its input alone: those, and all of the one layer that is being computed again."""
        config = self.config
        return len(self.layers) * config.hidden_size * element_bytes + activation_bytes_per_token(config, element_bytes)

    @property
    def config(self):
        """Of the text part."""
        return self._plain.config.get_text_config()

    @property
    def model_type(self) -> str:
        """Of the whole: text parts have types of their own, such as llama."""
        return self._plain.config.model_type

    @property
    def layers(self) -> nn.ModuleList:
        """The list of modules that holds most of the weights."""
        return self._layers[0]

    @property
    def backbone(self) -> nn.Module:
        return self._plain.model

    @property
    def head(self) -> Head:
        return self._head_at(self.temperature)

    def _head_at(self, temperature: float) -> Head:
        form = PLAIN if self.gives_whole_logits else self.head_form
        if temperature != 1:
            form = replace(form, temperature=temperature)
        if self.gives_whole_logits:
            return Head(None, form=form)
        module = self._head_module
        return Head(module.weight, getattr(module, "bias", None), form)

    @property
    def gives_whole_logits(self) -> bool:
        return self._head_input is not None and self._head_input.whole

    @property
    def gives_scores(self) -> bool:
        """A reward model: its head's one number is no logit."""
        return hasattr(self._plain, SCORE)

    def give_whole_logits(self, yes: bool) -> None:
        """Logits of all of a micro-batch's tokens as the model makes them, for heads that are more than a product."""
        self._head_input.whole = yes

    @property
    def _plain(self) -> nn.Module:
        return self.lm.get_base_model() if hasattr(self.lm, "get_base_model") else self.lm

    @property
    def _head_module(self) -> nn.Module:
        return head_of(self._plain)

    def share_rows(self, context: Context) -> None:
        """From now on micro-batches are those of a group of processes, of which this one computes a part."""
        apart.refuse_sharing(self.model_type, self.config)
        self.context = context
        if self.kept_apart != apart.OWN:
            self.kept_apart = apart.MASK
            register_shared()
            self._plain.config._attn_implementation = SHARED_ATTENTION

    @contextlib.contextmanager
    def not_sharing(self):
        """Every process computes all of what it is given, with the model's own attention."""
        context, config, used = self.context, self._plain.config, self._plain.config._attn_implementation
        self.context, config._attn_implementation = None, self._own_attention
        try:
            yield
        finally:
            self.context, config._attn_implementation = context, used

    def behave_as(self, other: "PackedModel") -> None:
        """A reference computes as the model that was looked at."""
        self.kept_apart, self.head_form, self.temperature = other.kept_apart, other.head_form, other.temperature
        if other.context is not None:
            self.share_rows(other.context)
        if self._head_input is not None:
            self._head_input.whole = other.gives_whole_logits

    def forward(
        self, batch: MicroBatch, request: HeadRequest | None, without_adapter: str = ""
    ) -> torch.Tensor | tuple:
        """The scaled loss; or, without a request, this model's hidden states at supervised positions and its head, as a reference.

        `without_adapter` ("logp" or "all") takes the reference from this very model with its adapter off.
        """
        part = batch if self.context is None else self.context.part_of(batch)
        if request is None:
            return self._hidden(part), self.head.detached()
        if without_adapter:
            with torch.no_grad(), self.lm.disable_adapter():
                request.reference = Reference(self._hidden(part), self.head.detached(), without_adapter == "all")
        own = request if part is batch else part.own(request)
        own.tied = self._tied
        with noisy(self.noise, part if request.scale is not None else None):
            hidden = self._hidden(part)
        if self.gives_scores:
            loss = score_pass(hidden, self._head_module.weight, own)
        else:
            loss = head_pass(hidden, self.head, own)
        if part is not batch:
            request.columns, loss = part.whole(own.columns), self.context.sum(loss)
        if self.routers is not None and request.scale is not None:
            loss = loss + self.routers.loss()
        if self.eyes is not None and request.scale is not None and not any(batch.pictures):
            loss = loss + self._unseen()
        return loss

    def _unseen(self) -> torch.Tensor:
        """Zero: gives the tower a gradient where no row has a picture, because other ranks' rows may have some."""
        return sum(0.0 * p.flatten()[:1].sum() for _, p in tower_parameters(self._plain) if p.requires_grad)

    def next_logits(self, token_ids: torch.Tensor, position_ids: torch.Tensor, view, at: slice) -> torch.Tensor:
        """Logits [n, V] in float32 after the tokens `at` of [1, T], whose attention goes through a view of a key-value cache."""
        states = self.backbone(
            input_ids=token_ids, position_ids=position_ids, use_cache=False, packing=view
        ).last_hidden_state
        return self._head_at(1.0).logits(states[0, at])

    def last_logits(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Logits [1, V] in float32 after all of a sequence [1, T], computed anew."""
        with self.not_sharing():
            states, _ = self._head_input.of(self._plain, {"input_ids": token_ids})
        return self._head_at(1.0).logits(states[0, -1:])

    def own_logits(self, batch: MicroBatch):
        """What Transformers' model itself says of the one row of a micro-batch: its output, logits [1, T, V] among it."""
        before, self._head_input.whole = self._head_input.whole, True
        try:
            extra = {"output_router_logits": True} if self.routers is not None else {}
            inputs = {"input_ids": batch.token_ids, **self._seen(batch, batch.token_ids), **extra}
            with self.not_sharing():
                return self._head_input.of(self._plain, inputs)[1]
        finally:
            self._head_input.whole = before

    def all_logits(self, batch: MicroBatch) -> torch.Tensor:
        """[T, V] in float32 of all tokens, for two rows: never so in training."""
        return self.head.logits(self.states(batch))

    def states(self, batch: MicroBatch) -> torch.Tensor:
        """[T, C] of all tokens, as the head multiplies them."""
        if self.context is None:
            return self._states(batch)
        part = self.context.part_of(batch)
        return part.all_states(self._states(part))

    def _states(self, batch: MicroBatch | Part) -> torch.Tensor:
        """[T, C] of a micro-batch's tokens, or [t, C] of this process's part of them."""
        inputs, real = apart.inputs_of(batch, self.kept_apart)
        if self.kept_apart == apart.OWN:
            return self.backbone(use_cache=False, **inputs).last_hidden_state[0]
        extra = {"output_router_logits": True} if self.routers is not None else {}
        states, out = self._head_input.of(self._plain, inputs | self._seen(batch, inputs["input_ids"]) | extra)
        if self.routers is not None:
            self.routers.saw(out.router_logits, batch.real if isinstance(batch, Part) else real, batch)
        return states.flatten(0, 1) if real is None else states[real]

    def _seen(self, batch: MicroBatch, token_ids: torch.Tensor) -> dict:
        return {} if self.eyes is None else self.eyes.inputs(batch.pictures, batch.sources, token_ids)

    def _hidden(self, batch: MicroBatch | Part) -> torch.Tensor:
        """[S, C] at the positions that predict a target."""
        return self._states(batch).index_select(0, batch.predicting)


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


def read_config(folder: Path):
    """The model's configuration, checked: nothing of a model folder is ever executed."""
    from transformers import AutoConfig

    path = folder / "config.json"
    check(path.is_file(), f"{path}: missing; expected a folder in Hugging Face's layout")
    raw = json.loads(path.read_text())
    check("auto_map" not in raw, f"{path}: auto_map asks for code from the model folder, which is never run")
    return AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)


def build(
    folder: Path,
    adapter: dict | None,
    saves_vocabulary: bool = False,
    trains_tower: bool = False,
    scores: bool = False,
) -> nn.Module:
    """The model with parameters on the meta device (no memory), its adapter attached. Buffers are real."""
    from accelerate import init_empty_weights
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = read_config(folder)
    check(
        config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or config.model_type in VISION,
        f'{folder}/config.json: "model_type": "{config.model_type}" is none that Transformers has a causal language model of',
    )
    if scores:
        check(
            config.model_type in apart.OWN_FAMILIES,
            f"{folder}: engine: torch trains reward models of {', '.join(sorted(apart.OWN_FAMILIES))}, got {config.model_type}; engine: onnx may have it",
        )
        config.num_labels = 1
    without_dropout(config)
    attention.register()
    options = {"attn_implementation": attention.NAME} if config.model_type in apart.OWN_FAMILIES else {}
    with init_empty_weights(include_buffers=False):  # frequencies and the like are computed, not loaded
        model = auto_class(config.model_type, scores).from_config(
            config, trust_remote_code=False, dtype=torch.float32, **options
        )
    model.tie_weights()  # a parameter that moved to the meta device is another one
    model.get_input_embeddings().padding_idx = None  # a row's tokens are tokens: often padding is the end of turn
    model.train()
    frozen = [] if trains_tower or config.model_type not in VISION else tower_parameters(model)
    for _, parameter in frozen:
        parameter.requires_grad_(False)
    if adapter is None:
        return model
    return attach_adapter(model, adapter, saves_vocabulary, tower_paths(model) if frozen else [])


def without_dropout(config) -> None:
    """Rows must come to the same however they are packed, and a loss must be what evaluation would say."""
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        for name, value in part.to_dict().items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("_pdrop")):
                setattr(part, name, 0.0)


def freeze(model: nn.Module, dtype: torch.dtype) -> None:
    """For a reference: parameters in the precision it computes in, none of them trained. Buffers keep theirs."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
        parameter.requires_grad_(False)
    model.eval()


@contextlib.contextmanager
def step_randomness(seed: int, step: int, rank: int):
    """Dropout of a step depends on the step and the rank alone, so that a resumed run draws the same."""
    torch.manual_seed((seed * 1_000_003 + step) * 65_537 + rank)
    yield
