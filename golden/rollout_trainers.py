"""What TRL's GRPOTrainer (GRPO and DAPO) and RLOOTrainer log over 10 steps on the same samples and rewards: writes trl_rollouts.json.

    python golden/rollout_trainers.py

Samples are drawn beforehand and given to the trainers in place of generation; two updates a rollout. A constant learning rate.
"""

import json
import os
import random
import tempfile

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
import trl
from datasets import Dataset
from preference_trainers import EOS, PLAIN, tokenizer_of, words
from tiny import HERE, load, versions, write_json
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

SETTINGS = {
    "steps": 10,
    "prompts": 2,
    "num_generations": 4,
    "num_iterations": 2,
    "learning_rate": 0.001,
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-8,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
}
ROLLOUTS = SETTINGS["steps"] // SETTINGS["num_iterations"]


def rollouts_of(vocabulary):
    """By rollout, by prompt: its ids, the ids of its samples, and their rewards."""
    draw = random.Random(11)

    def ids(least, most):
        return [draw.randrange(3, vocabulary) for _ in range(draw.randint(least, most))]

    def group():
        samples = [[*ids(1, 9), EOS] for _ in range(SETTINGS["num_generations"])]
        return {
            "prompt": ids(2, 9),
            "samples": samples,
            "rewards": [draw.randrange(5) / 4 for _ in samples],
        }

    groups = [[group() for _ in range(SETTINGS["prompts"])] for _ in range(ROLLOUTS)]
    for one in (one for some in groups for one in some):
        one["rewards"][:2] = [1.0, 0.0]  # no group's rewards are all equal
    return groups


def given(trainer_class, rollouts):
    """The trainer with samples that are there already; the reward of a sample is looked up by its ids."""

    class Given(trainer_class):
        made = 0

        def _generate_single_turn(self, prompt_ids, *_args, **_more):
            by_prompt = {
                tuple(one["prompt"]): list(one["samples"])
                for one in rollouts[self.made]
            }
            type(self).made += 1
            taken = [by_prompt[tuple(ids)].pop(0) for ids in prompt_ids]
            return (taken, None) if trainer_class is GRPOTrainer else taken

    return Given


RUNS = {
    "grpo": (
        GRPOTrainer,
        GRPOConfig,
        {"loss_type": "grpo", "beta": 0.0, "scale_rewards": "group"},
    ),
    "grpo-kl": (
        GRPOTrainer,
        GRPOConfig,
        {"loss_type": "grpo", "beta": 0.1, "scale_rewards": "group"},
    ),
    "dapo": (
        GRPOTrainer,
        GRPOConfig,
        {
            "loss_type": "dapo",
            "beta": 0.0,
            "epsilon_high": 0.28,
            "scale_rewards": "group",
        },
    ),
    # its ratio is a product over the answer: at 1e-3 the clip keeps nearly every second update from moving
    "rloo": (RLOOTrainer, RLOOConfig, {"beta": 0.05, "learning_rate": 0.0001}),
}


def run(family, name, rollouts):
    trainer_class, config_class, more = RUNS[name]
    model = load(family)
    n, steps = SETTINGS["num_generations"], SETTINGS["steps"]
    rewards = {
        tuple(ids): r
        for some in rollouts
        for one in some
        for ids, r in zip(one["samples"], one["rewards"], strict=True)
    }
    prompts = [{"prompt": words(one["prompt"])} for some in rollouts for one in some]

    def reward(completion_ids, **_):
        return [rewards[tuple(ids)] for ids in completion_ids]

    kept = (
        "learning_rate",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "weight_decay",
        "max_grad_norm",
    )
    shared = {key: SETTINGS[key] for key in kept} | more
    with tempfile.TemporaryDirectory() as out:
        config = config_class(
            output_dir=out,
            per_device_train_batch_size=n * SETTINGS["prompts"],
            num_generations=n,
            num_iterations=SETTINGS["num_iterations"],
            max_completion_length=16,
            max_steps=steps,
            shuffle_dataset=False,
            disable_dropout=True,
            **PLAIN,
            **shared,
        )
        trainer = given(trainer_class, rollouts)(
            model=model,
            args=config,
            reward_funcs=reward,
            train_dataset=Dataset.from_list(prompts),
            processing_class=tokenizer_of(model.config.vocab_size),
        )
        trainer.train()
        keys = ("loss", "grad_norm", "reward", "kl")
        logs = [
            {k: float(log[k]) for k in keys if k in log}
            for log in trainer.state.log_history
            if "grad_norm" in log
        ]
    assert len(logs) == steps, logs
    print(
        family,
        name,
        [(round(log["loss"], 4), round(log["grad_norm"], 4)) for log in logs[:4]],
    )
    return logs


if __name__ == "__main__":
    result = {
        "versions": versions() | {"trl": trl.__version__},
        "settings": SETTINGS,
        "families": {},
    }
    for family in ("qwen2", "llama"):
        rollouts = rollouts_of(load(family).config.vocab_size)
        result["families"][family] = {
            "rollouts": rollouts,
            "runs": {name: run(family, name, rollouts) for name in RUNS},
        }
    write_json(os.path.join(HERE, "trl_rollouts.json"), result)
    with open(os.path.join(HERE, "trl_rollouts.json")) as file:
        json.load(file)
