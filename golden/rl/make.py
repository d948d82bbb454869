"""Golden values of preference and RL losses: writes rl.json beside this file.

    python golden/rl/make.py

TRL 1.16, torch, float64; about 15 s.
"""

import json
import pathlib

import transformers
import trl
from relatives import *

from preference import LOW_KL, beta, pairs

OUT = pathlib.Path(__file__).with_name("rl.json")

result = {
    "made_with": {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__, "dtype": "float64"},
    "inputs": {
        "pairs": {"chosen": CHOSEN, "rejected": REJECTED, "ref_chosen": REF_CHOSEN, "ref_rejected": REF_REJECTED, "order_of_rows": "chosen 0..2, then rejected 0..2"},
        "kto": {"kl_policy": KL_POLICY, "kl_ref": KL_REF, "kl_policy_low": LOW_KL},
        "groups": {"group": GROUP, "rewards": REWARDS, "logp": LOGP, "old_logp": OLD, "ref_logp": REF, "sampling_logp": SAMPLING, "entropy": ENTROPY, "max_completion_length": MAX_COMPLETION, "expert_rows": [0, 4, 7]},
        "critic": {"values_old": VALUES_OLD, "values": VALUES},
        "logits": {"logits": LOGITS, "targets": TARGETS},
        "distillation": {"student": STUDENT, "teacher": TEACHER, "labels": LABELS},
    },
    "advantages": {k: v.tolist() for k, v in advantages.items()} | {
        "gae_0.95": GAE_95, "returns_0.95": RETURNS_95, "gae_0.95_whitened": ragged(WHITE_95, LOGP), "gae_1": GAE_1, "returns_1": RETURNS_1,
        "reinforce_pp": ragged(RFPP, LOGP), "reinforce_pp_baseline": ragged(RFPP_BASE, LOGP),
    },
    "importance": {"token_truncated_2": ragged(tis, LOGP), "sequence_product": seq_ratio.flatten().tolist(), "sequence_geometric": geo_ratio.flatten().tolist()},
    "kl_estimators": estimators,
    "bandit": bandit,
    "pairs_one_by_one": {"beta": beta, "pairs": pairs},
    "cases": cases,
    "hybrids": hybrids,
    "distillation": distill,
    "from_logits": logit_cases,
}
by_name = {c["name"]: c for c in cases}


def same(a, b):
    left, right = (by_name[n].get("trl") or by_name[n]["closed"] for n in (a, b))
    gap = max([abs(left["loss"] - right["loss"])] + [abs(p - q) for x, y in zip(left["d_logp"], right["d_logp"]) for p, q in zip(x, y)])
    assert gap < 1e-12, (a, b, gap)


same("grpo-two-sided", "dual-clip")
same("gspo-wide", "gspo-token-form")
same("kto-clamped-kl", "apo-zero-unpaired")
for c in cases:
    assert c.get("agree", {"loss": 0})["loss"] < 1e-8 and c.get("agree", {"d_logp": 0})["d_logp"] < 1e-8, c["name"]
    assert c.get("closed", {}).get("finite_difference_error", 0) < 1e-7, (c["name"], c["closed"]["finite_difference_error"])

with open(OUT, "w") as file:
    json.dump(result, file, indent=1)
    file.write("\n")

for case in cases:
    a = case.get("agree")
    source = case.get("trl") or case["closed"]
    fd = case.get("closed", {}).get("finite_difference_error")
    print(f"{case['name']:28s} {source['loss']: .10f}", "" if a is None else f"  agree {a['loss']:.1e} {a['d_logp']:.1e}", "" if fd is None else f"  fd {fd:.1e}")
