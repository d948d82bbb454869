"""What one process of a run holds while it trains."""

from dataclasses import asdict, dataclass, field

from . import model as models
from .averages import WeightAverage
from .best_step import Best
from .events import EventLog
from .given_rows import PromptRows, Steps
from .optimizer import Optimizer
from .parallel import World
from .passes import Passes
from .reference import StoredReference
from .samples import Sampler
from .self_check import Finding
from .shards import PreparedRows, RunOrder
from .spec import RunSpec


@dataclass
class Run:
    """What one process of a run holds."""

    spec: RunSpec
    world: World
    model: models.PackedModel
    optimizer: Optimizer
    passes: Passes
    rows: PreparedRows | PromptRows
    order: RunOrder | Steps
    events: EventLog
    sampler: Sampler | None
    findings: list[Finding]
    step: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    references: dict[str, StoredReference] = field(default_factory=dict)
    """Measured before the first update, by eval set; "" are the training rows."""
    skipped: int = 0
    average: WeightAverage | None = None
    best: Best | None = None
    nll_by_step: dict[int, dict[str, float]] = field(default_factory=dict)
    """What evaluations have said, by eval set."""

    @property
    def config(self) -> dict:
        return self.spec.config

    def trainer_state(self) -> dict:
        return {
            "version": 1,
            "engine": "torch",
            "run_id": self.spec.run_id,
            "step": self.step,
            "steps": self.order.steps,
            "optimizer_steps": self.optimizer.steps_done,
            "tokens": self.tokens,
            "supervised_tokens": self.supervised_tokens,
            "skipped": self.skipped,
            **({} if self.average is None else {"averaged": self.average.has_begun}),
            **({} if self.best is None else {"best": asdict(self.best)}),
            "data_key": self.rows.key,
            "micro_batch_tokens": self.config["micro_batch_tokens"],
            "processes": self.world.size,
        }
