"""AdamW on float32 masters, kept one of two ways.

Split: the model computes with bfloat16 weights; the 16 bits that each lacks of its float32 master are kept beside it, as an
int16 to be added to the bit pattern. Weight and remainder together are the master exactly, in the memory of the master alone.
Whole: the parameters are the float32 masters (this rank's shards under FSDP, which casts what it gathers).
"""

import math
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import nn
from torch.optim.adamw import adamw

from .fusion import fused
from .groups import Group
from .rules import At

Tensor = torch.Tensor
PIECE = {
    "cpu": 1 << 18,
    "cuda": 1 << 24,
}  # elements that PyTorch's fused kernel updates at once; on a CPU the rebuilt master stays in cache


@dataclass(frozen=True)
class AdamWSettings:
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float


def local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def split_bits(master: Tensor) -> tuple[Tensor, Tensor]:
    """float32 to int16 (bits of the nearest bfloat16, remainder), ties away from zero: bits = (bfloat16 bits << 16) + remainder."""
    bits = master.view(torch.int32)
    high = (bits + 0x8000) >> 16
    return high.to(torch.int16), (bits - (high << 16)).to(torch.int16)


def join_bits(high: Tensor, remainder: Tensor) -> Tensor:
    return ((high.to(torch.int32) << 16) + remainder).view(torch.float32)


def split_master(master: Tensor) -> tuple[Tensor, Tensor]:
    """float32 to (nearest bfloat16, int16 remainder)."""
    high, remainder = split_bits(master)
    return high.view(torch.bfloat16), remainder


def join_master(weight: Tensor, remainder: Tensor) -> Tensor:
    return join_bits(weight.view(torch.int16), remainder)


def adamw_on_split_master(
    high: Tensor, remainder: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, numbers: tuple[Tensor, ...]
) -> None:
    """AdamW as PyTorch orders it, in place on [n] each. `high`: the weight's bfloat16 bits, as int16. `numbers`: the gradient's
    scale, 1 - beta1, 1 - beta2, learning rate / bias correction 1, sqrt(bias correction 2), epsilon, 1 - learning rate x decay."""
    scale, rest1, rest2, step_size, correction, epsilon, kept = numbers
    master = join_bits(high, remainder)
    gradient = gradient.float() * scale
    first = exp_avg + (gradient - exp_avg) * rest1
    second = exp_avg_sq + (gradient * gradient - exp_avg_sq) * rest2
    master = master * kept - step_size * first / (second.sqrt() / correction + epsilon)
    for held, new in zip((exp_avg, exp_avg_sq, high, remainder), (first, second, *split_bits(master)), strict=True):
        held.copy_(new)


class Optimizer:
    """Owns masters, moments and accumulated gradients of the parameters that train."""

    def __init__(
        self,
        model: nn.Module,
        settings: AdamWSettings,
        split: bool,
        rules=None,
        groups=None,
        world=None,
        keeps_still=False,
    ):
        """`rules`: what updates a parameter of this name where AdamW does not; `groups`: its own rate and decay."""
        self.settings, self.steps_done, self._world = settings, 0, world
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self._index_of = {name: index for index, name in enumerate(self.names)}
        self.remainders: list[Tensor] | None = [] if split else None
        self._still: dict[str, Tensor] = {}  # of what a full fine-tune leaves alone, and writes out as it was
        if split:
            for name, p in model.named_parameters():
                weight, remainder = split_master(p.data)
                p.data = weight
                if p.requires_grad:
                    self.remainders.append(remainder)
                elif keeps_still:
                    self._still[name] = remainder
        named = list(zip(self.names, self.parameters, strict=True))
        self.rules = [rules(name, p) if rules else None for name, p in named]
        self.groups = [groups(name) if groups else Group() for name in self.names]
        self.states = [
            rule.zeros(local(p).data, p.shape) if rule else None
            for rule, p in zip(self.rules, self.parameters, strict=True)
        ]
        self.exp_avg = [
            torch.zeros(local(p).shape, dtype=torch.float32, device=p.device) if rule is None else None
            for rule, p in zip(self.rules, self.parameters, strict=True)
        ]
        self.exp_avg_sq = [None if m is None else torch.zeros_like(m) for m in self.exp_avg]
        self._sums: list[Tensor | None] = [None] * len(self.parameters)
        self._several = False
        if split:
            for index, p in enumerate(self.parameters):
                p.register_post_accumulate_grad_hook(partial(self._sum_in_float32, index))

    def expect(self, micro_batches: int) -> None:
        """Says how many backward passes the step has. One bfloat16 gradient is left as it is; several are summed in float32."""
        self._several = micro_batches > 1

    def _sum_in_float32(self, index: int, p: Tensor) -> None:
        if not self._several:
            return
        before = self._sums[index]
        if before is None:
            self._sums[index] = p.grad.float()
        else:
            before += p.grad
        p.grad = None

    def gradients(self) -> list[Tensor]:
        """This rank's part of each summed gradient."""
        found = []
        for p, total in zip(self.parameters, self._sums, strict=True):
            gradient = total if total is not None else p.grad
            found.append(local(gradient) if gradient is not None else torch.zeros_like(local(p)))
        return found

    def gradient_bytes(self) -> int:
        """Of all gradients on this rank, of one micro-batch."""
        return sum(local(p).numel() * p.element_size() for p in self.parameters)

    def square_norm(self) -> Tensor:
        """Of this rank's gradients, float64 scalar."""
        gradients = self.gradients()
        if gradients[0].is_cuda:
            return torch.stack(torch._foreach_norm(gradients, 2, torch.float32)).double().square().sum()
        wide = torch.empty(
            PIECE["cpu"]
        )  # one piece in float32, in cache; fresh memory for each would cost more than its sum
        squares = []
        for part in (part for gradient in gradients for part in gradient.reshape(-1).split(len(wide))):
            piece = wide[: len(part)].copy_(part)
            squares.append(piece.dot(piece))
        return torch.stack(squares).double().sum()

    def clear(self) -> None:
        self._sums = [None] * len(self.parameters)
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def update(self, rate: float, gradient_scale: float) -> None:
        """One AdamW step with every gradient multiplied by `gradient_scale` (normalisation and clipping in one)."""
        device = self.parameters[0].device
        if self.remainders is not None and device.type == "cuda":
            return self._update_split_masters(rate, gradient_scale)
        piece, steps_before = PIECE[device.type], torch.tensor(float(self.steps_done), device=device)
        scratch = _Scratch(piece, device, torch.tensor(1 / gradient_scale, device=device))
        self.steps_done += 1
        for index, (p, gradient) in enumerate(zip(self.parameters, self.gradients(), strict=True)):
            own = rate * self.groups[index].rate
            if self.rules[index] is not None:
                self._update_by_rule(index, gradient, gradient_scale, own)
                continue
            weight, moments = local(p).data, (self.exp_avg[index], self.exp_avg_sq[index])
            decay = self._decay(index)
            flat = [t.reshape(-1) for t in (weight, gradient, *moments)]
            remainder = None if self.remainders is None else self.remainders[index].reshape(-1)
            for start in range(0, flat[0].numel(), piece):
                part = slice(start, start + piece)
                split = None if remainder is None else remainder[part]
                self._update_piece([t[part] for t in flat], split, scratch, steps_before.clone(), own, decay)
            self._release(index)

    def _update_by_rule(self, index: int, gradient: Tensor, scale: float, rate: float) -> None:
        """Where AdamW does not: in pieces where the rule looks at no more than an element."""
        rule, state, weight = self.rules[index], self.states[index], local(self.parameters[index]).data
        remainder = None if self.remainders is None else self.remainders[index]
        at = At(self.steps_done, rate, self._decay(index))
        tensors = [weight, gradient, *([] if remainder is None else [remainder]), *state.values()]
        pieces = [tensors]
        if rule.elementwise:
            flat, size = [t.reshape(-1) for t in tensors], PIECE[weight.device.type]
            pieces = [[t[start : start + size] for t in flat] for start in range(0, weight.numel(), size)]
        for part, g, *rest in pieces:
            low = None if remainder is None else rest.pop(0)
            master = part if low is None else join_master(part, low)
            rule.update(master, g.float() * scale, dict(zip(state, rest, strict=True)), at, self._world)
            if low is not None:
                for held, new in zip((part, low), split_master(master), strict=True):
                    held.copy_(new)
        self._release(index)

    def _decay(self, index: int) -> float:
        """Biases and norms do not decay."""
        own = self.groups[index].weight_decay
        decay = self.settings.weight_decay if own is None else own
        return decay if self.parameters[index].ndim >= 2 else 0.0

    def _update_split_masters(self, rate: float, gradient_scale: float) -> None:
        """On a GPU: one kernel a parameter, which reads and writes 26 bytes a weight. Masters rebuilt for PyTorch's own take four times that."""
        self.steps_done += 1
        s, device = self.settings, self.parameters[0].device
        corrections = 1 - s.beta1**self.steps_done, math.sqrt(1 - s.beta2**self.steps_done)

        @cache
        def numbers(own: float, decay: float) -> tuple[Tensor, ...]:
            first, second = corrections
            listed = [gradient_scale, 1 - s.beta1, 1 - s.beta2, own / first, second, s.epsilon, 1 - own * decay]
            return torch.tensor(listed, device=device).unbind()

        for index, (p, gradient) in enumerate(zip(self.parameters, self.gradients(), strict=True)):
            own = rate * self.groups[index].rate
            if self.rules[index] is not None:
                self._update_by_rule(index, gradient, gradient_scale, own)
                continue
            tensors = [
                p.data.view(torch.int16),
                self.remainders[index],
                gradient,
                self.exp_avg[index],
                self.exp_avg_sq[index],
            ]
            fused(adamw_on_split_master)(*(t.reshape(-1) for t in tensors), numbers(own, self._decay(index)))
            self._release(index)

    def _update_piece(
        self, flat: list[Tensor], remainder: Tensor | None, scratch: "_Scratch", step: Tensor, rate: float, decay: float
    ) -> None:
        weight, gradient, exp_avg, exp_avg_sq = flat
        master = weight if remainder is None else scratch.join(weight, remainder)
        adamw(
            [master],
            [scratch.gradient[: len(gradient)].copy_(gradient)],
            [exp_avg],
            [exp_avg_sq],
            [],
            [step],
            fused=True,
            grad_scale=scratch.divisor,
            amsgrad=False,
            beta1=self.settings.beta1,
            beta2=self.settings.beta2,
            lr=rate,
            weight_decay=decay,
            eps=self.settings.epsilon,
            maximize=False,
        )
        if remainder is not None:
            scratch.split(weight, remainder)

    def _release(self, index: int) -> None:
        self._sums[index] = None
        self.parameters[index].grad = None

    def forget(self) -> None:
        """Lets go of the moments: nothing will be updated any more."""
        self.states, self.exp_avg, self.exp_avg_sq, self._sums = [], [], [], []

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint holds, by name: float32 masters and moments; of sharded parameters, distributed tensors."""
        out = self.masters()
        for index, (name, p) in enumerate(zip(self.names, self.parameters, strict=True)):
            if self.rules[index] is not None:
                for kind, part in self.states[index].items():
                    out[self._state_name(index, kind)] = _like(p, part) if self._is_sharded(index, part) else part
                continue
            out[f"exp_avg.{name}"] = _like(p, self.exp_avg[index])
            out[f"exp_avg_sq.{name}"] = _like(p, self.exp_avg_sq[index])
        return out

    def masters(self) -> dict[str, Tensor]:
        """`state()` without the moments."""
        named = enumerate(zip(self.names, self.parameters, strict=True))
        whole = self.remainders is None
        return {f"master.{n}": p.data if whole else join_master(p.data, self.remainders[i]) for i, (n, p) in named}

    def local_master(self, index: int) -> Tensor:
        """float32, this rank's part; where masters are whole, the very memory."""
        data = local(self.parameters[index].data)
        return data if self.remainders is None else join_master(data, self.remainders[index])

    @torch.no_grad()
    def replace_master(self, index: int, value: Tensor) -> None:
        """`value`: float32, this rank's part."""
        data = local(self.parameters[index].data)
        if self.remainders is None:
            data.copy_(value)
            return
        for held, new in zip((data, self.remainders[index]), split_master(value), strict=True):
            held.copy_(new)

    def as_parameter(self, index: int, part: Tensor) -> Tensor:
        """This rank's part as that of the parameter, distributed where it is."""
        return _like(self.parameters[index], part)

    def _state_name(self, index: int, kind: str) -> str:
        """What runs over this rank's part alone, in blocks, is this rank's own."""
        name = f"{kind}.{self.names[index]}"
        alone = self._world is None or self._world.size == 1 or self.rules[index].sharded_state
        return name if alone else f"{name}.rank-{self._world.rank}-of-{self._world.size}"

    def _is_sharded(self, index: int, part: Tensor) -> bool:
        """Along the parameter's rows; what is of its columns every rank has whole."""
        p = self.parameters[index]
        return self.rules[index].sharded_state and len(part) == len(local(p)) and (part.ndim > 1 or p.ndim == 1)

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor], steps_done: int) -> None:
        """From `state()` filled in place by a checkpoint's reader. Shards and moments were written through already."""
        self.steps_done = steps_done
        self.restore_masters(state)

    def restore_masters(self, masters: dict[str, Tensor]) -> None:
        """From `masters()`, filled in place likewise."""
        for index, name in enumerate(self.names if self.remainders is not None else []):
            self.replace_master(index, masters[f"master.{name}"])

    def master(self, name: str, p: Tensor) -> Tensor:
        """The float32 value of any parameter, whole on this rank under no sharding."""
        if self.remainders is None:
            return p.data
        if not p.requires_grad:
            return join_master(p.data, self._still[name]) if name in self._still else p.data.float()
        return join_master(p.data, self.remainders[self._index_of[name]])


class _Scratch:
    """Memory of one piece, used again for the next: a fresh page costs a CPU more than the arithmetic on it.

    `join` and `split` are `join_master` and `split_master`, in place.
    """

    def __init__(self, piece: int, device: torch.device, divisor: Tensor):
        def make(dtype):
            return torch.empty(piece, dtype=dtype, device=device)

        self.gradient, self._bits, self._remainder = make(torch.float32), make(torch.int32), make(torch.int32)
        self.divisor = divisor  # of the gradient: what AdamW's kernel calls its scale

    def join(self, weight: Tensor, remainder: Tensor) -> Tensor:
        bits = self._bits[: len(weight)].copy_(weight.view(torch.int16)).bitwise_left_shift_(16)
        return bits.add_(self._remainder[: len(weight)].copy_(remainder)).view(torch.float32)

    def split(self, weight: Tensor, remainder: Tensor) -> None:
        bits = self._bits[: len(weight)]
        remainder.copy_(bits)  # the low half, as a signed number
        weight.view(torch.int16).copy_(bits.add_(0x8000).bitwise_right_shift_(16))


def _like(p: Tensor, part: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor

    if not isinstance(p, DTensor):
        return part
    return DTensor.from_local(part, p.device_mesh, p.placements, run_check=False, shape=p.shape, stride=p.stride())
