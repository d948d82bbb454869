"""What trains, and its frozen reference: built, placed, filled with weights, and checked against Transformers' own."""

from collections.abc import Callable

import torch

from .groups import freeze_tensors
from .model import PackedModel, build, freeze, read_config
from .parallel import World, place, reshard
from .principal import begin_principal, is_principal
from .routers import routers_of
from .self_check import Finding, settle, settle_routers
from .shards import PreparedRows
from .spec import RunSpec
from .vision import eyes_of
from .weights import ConvertedWeights, Weights, fill_parameters, local_rows, weights_of


def load_models(
    spec: RunSpec, world: World, dtype: torch.dtype, needs_reference: bool, rows: PreparedRows
) -> tuple[PackedModel, PackedModel | None, list[Finding]]:
    """What trains, and the frozen reference where the objective needs one. The weights' file is unmapped on return: what
    was read of it counts as this process's memory until then."""
    config = read_config(spec.model)
    weights, adapter = weights_of(spec.model, config.model_type), spec.config["adapter"]
    model = _load(spec, world, weights, dtype, adapter=adapter)
    model.eyes = eyes_of(spec.model, config)
    if world.context is not None:
        model.share_rows(world.context)
    two = [rows[i] for i in [*rows.first_with_pictures(2), 0, min(1, len(rows) - 1)][:2]]
    # One process still holds float32 here; shards are gathered in what they compute in.
    findings = settle(model, two, dtype if world.size > 1 else torch.float32, world.device)
    model.routers = None if model.gives_scores else routers_of(spec.config, spec.objective, model.config)
    if model.routers is not None:
        settle_routers(model, rows[0], world.device)
    reshard(model)
    model.join_tied_gradients()
    if alpha := spec.config.get("neftune_noise_alpha"):
        model.add_noise(alpha)
    saves = adapter is not None and (adapter.get("modules_to_save") or spec.config.get("model_tokens"))
    goes_on = adapter is not None and bool(adapter.get("path"))  # its reference is that adapter as it was
    changes_base = adapter is None or bool(saves) or bool(model.begun) or goes_on  # which cannot be switched off
    if not needs_reference or not changes_base:
        return model, None, findings
    reference = _load(spec, world, weights, dtype, adapter=adapter if goes_on else None, frozen=True)
    reference.behave_as(model)
    reference.eyes = model.eyes
    return model, reference, findings


def load_again(spec: RunSpec, world: World, model: PackedModel, master: Callable) -> PackedModel:
    """The model once more, computing in float32: what trains as `master(name, parameter)` is, the rest as its file has it.
    Where one process runs, the memory of what is frozen is taken from `model`."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for parameter in model.parameters() if world.size == 1 else ():
        if not parameter.requires_grad:
            parameter.data = parameter.data.new_empty(0)
    weights = weights_of(spec.model, read_config(spec.model).model_type)
    again = _load(spec, world, weights, torch.float32, adapter=spec.config["adapter"])
    with torch.no_grad():
        for name, parameter in again.named_parameters():
            if name in trained:
                local_rows(parameter)[0].copy_(local_rows(master(name, trained[name]))[0])
    again.behave_as(model)
    again.eyes = model.eyes
    return again


def _load(
    spec: RunSpec,
    world: World,
    weights: Weights | ConvertedWeights,
    dtype: torch.dtype,
    adapter: dict | None,
    frozen: bool = False,
) -> PackedModel:
    grows = bool(spec.config.get("model_tokens"))
    tower = spec.config.get("vision_tower") == "trained"
    model = PackedModel(build(spec.model, adapter, grows, tower, spec.scores), fuse=world.device.type == "cuda")
    if frozen:
        freeze(model, dtype)
    elif spec.config.get("freeze"):
        freeze_tensors(model, spec.config["freeze"])
    place(model, world, dtype)
    fill_parameters(model, weights, spec.config["seed"], spec.adapter_start, model.vocabulary, spec.score_start)
    if adapter is not None and is_principal(spec.config):
        model.begun = begin_principal(model, weights, spec.resume)
    return model
