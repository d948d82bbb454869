"""Losses of samples: the GRPO family, RLOO, REINFORCE, PPO with a critic."""

from inputs import *

from trl.trainer.utils import nanstd

rewards = torch.tensor(REWARDS)
grouped = rewards.view(-1, GROUP)
mean = grouped.mean(1, keepdim=True)
std = nanstd(grouped, dim=1, keepdim=True)  # unbiased: divided by G - 1
advantages = {
    "grpo": ((grouped - mean) / (std + 1e-4)).flatten(),
    "grpo_population_std": ((grouped - mean) / (grouped.std(1, unbiased=False, keepdim=True) + 1e-4)).flatten(),
    "dr_grpo": (grouped - mean).flatten(),
    "batch_std": ((grouped - mean) / (rewards.std() + 1e-4)).flatten(),
    "rloo": (grouped - (grouped.sum(1, keepdim=True) - grouped) / (GROUP - 1)).flatten(),
}
A = advantages["grpo"].double()
A_DR = advantages["dr_grpo"].double()
G_MASK = mask_of(LOGP)
TOKENS = float(G_MASK.sum())
OLD_T, REF_T, SAMPLING_T, ENT_T = pad(OLD), pad(REF), pad(SAMPLING), pad(ENTROPY)
WHITENED = None


def masked_whiten(values, mask):
    m = (values * mask).sum() / mask.sum()
    v = ((values - m) ** 2 * mask).sum() / (mask.sum() - 1)
    return (values - m) * torch.rsqrt(v + 1e-8) * mask


def gae(lam, gamma=1.0):
    """Rewards at the last token; values beyond the end are 0."""
    adv, ret = [], []
    for row_values, reward in zip(VALUES_OLD, REWARDS):
        run, nxt, out = 0.0, 0.0, []
        for t in reversed(range(len(row_values))):
            r = reward if t == len(row_values) - 1 else 0.0
            delta = r + gamma * nxt - row_values[t]
            run = delta + gamma * lam * run
            nxt = row_values[t]
            out.append(run)
        out.reverse()
        adv.append(out)
        ret.append([a + v for a, v in zip(out, row_values)])
    return adv, ret


GAE_95, RETURNS_95 = gae(0.95)
GAE_1, RETURNS_1 = gae(1.0)
WHITE_95 = masked_whiten(pad(GAE_95), G_MASK)
RFPP = masked_whiten(rewards[:, None].expand_as(G_MASK), G_MASK)
RFPP_BASE = masked_whiten(A_DR[:, None].expand_as(G_MASK) * G_MASK, G_MASK)

# ---------------------------------------------------------------------------------------------- GRPO family
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer


def grpo_call(loss_type, *, adv=A, level="token", eps=0.2, eps_high=None, beta=0.0, bias_correction=False, delta=None, top_entropy=1.0, opsm=None, is_ratio=None, entropy_coef=0.0, old=True, tau=(1.0, 1.05)):
    def call():
        x = leaf(LOGP)
        me = object.__new__(GRPOTrainer)
        me.__dict__.update(
            model=NS(training=True), accelerator=ACCELERATOR, aux_loss_enabled=False, top_entropy_quantile=top_entropy, off_policy_mask_threshold=opsm,
            importance_sampling_level=level, beta=beta, loss_type=loss_type, epsilon_low=eps, epsilon_high=eps if eps_high is None else eps_high,
            args=NS(use_bias_correction_kl=bias_correction, delta=delta, steps_per_generation=1, sapo_temperature_pos=tau[0], sapo_temperature_neg=tau[1], entropy_target=0.2,
                    vespo_k_pos=2.0, vespo_lambda_pos=3.0, vespo_k_neg=3.0, vespo_lambda_neg=2.0),
            use_vllm=is_ratio is not None, vllm_importance_sampling_correction=is_ratio is not None, current_gradient_accumulation_steps=1, max_completion_length=MAX_COMPLETION,
            _entropy_bonus_enabled=entropy_coef != 0, use_adaptive_entropy=False, entropy_coef=entropy_coef, _metrics=metrics_holder(),
        )
        me._get_per_token_logps_and_entropies = lambda *a, **k: (x, ENT_T, None)
        ids = torch.zeros_like(G_MASK).long()
        inputs = {
            "prompt_ids": ids[:, :1], "prompt_mask": torch.ones_like(ids[:, :1]), "completion_ids": ids, "completion_mask": G_MASK,
            "advantages": adv, "num_items_in_batch": G_MASK.sum(), "ref_per_token_logps": REF_T, "sampling_per_token_logps": SAMPLING_T,
        }
        if old:
            inputs["old_per_token_logps"] = OLD_T
        if is_ratio is not None:
            inputs["importance_sampling_ratio"] = is_ratio
        loss = GRPOTrainer._compute_loss(me, NS(training=True), inputs)
        return loss, x, {k: v for k, v in numbers(me._metrics).items() if k.startswith(("clip", "kl", "cispo", "entropy"))}
    return call


def token_loss(x, adv, *, eps=0.2, eps_high=None, level="token", delta=None):
    high = eps if eps_high is None else eps_high
    log_ratio = x - OLD_T
    if level == "sequence":
        log_ratio = ((log_ratio * G_MASK).sum(1) / G_MASK.sum(1))[:, None].expand_as(x)
    ratio = log_ratio.exp()
    a = adv[:, None] if adv.ndim == 1 else adv
    free = ratio if delta is None else ratio.clamp(max=delta)
    return -torch.minimum(free * a, ratio.clamp(1 - eps, 1 + high) * a)


def by_tokens(per):
    return (per * G_MASK).sum() / TOKENS


def by_sequences(per):
    return ((per * G_MASK).sum(1) / G_MASK.sum(1)).mean()


def by_length(per):
    return (per * G_MASK).sum() / (len(LOGP) * MAX_COMPLETION)


def k3(x):
    return (REF_T - x).exp() - (REF_T - x) - 1


def gspo_token(x):
    mean_log = (((x - OLD_T) * G_MASK).sum(1) / G_MASK.sum(1)).detach()[:, None]
    ratio = (x - x.detach() + mean_log).exp()
    a = A[:, None]
    return -torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a)


def sapo(x):
    tau = torch.where(A > 0, 1.0, 1.05)[:, None]
    return -torch.sigmoid(tau * ((x - OLD_T).exp() - 1)) * 4 / tau * A[:, None]


shared = {"epsilon": 0.2, "advantages": "grpo"}
record("grpo-sequences", "rl", LOGP, {**shared, "normalization": "sequences"}, trl_call=grpo_call("grpo"), closed=lambda x: by_sequences(token_loss(x, A)), note="DeepSeekMath's aggregation, beta 0")
record("dapo-tokens", "rl", LOGP, {**shared, "normalization": "tokens", "epsilon_high": 0.28}, trl_call=grpo_call("dapo", eps_high=0.28), closed=lambda x: by_tokens(token_loss(x, A, eps_high=0.28)), note="global token mean, clip-higher")
record("bnpo-tokens", "rl", LOGP, {**shared, "normalization": "tokens of the micro-batch"}, trl_call=grpo_call("bnpo"), closed=lambda x: by_tokens(token_loss(x, A)))
record("dr-grpo", "rl", LOGP, {**shared, "advantages": "dr_grpo", "normalization": f"batch x max_completion_length ({MAX_COMPLETION})"}, trl_call=grpo_call("dr_grpo", adv=A_DR), closed=lambda x: by_length(token_loss(x, A_DR)), note="no std division, constant divisor")
record("grpo-on-policy", "rl", LOGP, {**shared, "normalization": "tokens", "old_logp": "= logp"}, trl_call=grpo_call("dapo", old=False),
       closed=lambda x: by_tokens(-(x - x.detach()).exp() * A[:, None]), differentiable=False, note="first update: ratio 1, value -mean A, gradient REINFORCE's; the value is not 0 under token mean although sum over a group of A is 0")
record("grpo-k3", "rl", LOGP, {**shared, "normalization": "sequences", "beta": 0.04, "kl": "k3"}, trl_call=grpo_call("grpo", beta=0.04), closed=lambda x: by_sequences(token_loss(x, A) + 0.04 * k3(x)), note="DeepSeekMath; TRL with use_bias_correction_kl=False")
record("grpo-k3-ratio", "rl", LOGP, {**shared, "normalization": "sequences", "beta": 0.04, "kl": "k3 times ratio"}, trl_call=grpo_call("grpo", beta=0.04, bias_correction=True),
       closed=lambda x: by_sequences(token_loss(x, A) + 0.04 * (x - OLD_T).exp() * k3(x)), note="TRL 1.16's default (DeepSeek-V3.2): the ratio is differentiated too")
record("grpo-two-sided", "rl", LOGP, {**shared, "normalization": "tokens", "delta": 1.3}, trl_call=grpo_call("dapo", delta=1.3), closed=lambda x: by_tokens(token_loss(x, A, delta=1.3)), note="INTELLECT-2: the unclipped ratio is capped too, bounding the loss for A < 0")
record("dual-clip", "rl", LOGP, {**shared, "normalization": "tokens", "dual_clip": 1.3},
       closed=lambda x: by_tokens(torch.where(A[:, None] < 0, torch.minimum(token_loss(x, A), -1.3 * A[:, None].expand_as(x)), token_loss(x, A))), note="verl clip_ratio_c (its default is 3), OpenRLHF dual_clip; equal to TRL's delta in value and gradient when delta = c > 1 + epsilon_high (asserted)")
record("gspo", "rl", LOGP, {**shared, "epsilon": 3e-4, "epsilon_high": 4e-4, "level": "sequence", "normalization": "sequences"}, trl_call=grpo_call("grpo", level="sequence", eps=3e-4, eps_high=4e-4),
       closed=lambda x: by_sequences(token_loss(x, A, eps=3e-4, eps_high=4e-4, level="sequence")), differentiable=False, note="clip range of the paper; nearly every sequence here is clipped")
record("gspo-wide", "rl", LOGP, {**shared, "level": "sequence", "normalization": "sequences"}, trl_call=grpo_call("grpo", level="sequence"), closed=lambda x: by_sequences(token_loss(x, A, level="sequence")), note="same with epsilon 0.2, so that gradients flow")
record("gspo-token-form", "rl", LOGP, {**shared, "level": "sequence, token form", "normalization": "sequences"},
       closed=lambda x: by_sequences(gspo_token(x)), differentiable=False, note="verl's sg(s_i) p / sg(p): equal to gspo-wide in value and gradient where advantages are per sequence")
record("luspo", "rl", LOGP, {**shared, "level": "sequence", "normalization": "sum over tokens, mean over sequences"}, trl_call=grpo_call("luspo", level="sequence"), closed=lambda x: (token_loss(x, A, level="sequence") * G_MASK).sum(1).mean())
record("cispo", "rl", LOGP, {"advantages": "grpo", "epsilon_high": 5.0, "normalization": "tokens"}, trl_call=grpo_call("cispo", eps_high=5.0),
       closed=lambda x: by_tokens(-((x - OLD_T).exp().clamp(max=5.0).detach()) * A[:, None] * x), differentiable=False, note="TRL, ms-swift: clamp(ratio, max=epsilon_high) absolute; here nothing is clipped")
record("cispo-clipped", "rl", LOGP, {"advantages": "grpo", "epsilon_high": 1.28, "normalization": "tokens"}, trl_call=grpo_call("cispo", eps_high=1.28),
       closed=lambda x: by_tokens(-((x - OLD_T).exp().clamp(max=1.28).detach()) * A[:, None] * x), differentiable=False)
record("cispo-trl-default", "rl", LOGP, {"advantages": "grpo", "epsilon_high": 0.2, "normalization": "tokens"}, trl_call=grpo_call("cispo"),
       closed=lambda x: by_tokens(-((x - OLD_T).exp().clamp(max=0.2).detach()) * A[:, None] * x), differentiable=False, note="the trap: loss_type=cispo with epsilon_high left out clamps every weight to 0.2")
record("cispo-verl", "rl", LOGP, {"advantages": "grpo", "epsilon": 0.2, "epsilon_high": 0.2, "normalization": "tokens"},
       closed=lambda x: by_tokens(-((x - OLD_T).exp().clamp(0.8, 1.2).detach()) * A[:, None] * x), differentiable=False, note="verl: clamp(ratio, 1 - low, 1 + high): the same word for another bound")
record("sapo", "rl", LOGP, {"advantages": "grpo", "tau_pos": 1.0, "tau_neg": 1.05, "normalization": "sequences"}, trl_call=grpo_call("sapo"),
       closed=lambda x: by_sequences(sapo(x)), note="soft gate 4/tau sigmoid(tau (r - 1)); gradient equals REINFORCE's at r = 1")
record("reinforce", "rl", LOGP, {"advantages": "dr_grpo", "normalization": "tokens"}, closed=lambda x: by_tokens(-A_DR[:, None] * x))
record("reinforce-pp", "rl", LOGP, {"advantages": "rewards whitened over the batch's tokens, gamma 1, no KL", "normalization": "tokens", "epsilon": 0.2}, closed=lambda x: by_tokens(token_loss(x, RFPP)))
record("reinforce-pp-baseline", "rl", LOGP, {"advantages": "rewards minus group mean, whitened over the batch's tokens", "normalization": "tokens", "epsilon": 0.2}, closed=lambda x: by_tokens(token_loss(x, RFPP_BASE)))


# truncated importance sampling
token_ratio = (OLD_T - SAMPLING_T).exp()
tis = (token_ratio.clamp(max=2.0) * G_MASK) + (1 - G_MASK)
seq_ratio = (((OLD_T - SAMPLING_T) * G_MASK).sum(1)).exp()[:, None]
seq_mask = torch.where(seq_ratio > 2.0, 0.0, seq_ratio)
geo_ratio = (((OLD_T - SAMPLING_T) * G_MASK).sum(1) / G_MASK.sum(1)).exp()[:, None]
record("tis-token", "rl", LOGP, {**shared, "normalization": "tokens", "is": "min(exp(old - sampling), 2) per token"}, trl_call=grpo_call("dapo", is_ratio=tis), closed=lambda x: by_tokens(token_loss(x, A) * tis))
record("mis-sequence", "rl", LOGP, {**shared, "normalization": "tokens", "is": "exp(sum(old - sampling)), 0 above 2"}, trl_call=grpo_call("dapo", is_ratio=seq_mask), closed=lambda x: by_tokens(token_loss(x, A) * seq_mask),
       note="one sequence (index 3) has ratio > 2 and loses its weight; the divisor still counts its tokens (TRL)")
record("opsm", "rl", LOGP, {**shared, "normalization": "tokens", "off_policy_mask_threshold": 0.05}, trl_call=grpo_call("dapo", opsm=0.05),
       closed=lambda x: by_tokens(token_loss(x, A) * ((A >= 0)[:, None] | ((((SAMPLING_T - x.detach()) * G_MASK).sum(1) / G_MASK.sum(1))[:, None] <= 0.05))), differentiable=False, note="DeepSeek-V3.2: sequences with A < 0 that drifted are dropped")
record("entropy-bonus", "rl", LOGP, {**shared, "normalization": "tokens", "entropy_coef": 0.01}, trl_call=grpo_call("dapo", entropy_coef=0.01), closed=lambda x: by_tokens(token_loss(x, A)) - 0.01 * by_tokens(ENT_T + 0 * x),
       note="entropies are data here, so d_logp is that of bnpo-tokens; the entropy's own gradient goes through d loss / d entropy = -0.01 / N")


def rloo_call():
    x = leaf(LOGP)
    me = object.__new__(RLOOTrainer)
    me.__dict__.update(model=NS(training=True), accelerator=ACCELERATOR, aux_loss_enabled=False, epsilon_low=0.2, epsilon_high=0.2, _metrics=metrics_holder())
    me._get_per_token_logps_and_entropies = lambda *a, **k: (x, ENT_T, None)
    ids = torch.zeros_like(G_MASK).long()
    inputs = {"prompt_ids": ids[:, :1], "prompt_mask": torch.ones_like(ids[:, :1]), "completion_ids": ids, "completion_mask": G_MASK, "advantages": advantages["rloo"].double(), "old_logps": (OLD_T * G_MASK).sum(1)}
    loss = RLOOTrainer._compute_loss(me, NS(training=True), inputs)
    return loss, x, {k: v for k, v in numbers(me._metrics).items() if k.startswith("clip")}


def rloo_closed(x):
    ratio = ((x - OLD_T) * G_MASK).sum(1).exp()
    a = advantages["rloo"].double()
    return -torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()


record("rloo", "rl", LOGP, {"advantages": "rloo", "epsilon": 0.2, "level": "sequence product (no length mean)", "normalization": "mean over sequences"}, trl_call=rloo_call, closed=rloo_closed)
record("rloo-reinforce", "rl", LOGP, {"advantages": "rloo", "normalization": "sum over tokens, mean over sequences"}, closed=lambda x: (-advantages["rloo"].double()[:, None] * x * G_MASK).sum(1).mean(), note="the paper's form: no ratio")

# PPO with a critic
record("ppo-policy", "rl", LOGP, {"advantages": "GAE 0.95, whitened", "epsilon": 0.2, "normalization": "tokens"}, closed=lambda x: by_tokens(token_loss(x, WHITE_95)))
v_rows, v_old, v_ret = VALUES, pad(VALUES_OLD), pad(RETURNS_95)


def value_loss(v, clip):
    free = (v - v_ret) ** 2
    if clip is None:
        return 0.5 * by_tokens(free)
    held = (v_old + (v - v_old).clamp(-clip, clip) - v_ret) ** 2
    return 0.5 * by_tokens(torch.maximum(free, held))


for clip in (None, 0.2, 0.5):
    v = leaf(VALUES)
    value = value_loss(v, clip)
    grad = torch.autograd.grad(value, v)[0]
    cases.append({
        "name": f"ppo-value-clip-{clip}", "family": "critic", "config": {"value_clip": clip, "normalization": "tokens"},
        "closed": {"loss": float(value.detach()), "d_value": ragged(grad, VALUES), "finite_difference_error": biggest(differences(lambda y: value_loss(y, clip).detach(), v, VALUES), grad)},
        "note": "0.5 max((v - R)^2, (clip(v, v_old +- c) - R)^2), token mean; verl's and OpenRLHF's form; PPO left TRL before 1.16",
    })
