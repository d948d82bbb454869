"""The head and the objective at supervised positions, a chunk of tokens at a time.

Logits [n, V] exist for one chunk only, in float32, in the forward pass; the gradients of the hidden states [S, C] and of the
weight [V, C] are formed there too, so the backward pass holds no logits either. With z the logits, p = softmax(z), H the
entropy and c_x = d loss / d x from the objective:

    d loss / d z = c_logp (onehot - p) - c_entropy p (log p + H) + c_kl (p - p_ref)

Some families scale or cap what the product y = h W^T + b gives: z = cap tanh(scale y / cap), dz/dy = scale (1 - (z / cap)^2).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from .fusion import fused

Tensor = torch.Tensor
TOP_K = 20
LEAST_LOGP = torch.finfo(torch.float32).min
CHUNK_BYTES = {"cpu": 512 << 20, "cuda": 1 << 30}  # float32 logits of one chunk
VOCABULARY_BLOCK = {"cpu": 2048, "cuda": 16384}
CACHE_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class HeadForm:
    """What becomes of a head's product. Without a weight the "hidden states" are logits already, and it does nothing."""

    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0
    """Of the distribution that samples were drawn from: divides the logits, after all else."""

    def logits(self, hidden: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """[n, V] in float32."""
        if weight is None:
            z = hidden.float().clone()  # its memory is used for the gradient
        else:
            z = float32_product(hidden, weight)
            if bias is not None:
                z += bias.float()
            if self.scale != 1:
                z *= self.scale
            if self.softcap is not None:
                z.div_(self.softcap).tanh_().mul_(self.softcap)
        return z if self.temperature == 1 else z.div_(self.temperature)

    def slope(self, z: Tensor) -> Tensor | float:
        """dz/dy at logits z."""
        rate = self.scale / self.temperature
        return rate if self.softcap is None else rate * (1 - (z * self.temperature / self.softcap).square())

    @property
    def is_plain(self) -> bool:
        return self.scale == 1 and self.softcap is None and self.temperature == 1


PLAIN = HeadForm()


@dataclass(frozen=True)
class Head:
    """A model's head: weight [V, C] (None: its logits come whole), bias [V] or None, and what becomes of their product."""

    weight: Tensor | None
    bias: Tensor | None = None
    form: HeadForm = PLAIN

    def logits(self, hidden: Tensor) -> Tensor:
        return self.form.logits(hidden, self.weight, self.bias)

    def detached(self) -> "Head":
        return Head(*(None if t is None else t.detach() for t in (self.weight, self.bias)), self.form)


@dataclass
class Reference:
    """The frozen reference's side of the head: hidden states [S, C'] and its own head."""

    hidden: Tensor
    head: Head
    full: bool  # the whole distribution is needed (kl_ref), not the target's probability alone


@dataclass
class TiedGradient:
    """The head's weight gradient [V, C] on its way to the embedding, when the two are one weight."""

    head: Tensor | None = None


@dataclass
class HeadRequest:
    """What a pass over one micro-batch computes. Statistics land in `columns` and `correct`, [S] each."""

    targets: Tensor  # [S]
    columns_given: dict[str, Tensor]  # token_class and the run's numbers
    objective: Callable | None  # (columns of the chunk, slice) -> (loss [n], gradients); None gives statistics only
    scale: Tensor | None = None  # [S] float64: what a token's loss is multiplied by
    needs_topk: bool = False
    reference: Reference | None = None
    tied: TiedGradient | None = None
    columns: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class _ChunkStatistics:
    columns: dict[str, Tensor]
    lse: Tensor  # [n]
    ref_logits: Tensor | None = None  # [n, V]
    ref_lse: Tensor | None = None


def head_pass(hidden: Tensor, head: Head | Tensor, request: HeadRequest) -> Tensor:
    """The scaled loss of hidden states [S, C] under a head, or its weight alone: a scalar to call backward on.

    Its gradient is computed here with the scale inside; the gradient from above is taken to be 1.
    """
    head = Head(head) if isinstance(head, Tensor) else head
    return _Head.apply(hidden, head.weight, head.bias, head.form, request)


class _Head(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, hidden: Tensor, weight: Tensor | None, bias: Tensor | None, form: HeadForm, request: HeadRequest
    ) -> Tensor:
        trains = request.objective is not None and any(ctx.needs_input_grad[:3])
        d_hidden = torch.zeros_like(hidden) if trains else None
        d_weight = _WeightGradient(weight) if trains and ctx.needs_input_grad[1] else None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if trains and ctx.needs_input_grad[2] else None
        vocabulary = hidden.shape[-1] if weight is None else weight.shape[0]
        total = hidden.new_zeros((), dtype=torch.float64)
        parts: list[dict[str, Tensor]] = []
        rows = max(1, CHUNK_BYTES.get(hidden.device.type, 1 << 30) // (4 * vocabulary))
        chunks = max(1, -(-len(hidden) // rows))
        for part in _slices(len(hidden), chunks):
            logits = form.logits(hidden[part], weight, bias)  # [n, V]
            targets = request.targets[part]
            statistics = _statistics(logits, targets, request, part)
            columns = statistics.columns
            parts.append(columns)
            if request.objective is None:
                continue
            loss, gradients = request.objective(
                columns | {n: v[part] if v.ndim else v for n, v in request.columns_given.items()}, part
            )
            scale = request.scale[part]
            columns["loss"], columns["weight"] = loss, -gradients.get("logp", torch.zeros_like(loss))
            total += (loss * scale).sum()
            if trains:
                coefficients = {name: (g * scale).float() for name, g in gradients.items()}
                d_logits = _logit_gradient(logits, statistics, targets, coefficients, hidden.dtype, form)
                d_hidden[part] = d_logits if weight is None else d_logits @ weight
                if d_bias is not None:
                    d_bias += d_logits.sum(0, dtype=torch.float32)
                if d_weight is not None:
                    d_weight.add(d_logits, hidden[part])
                del d_logits
            del logits, statistics
        request.columns = {name: torch.cat([p[name] for p in parts]) for name in parts[0]}
        ctx.gradients, ctx.tied = (d_hidden, d_weight.value() if d_weight else None), request.tied
        ctx.d_bias = None if d_bias is None else d_bias.to(bias.dtype)
        return total.float()

    @staticmethod
    def backward(ctx, _upstream: Tensor):
        d_hidden, d_weight = ctx.gradients
        ctx.gradients = None
        if ctx.tied is not None:
            ctx.tied.head, d_weight = d_weight, None
        return d_hidden, d_weight, ctx.d_bias, None, None


class _WeightGradient:
    """Sum over chunks of d_logits^T hidden, [V, C]. One chunk needs no float32 sum: its product is rounded once either way."""

    def __init__(self, weight: Tensor):
        self._like, self._sum = weight, None

    def add(self, d_logits: Tensor, hidden: Tensor) -> None:
        first = self._sum is None
        if first and hidden.is_cuda:
            self._sum = d_logits.T @ hidden
            return
        if first:
            self._sum = torch.empty_like(self._like)
        elif self._sum.dtype != torch.float32:
            self._sum = self._sum.float()
        size = VOCABULARY_BLOCK[hidden.device.type]
        for start in range(0, len(self._sum), size):  # a block at a time: no second [V, C], no copy of [n, V]
            block = slice(start, start + size)
            if first:
                torch.mm(d_logits[:, block].T, hidden, out=self._sum[block])
            else:
                self._sum[block] += d_logits[:, block].T @ hidden

    def value(self) -> Tensor:
        return torch.zeros_like(self._like) if self._sum is None else self._sum.to(self._like.dtype)


def float32_product(hidden: Tensor, weight: Tensor) -> Tensor:
    """Logits [n, V] in float32 from operands of any precision: bfloat16 logits would put p off by percents."""
    if hidden.dtype == torch.float32:
        return hidden @ weight.T
    if hidden.is_cuda:
        if hasattr(torch.ops.aten.mm, "dtype"):  # PyTorch 2.8 and later write float32 from bfloat16 operands
            return torch.mm(hidden, weight.T, out_dtype=torch.float32)
        return (
            (hidden.float() @ weight.T.float())
            if len(hidden)
            else hidden.new_zeros((0, len(weight)), dtype=torch.float32)
        )
    logits = hidden.new_empty((len(hidden), len(weight)), dtype=torch.float32)
    size = VOCABULARY_BLOCK["cpu"]
    hidden, wide = hidden.float(), weight.new_empty((size, weight.shape[1]), dtype=torch.float32)
    for start in range(0, len(weight), size):
        block = weight[start : start + size]
        torch.mm(hidden, wide[: len(block)].copy_(block).T, out=logits[:, start : start + len(block)])
    return logits


def _slices(count: int, chunks: int):
    size = max(1, -(-count // chunks))
    return [slice(start, min(start + size, count)) for start in range(0, max(count, 1), size)]


def _statistics(logits: Tensor, targets: Tensor, request: HeadRequest, part: slice) -> _ChunkStatistics:
    """Per-token numbers [n] in float64, and what the gradient needs of the chunk."""
    lse, entropy, largest = _by_rows(_row_statistics, logits)
    at = targets[:, None]
    target = logits.gather(-1, at)[:, 0]
    columns = {"logp": (target - lse).double(), "entropy": entropy.double(), "correct": (target == largest).double()}
    if request.needs_topk:
        top = logits.topk(min(TOP_K, logits.shape[-1]), -1).values.double().log_softmax(-1)
        columns["topk_entropy"] = -(top.exp() * top).sum(-1)
    reference = request.reference
    if reference is None:
        return _ChunkStatistics(columns, lse)
    ref_logits = reference.head.logits(reference.hidden[part])
    ref_lse = _by_rows(_row_statistics, ref_logits)[0]
    columns["ref_logp"] = (ref_logits.gather(-1, at)[:, 0] - ref_lse).double()
    if not reference.full:
        return _ChunkStatistics(columns, lse)
    columns["kl_ref"] = _by_rows(_row_divergence, ref_logits, ref_lse, logits, lse).double()
    return _ChunkStatistics(columns, lse, ref_logits, ref_lse)


def _row_statistics(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exp, entropy and largest of logits [n, V], each [n]."""
    largest = z.amax(-1)
    logp = z.log_softmax(-1)
    lse = largest - logp.amax(-1)
    p = logp.exp()
    return lse, -(p * logp.clamp_min(LEAST_LOGP)).sum(-1), largest  # 0 times infinity is 0


def _row_divergence(ref_z: Tensor, ref_lse: Tensor, z: Tensor, lse: Tensor) -> Tensor:
    """KL(reference || policy), [n]."""
    ref_logp = ref_z - ref_lse[:, None]
    p = ref_logp.exp()
    return torch.where(p > 0, p * (ref_logp - (z - lse[:, None])), 0.0).sum(-1)


def _logit_gradient(
    logits: Tensor,
    s: _ChunkStatistics,
    targets: Tensor,
    c: dict[str, Tensor],
    dtype: torch.dtype,
    form: HeadForm = PLAIN,
) -> Tensor:
    """d loss / d y of the head's product, [n, V] in `dtype`; formed in float32, also at the target, where p near 1 would cancel."""
    zero = torch.zeros(len(targets), device=logits.device)
    c_logp, c_entropy, c_kl = (c.get(name, zero) for name in ("logp", "entropy", "kl_ref"))
    logp, entropy = s.columns["logp"].float(), s.columns["entropy"].float()
    p, at = logp.exp(), targets[:, None]
    at_target = -c_logp * torch.expm1(logp) + c_kl * p - c_entropy * torch.where(p > 0, p * (logp + entropy), 0.0)
    terms = [logits, s.lse, c_kl - c_logp]
    formula = _gradient_of_probability
    if "entropy" in c:
        terms, formula = [*terms, c_entropy, entropy], _gradient_with_entropy
    if "kl_ref" in c:
        terms, formula = (
            [*terms[:2], s.ref_logits, s.ref_lse, c_kl - c_logp, c_entropy, entropy, c_kl],
            _gradient_with_reference,
        )
        at_target -= c_kl * (s.ref_logits.gather(-1, at)[:, 0] - s.ref_lse).exp()
    if not form.is_plain:
        at_target = at_target * torch.as_tensor(form.slope(logits.gather(-1, at)[:, 0]))
        formula = _sloped(formula, form)
    gradient = _rows_into(_gradient_memory(logits, dtype), formula, terms)
    return gradient.scatter_(-1, at, at_target[:, None].to(dtype))


@functools.cache  # one function a form, so that it is compiled once
def _sloped(formula: Callable, form: HeadForm) -> Callable:
    return lambda z, *others: form.slope(z) * formula(z, *others)


def _gradient_memory(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """[n, V] in `dtype`. On a CPU each row lies where its logits were, which are read before it is written."""
    if logits.is_cuda:
        return torch.empty(logits.shape, dtype=dtype, device=logits.device)
    return logits.view(dtype)[:, : logits.shape[1]]


def _gradient_of_probability(z: Tensor, lse: Tensor, c: Tensor) -> Tensor:
    if not z.is_cuda:
        return z.softmax(-1).mul_(c[:, None])  # one pass over a row in cache where PyTorch fuses nothing else
    return (z - lse[:, None]).exp() * c[:, None]


def _gradient_with_entropy(z: Tensor, lse: Tensor, c: Tensor, c_entropy: Tensor, entropy: Tensor) -> Tensor:
    logp = z - lse[:, None]
    p = logp.exp()
    return torch.where(p > 0, p * (c[:, None] - c_entropy[:, None] * (logp + entropy[:, None])), 0.0)


def _gradient_with_reference(
    z: Tensor, lse: Tensor, ref_z: Tensor, ref_lse: Tensor, c: Tensor, c_entropy: Tensor, entropy: Tensor, c_kl: Tensor
) -> Tensor:
    return _gradient_with_entropy(z, lse, c, c_entropy, entropy) - (ref_z - ref_lse[:, None]).exp() * c_kl[:, None]


def _rows_into(out: Tensor, function: Callable, tensors: list[Tensor]) -> Tensor:
    """`_by_rows` for a result as large as the logits: each block is rounded and written where it belongs."""
    if out.is_cuda:
        return out.copy_(fused(function)(*tensors))
    rows = max(1, CACHE_ELEMENTS // out.shape[-1])
    for start in range(0, len(out), rows):
        part = slice(start, start + rows)
        out[part] = function(*(t[part] for t in tensors))
    return out


def _by_rows(function: Callable, *tensors: Tensor):
    """`function` of row blocks that stay in cache on a CPU; fused over the whole chunk on a GPU."""
    z = tensors[0]
    if z.is_cuda:
        return fused(function)(*tensors)
    rows = max(1, CACHE_ELEMENTS // z.shape[-1])
    if len(z) <= rows:
        return function(*tensors)
    results = [function(*(t[start : start + rows] for t in tensors)) for start in range(0, len(z), rows)]
    if isinstance(results[0], tuple):
        return tuple(torch.cat(parts) for parts in zip(*results, strict=True))
    return torch.cat(results)
