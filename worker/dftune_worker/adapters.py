"""What trains beside a frozen base: PEFT's low-rank updates, and modules of the base that are trained whole."""

import re

from torch import nn

from .errors import check
from .scores import NAME as SCORE
from .scores import head_of
from .weights import checkpoint_name

NAMES_OF_EXPERTS = frozenset({"gate_proj", "up_proj", "down_proj", "gate_up_proj", "w1", "w2", "w3"})


def attach_adapter(
    model: nn.Module, adapter: dict, saves_vocabulary: bool = False, frozen: list[str] | None = None
) -> nn.Module:
    """PEFT's adapter around the model. Modules that are saved whole stay the base's own, and train: PEFT would keep a
    second copy of each, which a run with a reference loads for itself. `frozen`: paths of modules that get no update."""
    from peft import LoraConfig, get_peft_model

    names = saved_names(model, adapter, saves_vocabulary)
    saved = _saved_modules(model, names)
    config = LoraConfig(
        r=adapter["r"],
        lora_alpha=adapter["lora_alpha"],
        lora_dropout=adapter["lora_dropout"],
        use_rslora=adapter.get("use_rslora", False),
        use_dora=adapter.get("use_dora", False),
        target_modules=_targets(model, adapter["target_modules"], frozen or []),
        exclude_modules=_excluded(adapter.get("exclude_modules"), [*saved, *(frozen or [])]),
        layers_to_transform=adapter.get("layers_to_transform"),
        rank_pattern=adapter.get("rank_pattern") or {},
        alpha_pattern=adapter.get("alpha_pattern") or {},
        task_type=None if hasattr(model, SCORE) else "CAUSAL_LM",  # for SEQ_CLS PEFT would keep a copy of the score
    )
    try:
        adapted = get_peft_model(model, config, autocast_adapter_dtype=False, low_cpu_mem_usage=True)
    except ValueError as error:
        check(False, f"adapter: {error}")
    for name, parameter in adapted.named_parameters(remove_duplicate=False):
        if is_saved(names, name):
            parameter.requires_grad_(True)
    return adapted


def saved_names(model: nn.Module, adapter: dict, saves_vocabulary: bool) -> list[str]:
    """`modules_to_save`, and the embedding and the head where there are new tokens."""
    names = list(adapter.get("modules_to_save") or [])
    if hasattr(model, SCORE) and SCORE not in names:
        names.append(SCORE)  # a new one is no base's
    if saves_vocabulary:
        pair = (model.get_input_embeddings(), model.get_output_embeddings())
        names += [n for n, m in model.named_modules(remove_duplicate=False) if m in pair and n not in names]
    return names


def is_saved(names: list[str], parameter: str) -> bool:
    """PEFT's rule for `modules_to_save`: the end of a module's path, of this parameter's or of one around it."""
    if not names or "lora_" in parameter:
        return False
    parts = checkpoint_name(parameter).split(".")[:-1]
    paths = [".".join(parts[: i + 1]) for i in range(len(parts))]
    return any(path.endswith(name) for path in paths for name in names)


def written_names(model: nn.Module, names: list[str]) -> list[str]:
    """As adapter_config.json names them: a head that is the embedding under both names, because PEFT parts them."""
    embedding, head = model.get_input_embeddings(), head_of(model)
    if head is None or embedding.weight is not head.weight or not embedding.weight.requires_grad:
        return names
    both = {m: n.rsplit(".", 1)[-1] for n, m in model.named_modules() if m in (embedding, head)}
    return [*names, *(name for name in both.values() if name not in names)]


def head_name(model: nn.Module) -> str:
    """The path of the head's weight."""
    head = model.get_output_embeddings()
    return next(name for name, module in model.named_modules() if module is head) + ".weight"


def _saved_modules(model: nn.Module, names: list[str]) -> list[str]:
    """Paths of the modules with parameters of their own that are trained whole."""
    paths = [name for name, _ in model.named_modules() if name]
    for name in names:
        check(
            any(path.endswith(name) for path in paths),
            f'adapter.modules_to_save: no module\'s path ends in "{name}"',
        )
    owners = {n.rpartition(".")[0] for n, _ in model.named_parameters(remove_duplicate=False)}
    return sorted(path for path in owners if is_saved(names, f"{path}.weight"))


def _excluded(asked: str | list[str] | None, saved: list[str]) -> str | list[str] | None:
    """With what is trained whole: it has no update besides."""
    if not saved:
        return asked
    if isinstance(asked, str):
        return "|".join([f"(?:{asked})", *map(re.escape, saved)])
    return [*(asked or []), *saved]


def _targets(model: nn.Module, asked: str | list[str], frozen: list[str]) -> str | list[str]:
    """Names of linear layers but the head. Experts are left out: PEFT takes their layers' names for the experts' joined
    weights, dense and shared layers of the same name with them. A regular expression is PEFT's to match."""
    from transformers.pytorch_utils import Conv1D

    if isinstance(asked, str) and asked != "all-linear":
        return asked
    head = head_of(model)
    paths = [
        name for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    ]
    paths = [path for path in paths if path not in frozen]
    # a module of a sequence is called 0 or 2, as layers are
    linears = {path if (last := path.rsplit(".", 1)[-1]).isdigit() else last for path in paths}
    if any(name.rsplit(".", 2)[-2:-1] == ["experts"] and p.ndim == 3 for name, p in model.named_parameters()):
        linears -= NAMES_OF_EXPERTS
    if asked == "all-linear":
        return sorted(linears)
    unknown = sorted(name for name in set(asked) if not any(_names(name, path) for path in paths))
    check(
        not unknown,
        f"adapter.target_modules: {', '.join(unknown)} not in this model, which has {', '.join(sorted(linears))}",
    )
    return sorted(set(asked))


def _names(name: str, path: str) -> bool:
    return path == name or path.endswith(f".{name}")
