"""Losses of pairs and labels: DPO and its relatives, SimPO, CPO, ORPO, KTO."""

from inputs import *

from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

PAIRS = len(CHOSEN)
ROWS = CHOSEN + REJECTED
REF_ROWS = REF_CHOSEN + REF_REJECTED
MASK = mask_of(ROWS)
LENGTHS = MASK.sum(1)


class StandIn(torch.nn.Module):
    """Returns given log-probabilities where TRL asks a model with a fused head for them."""

    def __init__(self, log_probs):
        super().__init__()
        self.log_probs = log_probs

    def forward(self, **_):
        zero = torch.zeros_like(self.log_probs)
        return NS(log_probs=self.log_probs, entropy=zero, mean_logits=zero, is_top1=zero.bool(), aux_loss=None, log_sum_sq_probs=zero)


def dpo_call(loss_type, *, beta=0.1, label_smoothing=0.0, f="reverse_kl", alpha=0.5, ld_alpha=None, weights=None):
    def call():
        x = leaf(ROWS)
        me = object.__new__(DPOTrainer)
        me.__dict__.update(
            model=NS(training=True), accelerator=ACCELERATOR, aux_loss_enabled=False, ld_alpha=ld_alpha, precompute_ref_logps=True,
            f_divergence_type=f, f_alpha_divergence_coef=alpha, loss_types=[loss_type] if isinstance(loss_type, str) else loss_type,
            loss_weights=weights or [1.0], beta=beta, label_smoothing=label_smoothing, use_weighting=False, args=NS(discopop_tau=0.05),
            _metrics=metrics_holder(), _total_train_tokens=0, _tp_size=1,
        )
        completion = torch.cat([torch.zeros(len(ROWS), 1), MASK], 1).long()
        ref = pad(REF_ROWS)
        if ld_alpha is not None:
            ref_sums = ld_sums(ref, ld_alpha)
        else:
            ref_sums = (ref * MASK).sum(1)
        inputs = {
            "input_ids": completion.clone(), "attention_mask": torch.ones_like(completion), "completion_mask": completion,
            "ref_chosen_logps": ref_sums[:PAIRS], "ref_rejected_logps": ref_sums[PAIRS:],
        }
        loss = DPOTrainer._compute_loss(me, StandIn(x), inputs, False)
        return loss, x, {k: v for k, v in numbers(me._metrics).items() if k.startswith(("rewards", "logps"))}
    return call


def sums(x):
    s = (x * MASK).sum(1)
    return s[:PAIRS], s[PAIRS:]


def ld_sums(x, alpha):
    shared = torch.minimum(LENGTHS[:PAIRS], LENGTHS[PAIRS:]).repeat(2)
    position = MASK.cumsum(1)
    inside = MASK * (position <= shared[:, None])
    return (x * inside).sum(1) + alpha * (x * (MASK - inside)).sum(1)


def averages(x):
    s = (x * MASK).sum(1) / LENGTHS
    return s[:PAIRS], s[PAIRS:]


ref_sum_c, ref_sum_r = sums(pad(REF_ROWS))
ref_avg_c, ref_avg_r = averages(pad(REF_ROWS))
softplus = torch.nn.functional.softplus


def margin(x):
    c, r = sums(x)
    return (c - ref_sum_c) - (r - ref_sum_r)


def smoothed(z, s):
    return (1 - s) * softplus(-z) + s * softplus(z)


beta = 0.1
record("dpo-sigmoid", "preference", ROWS, {"beta": beta}, trl_call=dpo_call("sigmoid"), closed=lambda x: softplus(-beta * margin(x)).mean())
record("dpo-sigmoid-beta-0.5", "preference", ROWS, {"beta": 0.5}, trl_call=dpo_call("sigmoid", beta=0.5), closed=lambda x: softplus(-0.5 * margin(x)).mean())
record("dpo-robust", "preference", ROWS, {"beta": beta, "label_smoothing": 0.1}, trl_call=dpo_call("robust", label_smoothing=0.1),
       closed=lambda x: (((1 - 0.1) * softplus(-beta * margin(x)) - 0.1 * softplus(beta * margin(x))) / (1 - 0.2)).mean(), note="rDPO, 2403.00409; unbiased under flips; can be negative")
record("dpo-cdpo", "preference", ROWS, {"beta": beta, "label_smoothing": 0.1}, closed=lambda x: smoothed(beta * margin(x), 0.1).mean(),
       note="conservative DPO; TRL 1.16's DPO has no plain label smoothing for sigmoid (label_smoothing only acts in exo_pair, robust, aot); OpenRLHF and TRL's CPO have it")
record("dpo-ipo", "preference", ROWS, {"beta": beta}, trl_call=dpo_call("ipo"),
       closed=lambda x: (((averages(x)[0] - ref_avg_c) - (averages(x)[1] - ref_avg_r) - 1 / (2 * beta)) ** 2).mean(), note="averages over tokens before the margin (TRL); OpenRLHF and the paper's text sum")
record("dpo-ipo-summed", "preference", ROWS, {"beta": beta, "average": False}, closed=lambda x: ((margin(x) - 1 / (2 * beta)) ** 2).mean(), note="OpenRLHF's form")
record("dpo-hinge", "preference", ROWS, {"beta": beta}, trl_call=dpo_call("hinge"), closed=lambda x: torch.relu(1 - beta * margin(x)).mean(), note="SLiC; beta is 1 / margin")
record("dpo-sigmoid-norm", "preference", ROWS, {"beta": beta}, trl_call=dpo_call("sigmoid_norm"),
       closed=lambda x: softplus(-beta * ((averages(x)[0] - ref_avg_c) - (averages(x)[1] - ref_avg_r))).mean(), note="length-normalised DPO (Tulu 3)")
record("dpo-ld", "preference", ROWS, {"beta": beta, "ld_alpha": 0.5}, trl_call=dpo_call("sigmoid", ld_alpha=0.5),
       closed=lambda x: softplus(-beta * ((ld_sums(x, 0.5) - ld_sums(pad(REF_ROWS), 0.5))[:PAIRS] - (ld_sums(x, 0.5) - ld_sums(pad(REF_ROWS), 0.5))[PAIRS:])).mean(),
       note="LD-DPO: tokens past the shorter of the two lengths count ld_alpha")
record("dpo-apo-zero", "preference", ROWS, {"beta": beta}, trl_call=dpo_call("apo_zero"),
       closed=lambda x: ((1 - torch.sigmoid(beta * (sums(x)[0] - ref_sum_c))) + torch.sigmoid(beta * (sums(x)[1] - ref_sum_r))).mean())
record("dpo-apo-down", "preference", ROWS, {"beta": beta}, trl_call=dpo_call("apo_down"),
       closed=lambda x: (torch.sigmoid(beta * (sums(x)[0] - ref_sum_c)) + 1 - torch.sigmoid(beta * margin(x))).mean())
record("dpo-nca", "preference", ROWS, {"beta": beta}, trl_call=dpo_call("nca_pair"),
       closed=lambda x: (softplus(-beta * (sums(x)[0] - ref_sum_c)) + 0.5 * softplus(beta * (sums(x)[0] - ref_sum_c)) + 0.5 * softplus(beta * (sums(x)[1] - ref_sum_r))).mean())
record("dpo-plus-sft", "preference", ROWS, {"beta": beta, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}, trl_call=dpo_call(["sigmoid", "sft"], weights=[1.0, 0.5]),
       closed=lambda x: softplus(-beta * margin(x)).mean() + 0.5 * -(x * MASK)[:PAIRS].sum() / MASK[:PAIRS].sum(), note="RPO / DPO with an NLL anchor: token mean over the chosen of the batch")
record("dpo-plus-dft", "preference", ROWS, {"beta": beta, "dft": 0.5}, closed=lambda x: softplus(-beta * margin(x)).mean() + 0.5 * -((x.exp().detach() * x) * MASK)[:PAIRS].sum() / MASK[:PAIRS].sum(),
       differentiable=False, note="same with DFT's detached weight on the chosen; finite differences of the value do not apply (detached weight)")
record("reference-free-dpo", "preference", ROWS, {"beta": beta, "reference": None}, closed=lambda x: softplus(-beta * (sums(x)[0] - sums(x)[1])).mean(), note="reference log-probs 0")


def cpo_call(loss_type, *, beta=0.1, gamma=0.5, cpo_alpha=0.0, label_smoothing=0.0, alpha=0.0):
    def call():
        x = leaf(ROWS)
        me = NS(alpha=alpha, accelerator=ACCELERATOR, loss_type=loss_type, simpo_gamma=gamma, beta=beta, label_smoothing=label_smoothing)
        c, r = averages(x) if loss_type in ("ipo", "simpo") else sums(x)
        losses, chosen, rejected = CPOTrainer.cpo_loss(me, c, r)
        nll = -(x * MASK)[:PAIRS].sum() / MASK[:PAIRS].sum()
        found = {"rewards/chosen": float(chosen.mean()), "rewards/rejected": float(rejected.mean()), "rewards/margins": float((chosen - rejected).mean()), "rewards/accuracies": float((chosen > rejected).double().mean())}
        return losses.mean() + cpo_alpha * nll, x, found
    return call


def nll_chosen(x):
    return -(x * MASK)[:PAIRS].sum() / MASK[:PAIRS].sum()


record("simpo", "preference", ROWS, {"beta": 2.0, "gamma": 1.0}, trl_call=cpo_call("simpo", beta=2.0, gamma=1.0), closed=lambda x: softplus(-(2.0 * (averages(x)[0] - averages(x)[1]) - 1.0)).mean(),
       note="TRL's CPOConfig must also be given cpo_alpha=0: its default 1.0 adds the chosen NLL. gamma is subtracted after beta (gamma/beta from the margin)")
record("simpo-trl-default-alpha", "preference", ROWS, {"beta": 2.0, "gamma": 1.0, "cpo_alpha": 1.0}, trl_call=cpo_call("simpo", beta=2.0, gamma=1.0, cpo_alpha=1.0),
       closed=lambda x: softplus(-(2.0 * (averages(x)[0] - averages(x)[1]) - 1.0)).mean() + nll_chosen(x), note="the trap: what loss_type=simpo computes if cpo_alpha is left at 1 (CPO-SimPO)")
record("cpo", "preference", ROWS, {"beta": beta, "cpo_alpha": 1.0}, trl_call=cpo_call("sigmoid", cpo_alpha=1.0), closed=lambda x: softplus(-beta * (sums(x)[0] - sums(x)[1])).mean() + nll_chosen(x))
record("cpo-smoothed", "preference", ROWS, {"beta": beta, "cpo_alpha": 0.0, "label_smoothing": 0.1}, trl_call=cpo_call("sigmoid", label_smoothing=0.1), closed=lambda x: smoothed(beta * (sums(x)[0] - sums(x)[1]), 0.1).mean())


def log1mexp(a):
    return torch.where(a < -math.log(2), torch.log1p(-torch.exp(a)), torch.log(-torch.expm1(a)))


def orpo_call():
    x = leaf(ROWS)
    c, r = averages(x)
    me = NS(beta=beta, accelerator=ACCELERATOR)
    losses, chosen, rejected, ratio, odds = ORPOTrainer.odds_ratio_loss(me, c, r)
    loss = nll_chosen(x) - losses.double().mean()
    return loss, x, {"log_odds_ratio": float(ratio), "log_odds_chosen": float(odds), "rewards/chosen": float(chosen.mean()), "rewards/rejected": float(rejected.mean())}


record("orpo", "preference", ROWS, {"beta": beta}, trl_call=orpo_call,
       closed=lambda x: nll_chosen(x) + beta * softplus(-((averages(x)[0] - averages(x)[1]) - (log1mexp(averages(x)[0]) - log1mexp(averages(x)[1])))).mean(),
       note="the NLL here is over the chosen completion only; TRL's trainer takes it over prompt and completion. TRL computes the odds in float32 (agree ~1e-8)")


def kto_call(weights=(1.0, 1.0), kl_policy=KL_POLICY, loss_type="kto"):
    def call():
        x = leaf(ROWS)
        me = object.__new__(KTOTrainer)
        kl = pad(kl_policy)

        me.__dict__.update(
            model=NS(training=True), accelerator=ACCELERATOR, aux_loss_enabled=False, calculate_KL=loss_type == "kto", precompute_ref_logps=True,
            loss_type=loss_type, beta=beta, desirable_weight=weights[0], undesirable_weight=weights[1], _metrics=metrics_holder(), _total_train_tokens=0, _tp_size=1,
        )
        completion = torch.cat([torch.zeros(len(ROWS), 1), MASK], 1).long()
        kl_mask = torch.cat([torch.zeros(len(KL_POLICY), 1), mask_of(KL_POLICY)], 1).long()
        inputs = {
            "input_ids": completion.clone(), "attention_mask": torch.ones_like(completion), "completion_mask": completion,
            "KL_input_ids": kl_mask.clone(), "KL_attention_mask": torch.ones_like(kl_mask), "KL_completion_mask": kl_mask,
            "label": torch.tensor([True] * PAIRS + [False] * PAIRS), "ref_logps": (pad(REF_ROWS) * MASK).sum(1), "ref_KL_logps": (pad(KL_REF) * mask_of(KL_REF)).sum(1),
        }

        class Two(StandIn):
            def forward(self, input_ids=None, **kw):
                if input_ids.shape[1] == kl_mask.shape[1] and not torch.is_grad_enabled():
                    return NS(log_probs=kl * mask_of(KL_POLICY))
                return super().forward(**kw)

        loss = KTOTrainer._compute_loss(me, Two(x), inputs, False)
        return loss, x, {k: v for k, v in numbers(me._metrics).items() if k.startswith(("rewards", "logps", "kl"))}
    return call


def kto_closed(weights=(1.0, 1.0), kl_policy=KL_POLICY):
    def closed(x):
        z0 = max(0.0, float(((pad(kl_policy) - pad(KL_REF)) * mask_of(KL_REF)).sum(1).mean()))
        c, r = sums(x)
        good = weights[0] * (1 - torch.sigmoid(beta * ((c - ref_sum_c) - z0)))
        bad = weights[1] * (1 - torch.sigmoid(beta * (z0 - (r - ref_sum_r))))
        return torch.cat([good, bad]).mean()
    return closed


LOW_KL = [[v - 0.6 for v in row] for row in KL_POLICY]
record("kto", "preference", ROWS, {"beta": beta, "desirable": [0, 1, 2], "undesirable": [3, 4, 5]}, trl_call=kto_call(), closed=kto_closed())
record("kto-weighted", "preference", ROWS, {"beta": beta, "desirable_weight": 1.33, "undesirable_weight": 1.0}, trl_call=kto_call((1.33, 1.0)), closed=kto_closed((1.33, 1.0)))
record("kto-clamped-kl", "preference", ROWS, {"beta": beta, "kl": "negative, clamped to 0"}, trl_call=kto_call(kl_policy=LOW_KL), closed=kto_closed(kl_policy=LOW_KL))
record("apo-zero-unpaired", "preference", ROWS, {"beta": beta}, trl_call=kto_call(loss_type="apo_zero_unpaired"),
       closed=lambda x: torch.cat([1 - torch.sigmoid(beta * (sums(x)[0] - ref_sum_c)), torch.sigmoid(beta * (sums(x)[1] - ref_sum_r))]).mean())

# pairs one by one, for a loss that is computed from four sums
pairs = []
with torch.no_grad():
    (c, r), (ac, ar) = sums(pad(ROWS)), averages(pad(ROWS))
    m_sum, m_avg = (c - ref_sum_c) - (r - ref_sum_r), (ac - ref_avg_c) - (ar - ref_avg_r)
    for i in range(PAIRS):
        z = beta * float(m_sum[i])
        sig = lambda v: 1 / (1 + math.exp(-v))
        pairs.append({
            "chosen": float(c[i]), "rejected": float(r[i]), "ref_chosen": float(ref_sum_c[i]), "ref_rejected": float(ref_sum_r[i]), "margin": float(m_sum[i]), "mean_margin": float(m_avg[i]),
            "sigmoid": {"loss": math.log1p(math.exp(-z)), "d_loss_d_margin": -beta * sig(-z)},
            "cdpo_0.1": {"loss": 0.9 * math.log1p(math.exp(-z)) + 0.1 * math.log1p(math.exp(z)), "d_loss_d_margin": -beta * (0.9 * sig(-z) - 0.1 * sig(z))},
            "hinge": {"loss": max(0.0, 1 - z), "d_loss_d_margin": -beta if z < 1 else 0.0},
            "ipo_mean": {"loss": (float(m_avg[i]) - 5) ** 2, "d_loss_d_mean_margin": 2 * (float(m_avg[i]) - 5)},
        })
