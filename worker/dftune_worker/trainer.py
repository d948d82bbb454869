"""The loop: rows of a step to micro-batches, gradients of sums, one division, clipping, AdamW, events."""

import contextlib
import sys
from functools import partial
from pathlib import Path

import torch

from . import apart
from . import model as models
from .attention import kernel_in_words
from .averages import WeightAverage, averaged
from .best_step import Best, has_waited, stopped_early
from .checkpoint import Checkpoints, restore, take_best, trainer_state_of
from .errors import TrainingStopped, check
from .evaluation import evaluate, judge
from .events import EventLog
from .export import export_model, publish
from .expression import FROM_ROLLOUTS, Objective
from .float32 import evaluate_in_float32
from .fusion import fusion_in_words
from .given_rows import PromptRows, Steps
from .groups import check_groups, group_of
from .loading import load_models
from .memory import free_bytes
from .optimizer import AdamWSettings, Optimizer
from .parallel import DTYPES, World, precision_in_words, sharing_rows
from .passes import Passes
from .reference import damaged_references, measure_references, stored_references
from .rollouts import follow_orders
from .rules import RuleSettings, rule_of
from .run import Run
from .samples import Sampler
from .shards import PreparedRows, RunOrder, verify_shards
from .spec import RunSpec
from .step import next_rows, train_step
from .stop_request import INTERRUPTED, StopRequest

MICRO_BATCH_TOKENS = {"cpu": 4096, "cuda": 16384}
LEAST_MICRO_BATCH_TOKENS = 1024


def start(spec: RunSpec, world: World) -> Run:
    """Everything before the first step. Raises InputError for what the user can fix."""
    world = sharing_rows(world, spec.engine.get("context_parallel", 1))
    rows, order = _rows_of(spec, world)
    dtype, objective = DTYPES[spec.engine["dtype"]], Objective(spec.objective)
    missing = sorted(objective.inputs & set(FROM_ROLLOUTS)) if not spec.rollout else []
    check(not missing, f"objective: input {', '.join(missing)} comes from rollouts, and this run makes none")
    stored = {} if spec.rollout else stored_references(spec, world, objective, rows, order)
    compares = objective.needs_reference or bool(spec.rollout and spec.config["rollout"]["kl_in_reward"])
    is_needed = compares and not (stored and all(one.is_complete for one in stored.values()))
    model, reference, findings = load_models(spec, world, dtype, is_needed, rows)
    split = world.size == 1 and dtype == torch.bfloat16
    settings = AdamWSettings(
        *(spec.config[f"adam_{k}"] for k in ("beta1", "beta2", "epsilon")), spec.config["weight_decay"]
    )
    check_groups((name for name, p in model.named_parameters() if p.requires_grad), spec.config)
    groups, whole = partial(group_of, config=spec.config), spec.config["adapter"] is None
    optimizer = Optimizer(model, settings, split, _rules(spec.config, model), groups, world, keeps_still=whole)
    budget = _activation_budget(world, optimizer)
    if world.context is not None:  # layers that are computed again gather keys again: all ranks do, or none
        budget = -round(world.largest(-budget))
    settle_micro_batch(spec, world, rows, model.recomputed_bytes_per_token(dtype.itemsize), budget)
    passes = Passes(model, reference, objective, world, spec.config, budget)
    events = EventLog(spec.output_dir, world.first)
    sampler = Sampler(spec.samples, model, world, dtype) if spec.samples else None
    passes.paired = rows.paired
    if spec.rollout:
        passes.bring_reference(spec.config["rollout"]["temperature"], compares)
    if stored:
        measure_references(spec, passes, rows, stored)
        del reference
    findings += damaged_references(stored)
    run = Run(spec, world, model, optimizer, passes, rows, order, events, sampler, findings, references=stored)
    if (decay := spec.config.get("ema_decay")) is not None:
        run.average = WeightAverage(decay, optimizer, model)
    if spec.resume is not None:
        _resume(run, spec.resume)
    if world.first:
        say = [
            precision_in_words(dtype, split, spec.config["adapter"] is not None),
            apart.IN_WORDS[model.kept_apart],
            kernel_in_words(world.device, dtype) if model.kept_apart == apart.OWN else "Transformers' own attention",
            fusion_in_words(world.device),
            passes.recompute_in_words(),
            *([] if world.context is None else [f"{world.context.size} processes share every row"]),
        ]
        with contextlib.suppress(OSError):  # a run goes on when nobody reads what it says
            print("\n".join(f"dftune_worker: {line}" for line in say), file=sys.stderr, flush=True)
    return run


def _rows_of(spec: RunSpec, world: World) -> tuple[PreparedRows | PromptRows, RunOrder | Steps]:
    if spec.rollout:
        known = (spec.rollout[name] for name in ("shown", "longest", "key", "prompts"))
        return PromptRows(*known), Steps(spec.rollout["steps"])
    rows = spec.rows_of(spec.prepared, spec.row_columns)
    order = RunOrder(spec.order, rows)
    if world.first and spec.resume is None:
        verify_shards(rows)
    return rows, order


def _rules(config: dict, model: models.PackedModel):
    """What updates a parameter where AdamW does not."""
    optimizer = config.get("optimizer", "adamw")
    betas = (config["adam_beta1"], config["adam_beta2"], config["adam_epsilon"])
    settings = RuleSettings(*betas, config.get("muon_momentum", 0.95))
    in_layers = {id(p) for layer in model.layers for p in layer.parameters()}
    return lambda name, p: rule_of(optimizer, settings, p.shape, id(p) in in_layers)


def settle_micro_batch(spec: RunSpec, world: World, rows: PreparedRows, bytes_per_token: int, budget: int) -> None:
    """Puts a number in the place of micro_batch_tokens: auto. On a GPU, whose kernels want many tokens, what `budget` bytes hold
    when every layer is computed again; a resumed run takes what it had, so that its sums are rounded the same."""
    longest, given = int(rows.lengths.max(initial=0)), spec.config["micro_batch_tokens"]
    sharers = world.size // world.by_rows.size
    share, divided = -(-longest // sharers), f", {sharers} processes share it" if sharers > 1 else ""
    if given == "auto" and spec.resume is not None:
        given = trainer_state_of(spec.resume).get("micro_batch_tokens", "auto")
    if given == "auto":
        given = MICRO_BATCH_TOKENS[world.device.type]
        while given > LEAST_MICRO_BATCH_TOKENS and given * bytes_per_token > budget and world.device.type == "cuda":
            given //= 2
        given = max(share, -round(world.largest(-given)))  # the same on every rank: each knows all ranks' packs
    check(
        share <= given,
        f"micro_batch_tokens: {given} is less than the longest row ({longest} tokens{divided}); raise it or lower data.max_length",
    )
    spec.config["micro_batch_tokens"] = given


GRADIENT_SHARE = 0.3  # of the gradients' memory; during the head's pass its logits and weight gradient take the rest


def _activation_budget(world: World, optimizer: Optimizer) -> int:
    """Bytes that kept activations may take: half of what a GPU has left. On a CPU little, there the memory is everybody's:
    a share of what the gradients will need, which exist only when most activations are gone, or of what is free."""
    free = free_bytes(world) or 0
    if world.device.type == "cuda":
        return free // 2
    before_gradients = int(GRADIENT_SHARE * optimizer.gradient_bytes())
    return max(before_gradients, free // 64)


def _resume(run: Run, folder: Path) -> None:
    state = restore(folder, run, run.world)
    same = state["data_key"] in (run.rows.key, run.rows.manifest["key"]) and state["steps"] == run.order.steps
    check(
        same,
        f"{folder}: was made with other data or another number of steps ({state['steps']}, now {run.order.steps}); start a new run instead",
    )
    run.step, run.tokens, run.supervised_tokens = state["step"], state["tokens"], state["supervised_tokens"]
    run.skipped = state.get("skipped", 0)
    run.best = Best(**state["best"]) if "best" in state else None


def train(run: Run) -> int:
    """To the end, or to a checkpoint on request; returns the exit code. Events tell the rest."""
    stop = StopRequest(run.spec.output_dir, run.world)
    _say_start(run)
    if run.spec.rollout:
        return follow_orders(run, stop, checkpoints_of(run), finish)
    checkpoints = checkpoints_of(run)
    if run.step == 0:
        evaluate(run)
        if run.sampler:
            sample(run)
    is_over = False
    while run.step < run.order.steps and not is_over:
        train_step(run, next_rows(run))
        is_over = _after_step(run, checkpoints)
        stopping = stop.requested()
        if stopping and not is_over:
            save(run, checkpoints)
            checkpoints.finish()
            message = f"checkpoint at step {run.step}; --resume continues"
            run.events.write("run.end", run.step, reason="interrupted", message=message)
            return INTERRUPTED
        checkpoints.poll()
    return finish(run, checkpoints)


def checkpoints_of(run: Run) -> Checkpoints:
    def done(step, path):
        return run.events.write("checkpoint", step, path=str(path))

    return Checkpoints(run.spec.output_dir / "checkpoints", run.world, run.config["save_total_limit"], done)


def finish(run: Run, checkpoints: Checkpoints) -> int:
    """Writes the result."""
    checkpoints.finish()
    if run.skipped == run.order.steps:
        raise TrainingStopped(
            f"all {run.skipped} steps were skipped: no loss or gradient was a finite number, so nothing was learnt and no "
            "model is written. Look at the first warning's rows, at the base model's weights, or lower learning_rate"
        )
    measured_at = run.step
    if run.config.get("load_best_model_at_end") and run.best and run.best.step != run.step:
        take_best(checkpoints.folder, run)
        measured_at = run.best.step
    elif run.average is not None:
        run.average.exchange()
    output = _write_result(run)
    evaluate_in_float32(run, measured_at)
    run.events.write("run.end", run.step, reason="done", output=output)
    return 0


def _after_step(run: Run, checkpoints: Checkpoints) -> bool:
    """Evaluates, samples and saves where it is time; whether the run is over."""
    config, last = run.config, run.step == run.order.steps
    save_steps, eval_steps = config["save_steps"], config["eval_steps"]
    is_over, saves = last, save_steps and run.step % save_steps == 0
    if last or (eval_steps and run.step % eval_steps == 0):
        if judge(run, evaluate(run)) and config.get("load_best_model_at_end") and not last:
            save(run, checkpoints)
        is_over = last or has_waited(run.best, config)
    if run.sampler and (last or run.step % run.sampler.plan.every == 0):
        sample(run)
    if is_over and not last:
        run.events.write("warning", run.step, **stopped_early(run.best, config))
    if saves and not is_over:
        save(run, checkpoints)
    return is_over


def save(run: Run, checkpoints: Checkpoints) -> None:
    """Once a step."""
    if checkpoints.last == run.step:
        return
    checkpoints.best = run.best.step if run.best and run.config.get("load_best_model_at_end") else None
    checkpoints.save(run.step, run, run.trainer_state())


def _write_result(run: Run) -> str:
    final = run.spec.output_dir / "model"
    temporary = final.with_name(".model-writing")
    if run.world.first:
        if temporary.exists():
            publish(temporary, temporary.with_name(".model-abandoned"))
        temporary.mkdir()
    run.world.barrier()
    export_model(run, temporary)
    if run.world.first:
        publish(temporary, final)
    run.world.barrier()
    return str(final)


def sample(run: Run) -> None:
    with averaged(run.average):
        told = run.sampler.events()
    for fields in told:
        run.events.write("sample", run.step, **fields, dtype=run.spec.engine["dtype"])


def _say_start(run: Run) -> None:
    world, parameters = run.world, list(run.model.parameters())
    name = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu"
    resumed = {"resumed_from": str(run.spec.resume)} if run.spec.resume else {}
    run.events.write(
        "run.start",
        run.step,
        run_id=run.spec.run_id,
        name=run.spec.output_dir.resolve().name,
        engine="torch",
        device=name if world.size == 1 else f"{name} x {world.size}",
        dtype=run.spec.engine["dtype"],
        parameters={
            "total": sum(p.numel() for p in parameters),
            "trained": sum(p.numel() for p in parameters if p.requires_grad),
        },
        supervised_tokens_per_epoch=run.rows.manifest["supervised_tokens"],
        normalization=run.spec.normalization_in_words,
        steps=run.order.steps,
        objective=run.passes.objective.name,
        rows=run.rows.manifest["rows"],
        batch_size=run.config["batch_size"],
        **resumed,
    )
    for found in run.findings:
        run.events.write("warning", run.step, code=found.code, message=found.message, hint=found.hint)
