"""Tiny models of every family with Transformers and PEFT; see README.md. Usage: python golden/models.py [NAME...]"""
import os, re, shutil, sys
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from tiny import CONFIGS, MODELS, ROPES, SMALL, build, gradients, load, losses, sampled, versions, write_json


ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]  # PEFT's all-linear adds target_parameters for experts


PATTERNS = dict(r=4, lora_alpha=8, target_modules=r".*\.(q_proj|v_proj|down_proj)", exclude_modules=["layers.0.self_attn.v_proj"], rank_pattern={"q_proj": 2},
                alpha_pattern={r"layers\.1\.self_attn\.v_proj": 3})


# qwen2's head is its embedding; llama has a head of its own.
SAVED = {"qwen2": dict(modules_to_save=["embed_tokens", "lm_head"], ensure_weight_tying=True), "llama": dict(modules_to_save=["embed_tokens", "lm_head", "model.norm", "layers.1.mlp.up_proj"])}


# qwen2 has biases, which a magnitude does not scale.
DORA = {"qwen2": dict(target_modules="all-linear"), "llama": dict(target_modules=["q_proj", "v_proj", "down_proj"], use_rslora=True, modules_to_save=["layers.1.mlp.up_proj"])}


def sequences_of(model):
    a, b = sampled(model, 1, 4, 25), sampled(model, 2, 6, 14)
    mask = lambda ids, prompt: [int(t >= prompt) for t in range(len(ids))]
    second = mask(b, 6)
    second[9] = 0          # a hole, as between two assistant turns
    return [{"token_ids": a, "loss_mask": mask(a, 5)}, {"token_ids": b, "loss_mask": second}]


@torch.no_grad()
def greedy(model, prompt, count):
    """No cache, so nothing but the forward pass is trusted; the smallest margin says how firm the ids are."""
    ids, margin = list(prompt), float("inf")
    for _ in range(count):
        logits = model(torch.tensor([ids])).logits[0, -1]
        top = torch.topk(logits, 2).values
        margin = min(margin, float(top[0] - top[1]))
        ids.append(int(logits.argmax()))
    return {"prompt": list(prompt), "token_ids": ids[len(prompt):], "smallest_margin": margin}


def write_gradients(model, sequences, path, rename=lambda name: name):
    tensors, scalars = {}, {}
    for objective in ("sft", "dft"):
        loss, nll, logits, grads = gradients(model, sequences, objective)
        scalars[objective] = loss
        tensors |= {f"{objective}.grad.{rename(k)}": g for k, g in grads.items()}
        degenerate = [k for k, g in grads.items() if g.abs().max() <= 1e-5]
    assert not degenerate, f"a gradient is degenerate: {degenerate}"
    tensors |= {f"logits.{i}": x for i, x in enumerate(logits)} | {"nll": nll}
    save_file(tensors, path)
    p = torch.exp(-nll)
    print(path, {k: round(v, 4) for k, v in scalars.items()}, "p from %.2g to %.2g" % (p.min(), p.max()))
    return scalars


def stored_name(parameter):
    """As PEFT's files call it."""
    return re.sub(r"\.(modules_to_save\.)?default\.", ".", parameter).replace("lora_magnitude_vector.weight", "lora_magnitude_vector")


def lora(name, folder, sequences, adapter, **options):
    """PEFT's own adapter folder with a nonzero B, its logits, gradients and a merged weight or two."""
    model = get_peft_model(load(name), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **options))
    torch.manual_seed(7)
    for key, value in model.named_parameters():
        if "lora_" in key:
            value.data.normal_(1 if "magnitude" in key else 0, 0.15)
        elif value.requires_grad:  # modules_to_save: another one than the base's
            value.data += 0.05 * torch.randn_like(value)
    path = os.path.join(folder, adapter)
    model.peft_config["default"].base_model_name_or_path = f"golden/models/{name}"  # not a path of this machine
    model.save_pretrained(path, save_embedding_layers=False)
    if os.path.exists(os.path.join(path, "README.md")): os.remove(os.path.join(path, "README.md"))
    scalars = write_gradients(model.eval(), sequences, os.path.join(path, "golden.safetensors"), stored_name)
    merged = PeftModel.from_pretrained(load(name), path).merge_and_unload()
    last = len(merged.model.layers) - 1
    kept = r"model\.layers\.(0\.self_attn\.(q|qkv)|%d\.self_attn\.(v|qkv))_proj\.weight" % last
    keep = {k: v.contiguous() for k, v in merged.state_dict().items() if re.fullmatch(kept, k)}
    save_file(keep, os.path.join(path, "merged.safetensors"))
    return {"sft_loss": scalars["sft"], "dft_loss": scalars["dft"], "greedy": greedy(model, sequences[0]["token_ids"][:5], 12)}


def family(name):
    folder = os.path.join(MODELS, name)
    shutil.rmtree(folder, ignore_errors=True)
    build(name).save_pretrained(folder)
    generation = os.path.join(folder, "generation_config.json")
    if os.path.exists(generation): os.remove(generation)
    model = load(name)
    sequences = sequences_of(model)
    scalars = write_gradients(model, sequences, os.path.join(folder, "golden.safetensors"))
    golden = {"versions": versions(), "parameters": sum(p.numel() for p in model.parameters()), "sequences": sequences,
              "sft_loss": scalars["sft"], "dft_loss": scalars["dft"], "greedy": [greedy(model, s["token_ids"][:5], 12) for s in sequences]}
    golden["adapters"] = {} if name in ("llama-bias", "mistral-window", "qwen2-window") else {"adapter": lora(name, folder, sequences, "adapter", r=4, lora_alpha=8, target_modules=ATTENTION if "moe" in name else "all-linear")}
    if name in SAVED:
        golden["adapters"]["adapter-saved"] = lora(name, folder, sequences, "adapter-saved", r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], **SAVED[name])
    if name == "qwen2":
        golden["adapters"]["adapter-rslora"] = lora(name, folder, sequences, "adapter-rslora", r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"], use_rslora=True)
        golden["adapters"]["adapter-patterns"] = lora(name, folder, sequences, "adapter-patterns", **PATTERNS)
    if name in DORA:
        golden["adapters"]["adapter-dora"] = lora(name, folder, sequences, "adapter-dora", r=4, lora_alpha=6, use_dora=True, **DORA[name])
    write_json(os.path.join(folder, "golden.json"), golden)


def rotary(name, sequences):
    """Logits only, with the weights of `llama`."""
    folder = os.path.join(MODELS, name)
    shutil.rmtree(folder, ignore_errors=True)
    longest = 16 if name == "llama-dynamic" else 256
    config = LlamaConfig(**{**SMALL, "max_position_embeddings": longest}, tie_word_embeddings=False, rope_parameters=ROPES[name], architectures=["LlamaForCausalLM"])
    config.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(os.path.join(MODELS, "llama"), config=config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        loss, nll, logits = losses(model, sequences, "sft")
    save_file({f"logits.{i}": x.contiguous() for i, x in enumerate(logits)} | {"nll": nll}, os.path.join(folder, "golden.safetensors"))
    write_json(os.path.join(folder, "golden.json"), {"versions": versions(), "weights": "llama", "sequences": sequences, "sft_loss": float(loss)})


def frequencies():
    cases = [
        ({"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}, 128, 4096, None),
        ({"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}, 128, 4096, 4000),
        ({"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}, 128, 4096, 9000),
        ({"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}, 128, 131072, None),
        ({"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}, 64, 131072, None),
        ({"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0, "original_max_position_embeddings": 32768}, 128, 32768, None),
        ({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "original_max_position_embeddings": 4096, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 0.707, "mscale_all_dim": 1.0,
          "truncate": False}, 64, 163840, None),
        ({"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 4096, "short_factor": [1.0 + 0.1 * i for i in range(16)],
          "long_factor": [1.0 + i for i in range(16)]}, 32, 131072, 100),
        ({"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 4096, "short_factor": [1.0 + 0.1 * i for i in range(16)],
          "long_factor": [1.0 + i for i in range(16)]}, 32, 131072, 5000),
    ]
    out = []
    for rope, dim, longest, length in cases:
        config = LlamaConfig(hidden_size=dim * 4, num_attention_heads=4, max_position_embeddings=longest, rope_parameters=rope)
        inverse, scaling = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, "cpu", seq_len=length)
        out.append({"attention_factor": float("%.9g" % scaling), "rope_parameters": rope, "head_dim": dim, "max_position_embeddings": longest, "sequence_length": length or 1, "inverse_frequencies": [float("%.9g" % x) for x in inverse]})
    write_json(os.path.join(MODELS, "rope.json"), {"versions": versions(), "cases": out})


if __name__ == "__main__":
    os.makedirs(MODELS, exist_ok=True)
    wanted = sys.argv[1:] or [*CONFIGS, *ROPES, "rope.json"]
    unknown = set(wanted) - {*CONFIGS, *ROPES, "rope.json"}
    assert not unknown, f"no such model: {unknown}"
    for name in wanted:
        if name in CONFIGS: family(name)
        elif name in ROPES: rotary(name, sequences_of(load("llama")))
        else: frequencies()
    for folder, _, files in os.walk(MODELS):
        for file in files: os.chmod(os.path.join(folder, file), 0o644)   # save_file writes 0600
