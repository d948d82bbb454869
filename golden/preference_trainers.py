"""What TRL's DPOTrainer, KTOTrainer, CPOTrainer (CPO and SimPO) and ORPOTrainer log over 20 steps on the same rows: writes trl_preferences.json.

    python golden/preference_trainers.py

TRL is set to this project's definitions: dropout off, ORPO's NLL over the chosen completion alone (TRL takes the prompt's too),
SimPO without the NLL (cpo_alpha 0), KTO in one micro-batch a step in TRL's own order (its mismatched answers are those of a batch).
A constant learning rate: its cosine starts at zero.
"""

import json
import os
import random
import tempfile

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
import torch
import trl
from datasets import Dataset
from peft import PeftModel
from tiny import HERE, MODELS, load, versions, write_json
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import SequentialSampler
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

EOS = 2
SETTINGS = {
    "steps": 20,
    "batch_size": 4,
    "learning_rate": 0.001,
    "lr_scheduler": "constant",
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-8,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
}
# Of every trainer of TRL here: one step at a time on the CPU, as given, without files and reports.
PLAIN = {
    "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "fp16": False,
    "seed": 0,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
}
ROWS = 24


def rows_of(vocabulary):
    """Prompts with two answers each, of different lengths; the last id of an answer is EOS."""
    draw = random.Random(7)

    def ids(least, most):
        return [draw.randrange(3, vocabulary) for _ in range(draw.randint(least, most))]

    return [{"prompt": ids(2, 9), "chosen": [*ids(1, 8), EOS], "rejected": [*ids(1, 8), EOS]} for _ in range(ROWS)]


SPECIAL = ("<unk>", "<pad>", "<eos>")


def word(i):
    return SPECIAL[i] if i < len(SPECIAL) else f"w{i}"


def words(ids):
    return " ".join(map(word, ids))


def tokenizer_of(vocabulary):
    made = Tokenizer(models.WordLevel({word(i): i for i in range(vocabulary)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def in_order(trainer_class):
    class InOrder(trainer_class):
        def _get_train_sampler(self, *_):
            return SequentialSampler(self.train_dataset)

    return InOrder


class OwnNll(in_order(ORPOTrainer)):
    """ORPO with the NLL over the chosen completion alone."""

    def concatenated_forward(self, model, batch):
        chosen, rejected, logits, rejected_logits, _ = super().concatenated_forward(model, batch)
        labels = self.concatenated_inputs(batch, padding_value=self.padding_value)["concatenated_labels"]
        own = labels[: len(chosen), 1:]
        nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1), own.flatten(), ignore_index=-100)
        return chosen, rejected, logits, rejected_logits, nll


def answers(row):
    return {"prompt": words(row["prompt"]), "chosen": " " + words(row["chosen"]), "rejected": " " + words(row["rejected"])}


def labelled(row, index):
    side = "chosen" if index % 2 == 0 else "rejected"
    return {"prompt": words(row["prompt"]), "completion": " " + words(row[side]), "label": index % 2 == 0}


RUNS = {
    "dpo": (in_order(DPOTrainer), DPOConfig, {"loss_type": "sigmoid", "beta": 0.1}),
    "dpo-ipo": (in_order(DPOTrainer), DPOConfig, {"loss_type": "ipo", "beta": 0.1}),
    "dpo-sft": (in_order(DPOTrainer), DPOConfig, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5], "beta": 0.1}),
    "kto": (KTOTrainer, KTOConfig, {"beta": 0.1}),
    "cpo": (in_order(CPOTrainer), CPOConfig, {"loss_type": "sigmoid", "beta": 0.1, "cpo_alpha": 1.0}),
    "simpo": (in_order(CPOTrainer), CPOConfig, {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0}),
    "orpo": (OwnNll, ORPOConfig, {"beta": 0.1}),
}


def run(family, name, dataset, tokenizer, check, adapter=False, max_length=64):
    """What a trainer logs over the dataset's steps; `check` gets its first batch."""
    trainer_class, config_class, more = RUNS[name]
    model = load(family)
    if adapter:
        model = PeftModel.from_pretrained(model, os.path.join(MODELS, family, "adapter"), is_trainable=True)
    size, steps = SETTINGS["batch_size"], SETTINGS["steps"]
    shared = {key: SETTINGS[key] for key in ("adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm")}
    with tempfile.TemporaryDirectory() as out:
        config = config_class(
            output_dir=out,
            per_device_train_batch_size=size,
            max_steps=steps,
            learning_rate=SETTINGS["learning_rate"],
            max_length=max_length,
            disable_dropout=True,
            remove_unused_columns=False,
            **PLAIN,
            **shared,
            **more,
        )
        trainer = trainer_class(model=model, args=config, train_dataset=dataset, processing_class=tokenizer)
        check(next(iter(trainer.get_train_dataloader())))
        trainer.train()
        keys = ("loss", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins", "kl", "train/kl")
        logs = [{k: float(log[k]) for k in keys if k in log} for log in trainer.state.log_history if "grad_norm" in log]
    assert len(logs) == steps, logs
    print(family, name, "lora" if adapter else "full", [round(log["loss"], 4) for log in logs[:4]])
    return logs


def run_ids(family, name, rows, adapter=False):
    """On rows of ids."""
    size, steps = SETTINGS["batch_size"], SETTINGS["steps"]
    order = [i % len(rows) for i in range(steps * size)]
    given = [labelled(rows[i], k) if name == "kto" else answers(rows[i]) for k, i in enumerate(order)]
    vocabulary = load(family).config.vocab_size
    first = [rows[i] for i in order[:size]]
    return run(family, name, Dataset.from_list(given), tokenizer_of(vocabulary), lambda batch: check(name, batch, first), adapter)


def check(name, batch, rows):
    """TRL's ids are the rows' own."""
    if name == "kto":
        return
    ids = batch["input_ids"] if "input_ids" in batch else batch["chosen_input_ids"]
    mask = batch["attention_mask"] if "attention_mask" in batch else batch["chosen_attention_mask"]
    for row, got, kept in zip(rows, ids, mask, strict=False):
        assert got[kept.bool()].tolist() == row["prompt"] + row["chosen"], (name, got.tolist(), row)


if __name__ == "__main__":
    result = {"versions": versions() | {"trl": trl.__version__}, "settings": SETTINGS, "families": {}}
    for family in ("qwen2", "llama"):
        rows = rows_of(load(family).config.vocab_size)
        runs = {name: run_ids(family, name, rows) for name in RUNS}
        if family == "qwen2":
            runs["dpo.lora"] = run_ids(family, "dpo", rows, adapter=True)
        result["families"][family] = {"rows": rows, "runs": runs}
    write_json(os.path.join(HERE, "trl_preferences.json"), result)
    with open(os.path.join(HERE, "trl_preferences.json")) as file:
        json.load(file)
