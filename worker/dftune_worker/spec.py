"""What TypeScript asks of a run: run-spec.json (docs/torch.md)."""

import json
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError, check
from .samples import SamplePlan, SamplePrompt
from .shards import PreparedRows


@dataclass(frozen=True)
class EvalSet:
    name: str
    prepared: Path
    row_columns: Path | None = None


@dataclass(frozen=True)
class RunSpec:
    run_id: str
    config: dict
    """The resolved config: every default is written out, none is stated here."""
    model: Path
    prepared: Path | None
    row_columns: Path | None
    """What rows bring to the objective: a number a row, by name."""
    order: Path | None
    eval: tuple[EvalSet, ...]
    objective: dict
    output_dir: Path
    resume: Path | None
    adapter_start: Path | None
    normalization_in_words: str
    reference_key: str | None
    """Of the model's weights, by which measured log-probabilities of it are kept; None: they are not."""
    rows_per_epoch: int
    samples: SamplePlan | None
    layout: str | None
    """How the rows were rendered, for `model/dftune.json`."""
    score_start: Path | None
    """A new reward model's first score, [1, C]."""
    model_json: str | None
    """config.json of the result, where it is another than the base's."""
    pad_token: int | None
    """Of texts that are scored."""
    template: Path | None
    """The chat template that the run was given a file of."""
    rollout: dict | None
    """Of a run that samples, in place of prepared rows and their order (docs/torch.md)."""

    @property
    def scores(self) -> bool:
        """A reward model is trained."""
        return any(node.get("name") == "score" for node in self.objective["nodes"] if node["op"] == "input")

    def rows_of(self, prepared: Path, row_columns: Path | None) -> PreparedRows:
        return PreparedRows(prepared, row_columns, self.pad_token)

    @property
    def engine(self) -> dict:
        return self.config["engine"]


def read_spec(path: Path) -> RunSpec:
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    check(
        raw.get("version") == 1,
        f"{path}: version: expected 1, got {raw.get('version')!r}; dftune and its worker are of different releases",
    )

    def optional(key):
        return Path(raw[key]) if raw.get(key) else None

    try:
        spec = RunSpec(
            run_id=raw["run_id"],
            config=raw["config"],
            model=Path(raw["model"]),
            prepared=optional("prepared") if raw.get("rollout") else Path(raw["prepared"]),
            row_columns=optional("row_columns"),
            order=optional("order") if raw.get("rollout") else Path(raw["order"]),
            eval=tuple(
                EvalSet(e["name"], Path(e["prepared"]), Path(e["row_columns"]) if e.get("row_columns") else None)
                for e in raw["eval"]
            ),
            objective=raw["objective"],
            output_dir=Path(raw["output_dir"]),
            resume=optional("resume"),
            adapter_start=optional("adapter_start"),
            normalization_in_words=raw["normalization_in_words"],
            reference_key=raw.get("reference_key"),
            rows_per_epoch=raw["rows_per_epoch"],
            samples=sample_plan(raw["samples"]),
            layout=raw.get("layout"),
            score_start=optional("score_start"),
            model_json=raw.get("model_json"),
            pad_token=raw.get("pad_token"),
            template=optional("template"),
            rollout=raw.get("rollout"),
        )
    except KeyError as error:
        raise InputError(f"{path}: key {error} is missing") from error
    check(spec.config["quantization"] == "none", "quantization: engine: torch does not quantise; engine: onnx does")
    return spec


def sample_plan(raw: dict | None) -> SamplePlan | None:
    if raw is None or not raw["prompts"]:
        return None
    return SamplePlan(
        every=raw["every"],
        max_new_tokens=raw["max_new_tokens"],
        prompts=tuple(SamplePrompt(tuple(p["token_ids"]), p["text"], p.get("reference")) for p in raw["prompts"]),
        stop_token_ids=frozenset(raw["stop_token_ids"]),
        token_texts=Path(raw["token_texts"]),
        tokenizer=Path(raw["tokenizer"]),
    )
