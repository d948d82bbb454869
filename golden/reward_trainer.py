"""What TRL's RewardTrainer logs over 12 steps on the same pairs, and the scores before them: writes trl_rewards.json.

    python golden/reward_trainer.py

The models are the tiny ones as Transformers' ...ForSequenceClassification of one label, with a score of our own numbers.
"eos-is-pad" has a tokenizer whose pad token ends texts: Transformers then reads the score before it.
"""

import os
import tempfile

import torch
import trl
from datasets import Dataset
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from preference_trainers import PLAIN, SETTINGS, in_order, rows_of, tokenizer_of
from safetensors.torch import load_file
from tiny import HERE, MODELS, versions, write_json
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

STEPS = 12
RUNS = {
    "plain": {},
    "centred": {"center_rewards_coefficient": 0.05},
    "margin": {"margin": True},
    "eos-is-pad": {"eos_is_pad": True},
    "lora": {"adapter": True},
}


def scored(family, score):
    model = AutoModelForSequenceClassification.from_pretrained(
        os.path.join(MODELS, family), num_labels=1, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        model.score.weight.copy_(score)
    return model


def adapted(model, family, score):
    folder = os.path.join(MODELS, family, "adapter")
    saved = LoraConfig.from_pretrained(folder)
    config = LoraConfig(
        r=saved.r, lora_alpha=saved.lora_alpha, target_modules=saved.target_modules, task_type="SEQ_CLS", modules_to_save=["score"]
    )
    model = get_peft_model(model, config)
    tensors = load_file(os.path.join(folder, "adapter_model.safetensors"))
    set_peft_model_state_dict(model, tensors | {"base_model.model.score.weight": score[None]})
    return model


def run(family, score, rows, margin=False, eos_is_pad=False, adapter=False, **more):
    model = scored(family, score)
    tokenizer = tokenizer_of(model.config.vocab_size)
    if eos_is_pad:
        tokenizer.pad_token = tokenizer.eos_token
    if adapter:
        model = adapted(model, family, score)
    size = SETTINGS["batch_size"]
    order = [i % len(rows) for i in range(STEPS * size)]
    pairs = [
        {"chosen_ids": rows[i]["prompt"] + rows[i]["chosen"], "rejected_ids": rows[i]["prompt"] + rows[i]["rejected"]}
        | ({"margin": rows[i]["margin"]} if margin else {})
        for i in order
    ]
    shared = {key: SETTINGS[key] for key in ("adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm")}
    with tempfile.TemporaryDirectory() as out:
        config = RewardConfig(
            output_dir=out,
            per_device_train_batch_size=size,
            max_steps=STEPS,
            learning_rate=SETTINGS["learning_rate"],
            max_length=64,
            **PLAIN,
            **shared,
            **more,
        )
        trainer = in_order(RewardTrainer)(model=model, args=config, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer)
        inputs = tokenizer.pad({"input_ids": [pair[side] for pair in pairs[:size] for side in ("chosen_ids", "rejected_ids")]}, return_tensors="pt")
        with torch.no_grad():
            scores = trainer.model(**inputs).logits[:, 0].tolist()
        trainer.train()
        keys = ("loss", "grad_norm", "margin", "accuracy", "mean_reward")
        logs = [{k: float(log[k]) for k in keys if k in log} for log in trainer.state.log_history if "grad_norm" in log]
    assert len(logs) == STEPS, logs
    print(family, more, [round(log["loss"], 4) for log in logs[:4]])
    return {"scores": scores, "steps": logs}


if __name__ == "__main__":
    result = {"versions": versions() | {"trl": trl.__version__}, "settings": SETTINGS | {"steps": STEPS}, "families": {}}
    for family in ("qwen2", "llama"):
        config = AutoModelForSequenceClassification.from_pretrained(os.path.join(MODELS, family), num_labels=1).config
        rows = rows_of(config.vocab_size)
        for i, row in enumerate(rows):
            row["margin"] = (i % 5) / 4
        score = 0.3 * torch.randn(config.hidden_size, generator=torch.Generator().manual_seed(11))
        runs = {name: run(family, score, rows, **more) for name, more in RUNS.items() if name != "lora" or family == "qwen2"}
        result["families"][family] = {"rows": rows, "score": score.tolist(), "runs": runs}
    write_json(os.path.join(HERE, "trl_rewards.json"), result)
