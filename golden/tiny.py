"""Tiny models with weights that are far from degenerate, and the losses the golden numbers use."""
import json, os
import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "models")
torch.set_num_threads(1)

SMALL = dict(vocab_size=64, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
THETA = {"rope_type": "default", "rope_theta": 10000.0}
CONFIGS = {
    "llama": LlamaConfig(**SMALL, tie_word_embeddings=False, rope_parameters=THETA),
    "llama-bias": LlamaConfig(**{**SMALL, "vocab_size": 48, "hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 3}, attention_bias=True, mlp_bias=True,
                              tie_word_embeddings=True, rope_parameters=THETA),
    "mistral": MistralConfig(**{**SMALL, "hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1}, sliding_window=None, tie_word_embeddings=False, rope_parameters=THETA),
    "qwen2": Qwen2Config(**SMALL, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
    "qwen3": Qwen3Config(**{**SMALL, "hidden_size": 24}, head_dim=8, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
}
# The same weights as "llama" under another rotary setting.
ROPES = {
    "llama-linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "llama-llama3": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128},
    "llama-dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
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
                value.copy_(1 + 0.3 * torch.randn_like(value))
            elif key.endswith("bias"):
                value.normal_(0, 0.3)
            elif "embed_tokens" in key:
                value.normal_(0, 0.4)
            else:
                value.normal_(0, 1.2 / value.shape[1] ** 0.5)
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


def gradients(model, sequences, objective):
    model.zero_grad()
    loss, nll, logits = losses(model, sequences, objective)
    loss.backward()
    named = {k: p.grad.clone().contiguous() for k, p in model.named_parameters() if p.requires_grad}
    return float(loss), nll.detach(), [x.detach().contiguous() for x in logits], named


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file, separators=(",", ":"))
        file.write("\n")
