"""Updates other than AdamW, each over one parameter's part on this rank; what each remembers is told by name.

A rule is given the float32 master, the gradient times the step's scale, and its own state, all of one shape, and changes
master and state in place. `elementwise` rules may be given a tensor in pieces.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch

Tensor = torch.Tensor
BLOCK = 256
LEAST_ELEMENTS = 4096  # smaller tensors keep float32 moments under adamw-8bit


@dataclass(frozen=True)
class RuleSettings:
    beta1: float
    beta2: float
    epsilon: float
    momentum: float


@dataclass(frozen=True)
class At:
    """A step's numbers for one parameter. `step` from 1."""

    step: int
    rate: float
    decay: float


class Lion:
    """arXiv 2302.06675, algorithm 2."""

    elementwise, sharded_state = True, True

    def __init__(self, settings: RuleSettings):
        self.s = settings

    def zeros(self, part: Tensor, _whole: torch.Size) -> dict[str, Tensor]:
        return {"exp_avg": torch.zeros_like(part, dtype=torch.float32)}

    def update(self, master: Tensor, gradient: Tensor, state: dict[str, Tensor], at: At, _world) -> None:
        m = state["exp_avg"]
        change = m.mul(self.s.beta1).add_(gradient, alpha=1 - self.s.beta1).sign_()
        master.mul_(1 - at.rate * at.decay).sub_(change, alpha=at.rate)
        m.mul_(self.s.beta2).add_(gradient, alpha=1 - self.s.beta2)


class AdamW8bit:
    """Moments of a byte a number in blocks of 256 (arXiv 2110.02861), as src/optim/adamw-8bit.ts computes them. Blocks run
    over this rank's part, so another number of processes has others."""

    elementwise, sharded_state = False, False

    def __init__(self, settings: RuleSettings):
        self.s = settings

    def zeros(self, part: Tensor, _whole: torch.Size) -> dict[str, Tensor]:
        blocks, state = -(-part.numel() // BLOCK), {}
        for kind, signed in (("exp_avg", True), ("exp_avg_sq", False)):
            zero = int((code_map(signed)[0] == 0).nonzero()[0])
            state[f"{kind}.codes"] = torch.full((part.numel(),), zero, dtype=torch.uint8, device=part.device)
            state[f"{kind}.scales"] = torch.zeros(blocks, device=part.device)
        return state

    def update(self, master: Tensor, gradient: Tensor, state: dict[str, Tensor], at: At, _world) -> None:
        s, piece = self.s, 4096 * BLOCK
        correction = math.sqrt(1 - s.beta2**at.step)
        rate, epsilon = at.rate * correction / (1 - s.beta1**at.step), s.epsilon * correction
        flat, g = master.view(-1), gradient.reshape(-1)
        for start in range(0, flat.numel(), piece):
            part, blocks = slice(start, start + piece), slice(start // BLOCK, (start + piece) // BLOCK)
            first = decoded(state, "exp_avg", part, blocks)
            second = decoded(state, "exp_avg_sq", part, blocks)
            first.mul_(s.beta1).add_(g[part], alpha=1 - s.beta1)
            second.mul_(s.beta2).addcmul_(g[part], g[part], value=1 - s.beta2)
            change = first * rate / (second.sqrt() + epsilon)
            flat[part].mul_(1 - at.rate * at.decay).sub_(change)
            encode(first, state, "exp_avg", part, blocks)
            encode(second, state, "exp_avg_sq", part, blocks)


@cache
def code_map(signed: bool) -> tuple[Tensor, Tensor]:
    """256 values in order, and what lies between neighbours; a second moment above zero is never coded as zero."""
    values = [0.0, 1.0]
    for i in range(7):
        parts = 2**i if signed else 2 ** (i + 1)
        for k in range(parts):
            value = 10.0 ** (i + 1 - 7) * (0.1 + 0.9 * (k + 0.5) / parts)
            values += [value, -value] if signed else [value]
    ordered = torch.tensor(values, dtype=torch.float64).float().sort().values
    middles = ((ordered[1:].double() + ordered[:-1].double()) / 2).float()
    if not signed:
        middles[0] = 0
    return ordered, middles


def decoded(state: dict[str, Tensor], kind: str, part: slice, blocks: slice) -> Tensor:
    codes, scales = state[f"{kind}.codes"][part], state[f"{kind}.scales"][blocks]
    values = code_map(kind == "exp_avg")[0].to(codes.device)
    return values[codes.int()] * scales.repeat_interleave(BLOCK)[: len(codes)]


def encode(numbers: Tensor, state: dict[str, Tensor], kind: str, part: slice, blocks: slice) -> None:
    filled = torch.nn.functional.pad(numbers.abs(), (0, -len(numbers) % BLOCK)).view(-1, BLOCK)
    most = filled.amax(1)
    state[f"{kind}.scales"][blocks] = most
    of_each = most.repeat_interleave(BLOCK)[: len(numbers)]
    shares = torch.where(of_each == 0, torch.zeros_like(numbers), numbers / of_each)
    middles = code_map(kind == "exp_avg")[1].to(numbers.device)
    state[f"{kind}.codes"][part] = torch.searchsorted(middles, shares).to(torch.uint8)


class Adafactor:
    """arXiv 1804.04235 as Transformers' Trainer sets it; a matrix's means are over all ranks' rows. What has more than two
    dimensions (experts in one) keeps its second moment whole."""

    elementwise, sharded_state = False, True

    def __init__(self, settings: RuleSettings):
        self.s = settings

    def zeros(self, part: Tensor, whole: torch.Size) -> dict[str, Tensor]:
        if len(whole) != 2:
            return {"exp_avg_sq": torch.zeros_like(part, dtype=torch.float32)}
        return {
            "rows": torch.zeros(len(part), device=part.device),
            "columns": torch.zeros(whole[1], device=part.device),
        }

    def update(self, master: Tensor, gradient: Tensor, state: dict[str, Tensor], at: At, world) -> None:
        kept, count = 1 - at.step**-0.8, world.sum(torch.tensor([float(master.numel())], device=master.device)).item()
        squares = gradient.square() + 1e-30
        if "rows" in state:
            columns = world.sum(squares.sum(0)) * (squares.shape[1] / count)
            state["rows"].mul_(kept).add_(squares.mean(1), alpha=1 - kept)
            state["columns"].mul_(kept).add_(columns, alpha=1 - kept)
            mean = world.sum(state["rows"].sum()[None]) * (squares.shape[1] / count)
            by_row = (state["rows"] / mean).rsqrt()[:, None]
            change = by_row * state["columns"].rsqrt()[None] * gradient
        else:
            state["exp_avg_sq"].mul_(kept).add_(squares, alpha=1 - kept)
            change = gradient * state["exp_avg_sq"].rsqrt()
        rms = (world.sum(change.square().sum()[None]) / count).sqrt()
        change.mul_(at.rate / rms.clamp_min(1.0))
        master.mul_(1 - at.rate * at.decay).sub_(change)


class Muon:
    """torch.optim.Muon with Nesterov's momentum and `match_rms_adamw`; products in float32, as the local engine's."""

    elementwise, sharded_state = False, True

    def __init__(self, settings: RuleSettings):
        self.s = settings

    def zeros(self, part: Tensor, _whole: torch.Size) -> dict[str, Tensor]:
        return {"momentum": torch.zeros_like(part, dtype=torch.float32)}

    def update(self, master: Tensor, gradient: Tensor, state: dict[str, Tensor], at: At, world) -> None:
        mu, buffer = self.s.momentum, state["momentum"]
        buffer.lerp_(gradient, 1 - mu)
        ahead = gradient.lerp(buffer, mu)
        parts = world.gather_objects(ahead.cpu()) if world.size > 1 else [ahead]
        whole = torch.cat([part for part in parts if len(part)]).to(master.device)
        before = sum(len(part) for part in parts[: world.rank])
        change = orthogonal(whole)[before : before + len(master)]
        scale = 0.2 * math.sqrt(max(whole.shape))
        master.mul_(1 - at.rate * at.decay).sub_(change, alpha=at.rate * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T of U S V^T, by five Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def rule_of(optimizer: str, settings: RuleSettings, shape: torch.Size, in_layer: bool):
    """What updates a parameter; None: AdamW."""
    if optimizer == "lion":
        return Lion(settings)
    if optimizer == "adafactor":
        return Adafactor(settings)
    if optimizer == "adamw-8bit" and shape.numel() >= LEAST_ELEMENTS:
        return AdamW8bit(settings)
    if optimizer == "muon" and len(shape) == 2 and in_layer:
        return Muon(settings)
    return None
