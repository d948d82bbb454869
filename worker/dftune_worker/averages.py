"""An exponential moving average of the weights that train, as torch.optim.swa_utils.AveragedModel has it.

    average_1 = weights_1,   average_t = average_(t-1) + (1 - decay) (weights_t - average_(t-1))

float32, this rank's part of each. Evaluations, samples and the result are the average's; training goes on with the weights.
"""

import contextlib

import torch

from .model import PackedModel
from .optimizer import Optimizer
from .parallel import reshard

PREFIX = "ema."


class WeightAverage:
    def __init__(self, decay: float, optimizer: Optimizer, model: PackedModel):
        self._decay, self._optimizer, self._model = decay, optimizer, model
        self._held: list[torch.Tensor] | None = None

    @property
    def has_begun(self) -> bool:
        """There has been an update."""
        return self._held is not None

    def begin(self) -> None:
        """With the weights as they are."""
        count = len(self._optimizer.parameters)
        self._held = [self._optimizer.local_master(index).clone() for index in range(count)]

    @torch.no_grad()
    def take(self) -> None:
        """After an update."""
        if self._held is None:
            return self.begin()
        for index, held in enumerate(self._held):
            held.add_((self._optimizer.local_master(index) - held).mul_(1 - self._decay))

    @torch.no_grad()
    def exchange(self) -> None:
        """Puts the average in the weights' place and keeps them, or the other way round."""
        if self._held is None:
            return
        reshard(self._model)  # what a pass has left gathered is of before
        for index, held in enumerate(self._held):
            weights = self._optimizer.local_master(index).clone()
            self._optimizer.replace_master(index, held)
            held.copy_(weights)

    def state(self) -> dict[str, torch.Tensor]:
        """For a checkpoint, which is read in place."""
        if self._held is None:
            return {}
        named = enumerate(zip(self._optimizer.names, self._held, strict=True))
        return {f"{PREFIX}{name}": self._optimizer.as_parameter(i, held) for i, (name, held) in named}


@contextlib.contextmanager
def averaged(average: WeightAverage | None):
    """What a run says of its model it says of the average of its weights, where it keeps one."""
    if average is None:
        yield
        return
    average.exchange()
    try:
        yield
    finally:
        average.exchange()
