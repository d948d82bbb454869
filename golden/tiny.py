"""Tiny models with weights that are far from degenerate, and the losses the golden numbers use."""
import json, os
import torch
import torch.nn.functional as F
import transformers
from transformers import (AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, Glm4Config, GraniteConfig, LlamaConfig, MistralConfig, Olmo2Config, Olmo3Config, OlmoeConfig,
                          Phi3Config, Qwen2Config, Qwen3Config, Qwen3MoeConfig, SmolLM3Config)

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "models")
torch.set_num_threads(1)

SMALL = dict(vocab_size=64, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
THETA = {"rope_type": "default", "rope_theta": 10000.0}
LAYERED = {"full_attention": {"rope_type": "default", "rope_theta": 50000.0}, "sliding_attention": THETA}
THREE = {**SMALL, "hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1}
GEMMA = {**SMALL, "hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "query_pre_attn_scalar": 6,
         "sliding_window": 8, "pad_token_id": None}
EXPERTS = dict(num_experts=4, num_experts_per_tok=2)
LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.1, 1.5], "long_factor": [2.0, 3.5], "partial_rotary_factor": 0.5}
CONFIGS = {
    "llama": LlamaConfig(**SMALL, tie_word_embeddings=False, rope_parameters=THETA),
    "llama-bias": LlamaConfig(**{**SMALL, "vocab_size": 48, "hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 3}, attention_bias=True, mlp_bias=True,
                              tie_word_embeddings=True, rope_parameters=THETA),
    "mistral": MistralConfig(**THREE, sliding_window=None, tie_word_embeddings=False, rope_parameters=THETA),
    "mistral-window": MistralConfig(**THREE, sliding_window=6, tie_word_embeddings=False, rope_parameters=THETA),
    "qwen2": Qwen2Config(**SMALL, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
    "qwen2-window": Qwen2Config(**THREE, use_sliding_window=True, sliding_window=5, max_window_layers=1, tie_word_embeddings=True, rope_parameters=THETA),
    "qwen3": Qwen3Config(**{**SMALL, "hidden_size": 24}, head_dim=8, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
    "gemma2": Gemma2Config(**GEMMA, attn_logit_softcapping=2.0, final_logit_softcapping=4.0),
    "gemma3_text": Gemma3TextConfig(**{**GEMMA, "num_hidden_layers": 3}, layer_types=["sliding_attention", "full_attention", "sliding_attention"], rope_parameters=LAYERED),
    "glm4": Glm4Config(**{**SMALL, "hidden_size": 24}, head_dim=8, pad_token_id=None, rope_parameters={**THETA, "partial_rotary_factor": 0.5}),
    "granite": GraniteConfig(**SMALL, rope_parameters=THETA, embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.7, logits_scaling=1.6),
    "olmo2": Olmo2Config(**SMALL, pad_token_id=None, rope_parameters=THETA),
    "olmo3": Olmo3Config(**{**SMALL, "hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 3}, pad_token_id=None, sliding_window=6,
                         layer_types=["sliding_attention", "full_attention"],
                         rope_parameters={"sliding_attention": THETA, "full_attention": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}}),
    "olmoe": OlmoeConfig(**{**SMALL, "intermediate_size": 16}, **EXPERTS, clip_qkv=1.5, pad_token_id=None, rope_parameters=THETA),
    "phi3": Phi3Config(**SMALL, original_max_position_embeddings=64, pad_token_id=None, rope_parameters=LONG),
    "qwen3_moe": Qwen3MoeConfig(**{**SMALL, "hidden_size": 24}, **EXPERTS, head_dim=8, moe_intermediate_size=16, mlp_only_layers=[0], norm_topk_prob=True, rope_parameters=THETA),
    "smollm3": SmolLM3Config(**{**THREE, "num_hidden_layers": 3}, no_rope_layers=[1, 0, 1], pad_token_id=None, rope_parameters=THETA),
}
# The same weights as "llama" under another rotary setting.
ROPES = {
    "llama-linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "llama-llama3": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128},
    "llama-dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    "llama-yarn": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64},
    "llama-longrope": {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 16,
                       "short_factor": [1.0, 1.2, 1.5, 1.8], "long_factor": [1.5, 2.0, 4.0, 8.0]},
}


def versions():
    import peft
    return {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}


def build(name):
    """A float32 model whose every tensor matters: unit-scale activations, norms off one, biases off zero."""
    config = CONFIGS[name]
    torch.manual_seed(sum(map(ord, name)))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "norm" in key:
                value.copy_((0 if "gemma" in name else 1) + 0.3 * torch.randn_like(value))  # Gemma multiplies by 1 + w
            elif key.endswith("bias"):
                value.normal_(0, 0.3)
            elif "embed_tokens" in key:
                value.normal_(0, 0.4)
            else:
                value.normal_(0, 1.2 / value.shape[-1] ** 0.5)
    return model.eval()


def load(name):
    folder = os.path.join(MODELS, name)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def sampled(model, seed, start, length, temperature=1.0):
    """A sequence drawn from the model itself, so that target probabilities range from tiny to near one."""
    generator = torch.Generator().manual_seed(seed)
    ids = [1] + torch.randint(3, model.config.vocab_size, (start - 1,), generator=generator).tolist()
    while len(ids) < length:
        p = torch.softmax(model(torch.tensor([ids])).logits[0, -1] / temperature, -1)
        ids.append(int(torch.multinomial(p, 1, generator=generator)))
    return ids


def token_nll(model, token_ids, loss_mask):
    """NLL of the supervised targets, and all logits [T, V]."""
    logits = model(torch.tensor([token_ids])).logits[0]
    targets = torch.tensor(token_ids[1:])
    nll = F.cross_entropy(logits[:-1].float(), targets, reduction="none")
    return nll[torch.tensor(loss_mask[1:], dtype=torch.bool)], logits


# Each maps NLL c of the supervised tokens to their losses; p = exp(-c), sg = detach.
OBJECTIVES = {
    "sft": lambda c: c,
    "dft": lambda c: torch.exp(-c).detach() * c,
    "power": lambda c: torch.exp(-0.5 * c).detach() * c,                    # w = p^a, a = 0.5
    "threshold": lambda c: (torch.exp(-c) > 0.2).float().detach() * c,      # 1[p > 0.2]
    "alpha": lambda c: (1 - torch.exp(-0.5 * c)) / 0.5,                     # (1 - p^a) / a, a = 0.5
}


def losses(model, sequences, objective):
    """Mean loss and NLL over the supervised tokens of all sequences, and the logits of each."""
    parts = [token_nll(model, s["token_ids"], s["loss_mask"]) for s in sequences]
    nll = torch.cat([c for c, _ in parts])
    return OBJECTIVES[objective](nll).sum() / len(nll), nll, [logits for _, logits in parts]


def checkpoint_tensors(named):
    """By the checkpoint's names: Transformers holds all experts of a layer as one tensor."""
    out = {}
    for key, value in named.items():
        prefix, found, kind = key.partition(".experts.")
        if not found or "lora" in key:
            out[key] = value
            continue
        for index, one in enumerate(value):
            parts = {"down_proj": one} if kind == "down_proj" else dict(zip(("gate_proj", "up_proj"), one.chunk(2)))
            out |= {f"{prefix}.experts.{index}.{part}.weight": x.contiguous() for part, x in parts.items()}
    return out


def gradients(model, sequences, objective):
    model.zero_grad()
    loss, nll, logits = losses(model, sequences, objective)
    loss.backward()
    named = {k: p.grad.clone().contiguous() for k, p in model.named_parameters() if p.requires_grad}
    return float(loss), nll.detach(), [x.detach().contiguous() for x in logits], checkpoint_tensors(named)


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file, separators=(",", ":"))
        file.write("\n")
