"""What TRL's own SFTTrainer logs for loss_type nll and dft on the rows of trajectory/qwen2.json, at a constant learning rate
(its cosine starts at zero and so is not docs/training.md's). Usage: python golden/sft_trainer.py   (after trajectory.py)"""
import json, os, tempfile
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models
from torch.utils.data import SequentialSampler
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer
from peft import PeftModel
from tiny import HERE, MODELS, load, versions, write_json

SETTINGS = {"model": "qwen2", "steps": 10, "batch_size": 4, "learning_rate": 0.003, "lr_scheduler": "constant", "adam_beta1": 0.9, "adam_beta2": 0.95, "adam_epsilon": 1e-8,
            "weight_decay": 0.01, "max_grad_norm": 1.0}


class InOrder(SFTTrainer):
    def _get_train_sampler(self, dataset=None):
        return SequentialSampler(self.train_dataset)


def run(loss_type, rows, order, adapter, accumulation):
    """accumulation: micro-batches per optimizer step; the loss must not depend on it."""
    model = load("qwen2")
    if adapter: model = PeftModel.from_pretrained(model, os.path.join(MODELS, "qwen2", "adapter"), is_trainable=True)
    vocabulary = {f"t{i}": i for i in range(model.config.vocab_size)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="t0")), pad_token="t0", eos_token="t2", unk_token="t0")
    chosen = [rows[i] for i in order[: SETTINGS["steps"] * SETTINGS["batch_size"]]]
    dataset = Dataset.from_list([{"input_ids": r["token_ids"], "completion_mask": r["loss_mask"]} for r in chosen])
    with tempfile.TemporaryDirectory() as out:
        config = SFTConfig(output_dir=out, per_device_train_batch_size=SETTINGS["batch_size"] // accumulation, gradient_accumulation_steps=accumulation, max_steps=SETTINGS["steps"],
                           learning_rate=SETTINGS["learning_rate"], lr_scheduler_type="constant", warmup_steps=0, adam_beta1=SETTINGS["adam_beta1"], adam_beta2=SETTINGS["adam_beta2"],
                           adam_epsilon=SETTINGS["adam_epsilon"], weight_decay=SETTINGS["weight_decay"], max_grad_norm=SETTINGS["max_grad_norm"], loss_type=loss_type,
                           completion_only_loss=True, logging_steps=1, logging_first_step=True, save_strategy="no", report_to=[], use_cpu=True, bf16=False, fp16=False, seed=0, max_length=None,
                           gradient_checkpointing=False, packing=False, shuffle_dataset=False, disable_tqdm=True)
        trainer = InOrder(model=model, args=config, train_dataset=dataset, processing_class=tokenizer)
        batch = next(iter(trainer.get_train_dataloader()))
        assert batch["input_ids"][0].tolist()[: len(chosen[0]["token_ids"])] == chosen[0]["token_ids"], "TRL changed the order or the rows"
        assert int((batch["labels"] != -100).sum()) == sum(sum(r["loss_mask"]) for r in chosen[: config.per_device_train_batch_size]), "TRL changed the mask"
        trainer.train()
        logs = [{"loss": float(l["loss"]), "grad_norm": float(l["grad_norm"])} for l in trainer.state.log_history if "grad_norm" in l]
    assert len(logs) == SETTINGS["steps"], logs
    print(loss_type, "lora" if adapter else "full", accumulation, [round(l["loss"], 4) for l in logs])
    return logs


if __name__ == "__main__":
    with open(os.path.join(HERE, "trajectory", "qwen2.json")) as file: golden = json.load(file)
    runs = {f"{mode}.{name}": run(loss_type, golden["rows"], golden["order"], mode == "lora", 1)
            for mode in ("full", "lora") for name, loss_type in (("sft", "nll"), ("dft", "dft"))}
    runs["full.dft.accumulated"] = run("dft", golden["rows"], golden["order"], False, 2)
    write_json(os.path.join(HERE, "trl.json"), {"versions": versions() | {"trl": trl.__version__}, "settings": SETTINGS, "rows_and_order": "trajectory/qwen2.json", "runs": runs})
