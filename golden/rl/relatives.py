"""KL estimators, the two-token bandit in closed form, distillation, hybrids with demonstrations."""

from preference import softplus
from rollouts import *

# KL estimators, values and gradients with respect to logp, per token, no mask or mean
x = leaf(LOGP)
estimators = {}
for name, formula in {
    "k1": lambda y: y - REF_T, "k2": lambda y: 0.5 * (y - REF_T) ** 2, "k3": k3,
    "k3 with k2's gradient": lambda y: (0.5 * (y - REF_T) ** 2) - (0.5 * (y - REF_T) ** 2).detach() + k3(y).detach(),
}.items():
    y = leaf(LOGP)
    value = formula(y)
    grad = torch.autograd.grad((value * G_MASK).sum(), y)[0]
    estimators[name] = {"value": ragged(value, LOGP), "d_logp": ragged(grad, LOGP)}

# exact gradients of an expected loss: a two-token vocabulary, closed form (the bandit)
bandit = []
for theta, theta_ref, r1, r0, kl_beta in [(0.3, -0.2, 1.0, 0.0, 0.0), (0.3, -0.2, 1.0, 0.0, 0.1), (-1.5, 0.0, 1.0, 0.0, 0.04), (2.0, 1.0, 0.2, 0.9, 0.0)]:
    p, q = 1 / (1 + math.exp(-theta)), 1 / (1 + math.exp(-theta_ref))
    kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    bandit.append({
        "theta": theta, "theta_ref": theta_ref, "rewards": [r1, r0], "beta": kl_beta, "p": p,
        "objective": p * r1 + (1 - p) * r0 - kl_beta * kl,
        "d_objective_d_theta": p * (1 - p) * ((r1 - r0) - kl_beta * (theta - theta_ref)),
        "expected_grad_k1_in_loss": 0.0,
        "expected_grad_k2_in_loss": p * (1 - p) * (theta - theta_ref),
        "expected_grad_k3_in_loss": p - q,
        "expected_grad_k3_times_ratio_in_loss": p * (1 - p) * (theta - theta_ref),
        "true_grad_kl": p * (1 - p) * (theta - theta_ref),
        "kl": kl,
    })

# the same expectations by enumeration and autograd: the closed forms above must be these
for row in bandit:
    th = torch.tensor(row["theta"], requires_grad=True)
    logps = torch.stack([torch.nn.functional.logsigmoid(th), torch.nn.functional.logsigmoid(-th)])
    tr = torch.tensor(row["theta_ref"])
    refs = torch.stack([torch.nn.functional.logsigmoid(tr), torch.nn.functional.logsigmoid(-tr)])
    weight = logps.exp().detach()
    d = refs - logps
    for key, per in {"k1": -d, "k2": 0.5 * d**2, "k3": d.exp() - d - 1, "k3_times_ratio": (logps - logps.detach()).exp() * (d.exp() - d - 1)}.items():
        got = torch.autograd.grad((weight * per).sum(), th, retain_graph=True)[0]
        assert abs(float(got) - row[f"expected_grad_{key}_in_loss"]) < 1e-12, (key, float(got), row)
    value = (logps.exp() * torch.tensor(row["rewards"])).sum() - row["beta"] * (logps.exp() * -d).sum()
    assert abs(float(value.detach()) - row["objective"]) < 1e-12
    assert abs(float(torch.autograd.grad(value, th)[0]) - row["d_objective_d_theta"]) < 1e-12

# distillation on given logits
from trl.experimental.gkd.gkd_trainer import GKDTrainer

STUDENT = [[[0.5, -1.0, 2.0, 0.0], [1.5, 0.2, -0.7, 0.3]]]
TEACHER = [[[1.0, -0.5, 1.0, 0.4], [0.2, 1.1, -1.3, 0.6]]]
LABELS = [[2, 1]]
distill = []
for b in (0.0, 0.1, 0.5, 1.0):
    for temperature in (1.0, 0.9):
        s = torch.tensor(STUDENT, requires_grad=True)
        loss = GKDTrainer.generalized_jsd_loss(s, torch.tensor(TEACHER), torch.tensor(LABELS), beta=b, temperature=temperature)
        distill.append({"beta": b, "temperature": temperature, "loss": float(loss.detach()), "d_student_logits": torch.autograd.grad(loss, s)[0].tolist()})

# one tiny logits case, all the way: DFT, DPO, GRPO to d loss / d logits
LOGITS = [[0.2, -1.0, 1.5, 0.3, -0.4], [2.0, 0.1, -0.5, 0.7, 0.0], [-0.3, 0.9, 0.4, -1.2, 0.6], [1.1, 1.0, -0.8, 0.2, -0.1]]
TARGETS = [2, 0, 4, 1]
logit_cases = []


def from_logits(name, f):
    z = torch.tensor(LOGITS, requires_grad=True)
    logp = z.log_softmax(-1).gather(-1, torch.tensor(TARGETS)[:, None])[:, 0]
    entropy = -(z.softmax(-1) * z.log_softmax(-1)).sum(-1)
    loss = f(logp, entropy)
    logit_cases.append({"name": name, "loss": float(loss.detach()), "logp": logp.tolist(), "entropy": entropy.tolist(), "d_logits": torch.autograd.grad(loss, z)[0].tolist()})


from_logits("sft", lambda l, h: -l.mean())
from_logits("dft", lambda l, h: -(l.exp().detach() * l).mean())
from_logits("dpo: tokens 0, 1 chosen, 2, 3 rejected, reference sums -1.5 and -2.5, beta 0.5", lambda l, h: softplus(-0.5 * ((l[:2].sum() + 1.5) - (l[2:].sum() + 2.5))))
from_logits("grpo: advantages 1, 1, -1, -1, old logp -0.7 each, epsilon 0.2, entropy bonus 0.01, token mean",
            lambda l, h: (-torch.minimum((l + 0.7).exp() * torch.tensor([1.0, 1, -1, -1]), (l + 0.7).exp().clamp(0.8, 1.2) * torch.tensor([1.0, 1, -1, -1]))).mean() - 0.01 * h.mean())

# hybrids: per-token closed forms on the LOGP rows; row 0, 4, 7 are the expert's (off-policy), the others the model's own
EXPERT = torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 1, 0])[:, None]
hybrids = []


def hybrid(name, f, note, differentiable=False):
    y = leaf(LOGP)
    value = f(y)
    grad = torch.autograd.grad(value, y)[0]
    entry = {"name": name, "loss": float(value.detach()), "d_logp": ragged(grad, LOGP), "note": note}
    if differentiable:
        entry["finite_difference_error"] = biggest(differences(lambda w: f(w).detach(), y, LOGP), grad)
    hybrids.append(entry)


on = lambda y: token_loss(y, A)
hybrid("luffy", lambda y: by_tokens(EXPERT * -A[:, None] * y.exp() / (y.exp() + 0.1) + (1 - EXPERT) * on(y)), "off-policy p/(p+0.1), on-policy clipped; token mean (the released script divides by the padded length and drops the on-policy clip)", True)
hybrid("rl-plus", lambda y: by_tokens(EXPERT * -A[:, None] * (1 - y.detach().exp()) ** 0.5 * 2 * y.exp() / (OLD_T.exp() + 0.5 * (OLD_T.exp() + 1)) + (1 - EXPERT) * on(y)), "off ratio 2p/(p_old + (p_old + 1)/2), advantage times sg((1-p)^0.5)")
hybrid("chord-phi", lambda y: 0.5 * (on(y) * G_MASK * (1 - EXPERT)).sum() / (G_MASK * (1 - EXPERT)).sum() + 0.5 * ((y.exp() * (1 - y.exp())).detach() * -y * G_MASK * EXPERT).sum() / (G_MASK * EXPERT).sum(), "mu 0.5; each part is divided by its own tokens")
H_SEQ = ((ENT_T * G_MASK).sum(1) / G_MASK.sum(1))[:, None]
hybrid("srft-sft-term", lambda y: ((0.5 * (-H_SEQ).exp()) * -y * G_MASK * EXPERT).sum() / (G_MASK * EXPERT).sum(), "0.5 sg(exp(-mean entropy of the sequence)) c on demonstrations", True)
hybrid("psft", lambda y: by_tokens(-torch.minimum((y - OLD_T).exp(), (y - OLD_T).exp().clamp(0.8, 1.28))), "advantage 1 on every token; the released script uses 0.2 / 0.28", True)
hybrid("iw-sft-sequence", lambda y: by_tokens((((y - REF_T) * G_MASK).sum(1) / G_MASK.sum(1)).exp().clamp(0, 16).detach()[:, None] * -y), "weights from the sequence mean of ln pi/ref")
hybrid("dft-grpo", lambda y: by_tokens(EXPERT * y.exp().detach() * -y + (1 - EXPERT) * on(y)), "DFT on the expert's tokens, GRPO on the model's own: the proposal of METHOD-RL.md, d")
