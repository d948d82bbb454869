"""What TRL's DPOTrainer does per second and at which peak memory, on CPU with one thread, the reference's log-probabilities precomputed.

    python dpo.py MODEL PAIRS.jsonl {fp32|bf16} {full|lora} PAIRS_A_STEP STEPS MAX_LENGTH

Pairs are {prompt, chosen, rejected} as lists of messages. Prints a line a step: real tokens of both sides, seconds and CPU seconds; then the peak resident memory.
"""

import json
import resource
import sys
import time

import torch
from datasets import Dataset
from peft import LoraConfig
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer

model, pairs, precision, mode = sys.argv[1:5]
size, steps, max_length = map(int, sys.argv[5:8])
torch.set_num_threads(1)
rows = [json.loads(line) for line in open(pairs)]
config = DPOConfig(
    output_dir="out-trl",
    per_device_train_batch_size=size,
    max_length=max_length,
    max_steps=steps,
    learning_rate=1e-6,
    precompute_ref_log_probs=True,
    gradient_checkpointing=False,
    logging_steps=1,
    save_strategy="no",
    report_to=[],
    bf16=precision == "bf16",
    use_cpu=True,
    model_init_kwargs={"dtype": "float32"},
)


class Clock(TrainerCallback):
    def on_step_begin(self, *_, **__):
        self.start, self.cpu = time.time(), time.process_time()

    def on_step_end(self, _, state, *__, **___):
        cpu = time.process_time() - self.cpu
        print(f"step {state.global_step} seconds {time.time() - self.start:.3f} cpu {cpu:.3f}", flush=True)


class Told(DPOTrainer):
    def _get_train_sampler(self, *_):
        return SequentialSampler(self.train_dataset)

    def compute_loss(self, model, inputs, *args, **kwargs):
        print("batch", tuple(inputs["input_ids"].shape), "real", int(inputs["attention_mask"].sum()), flush=True)
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        print("loss", float(loss[0] if isinstance(loss, tuple) else loss), flush=True)
        return loss


lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM") if mode == "lora" else None
trainer = Told(model=model, args=config, train_dataset=Dataset.from_list(rows), callbacks=[Clock()], peft_config=lora)
trainer.train()
print("peak_rss_gb", round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3))
