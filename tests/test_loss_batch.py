"""The loss of a batch against a slow reference: one token after the other, one word after the other.

The reference shares no code with the toolkit, is in float64 and leaves the gradient to autograd.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from muscle_gov_plugins import _loss_batch
from muscle_gov_plugins._loss_batch import Loss
from muscle_gov_plugins._loss_table import EVERYWHERE, ROWS, LossSettings, Row, Term, When
from muscle_gov_plugins._loss_terms import BatchTokens, Full, TeacherTokens, Top, divergence, judge
from torch import nn

from muscle_gov import InputError

N, H, V = 13, 6, 11
ALL_ROWS = list(ROWS)


# --- the slow reference ------------------------------------------------------------------------------


def slow_softmax(scores, temperature):
    raised = [(score / temperature).exp() for score in scores]
    return [one / sum(raised) for one in raised]


def slow_kl(first, second):
    return sum(a * (a.log() - b.log()) for a, b in zip(first, second, strict=True) if a > 0)


def slow_buckets(chances, listed):
    return [chances[i] for i in listed] + [sum(c for i, c in enumerate(chances) if i not in listed)]


class SlowToken:
    """What a row may ask of one token."""

    def __init__(self, student, old, new, label, top):
        self.z, self.label, self.top = student, label, top
        self.teachers = {"old": old, "new": new}

    def right(self, who):
        scores = self.z if who == "student" else self.teachers[who]
        return max(range(len(scores)), key=lambda i: scores[i].item()) == self.label

    def logp(self, who):
        scores = self.z if who == "student" else self.teachers[who]
        return slow_softmax(scores, 1.0)[self.label].log().item()

    def ce(self):
        return -slow_softmax(self.z, 1.0)[self.label].log()

    def kl(self, teacher, how):
        if teacher == "mixture":
            pairs = zip(*(slow_softmax(self.teachers[t], 1.0) for t in ("old", "new")), strict=True)
            mixed = [(how.old_weight * o + (1 - how.old_weight) * n).log() for o, n in pairs]
            soft, hard = slow_softmax(mixed, how.temperature), slow_softmax(self.z, how.temperature)
        else:
            soft = slow_softmax(self.teachers[teacher], how.temperature)
            hard = slow_softmax(self.z, how.temperature)
            if self.top:
                best = sorted(range(len(soft)), key=lambda i: -self.teachers[teacher][i].item())
                soft, hard = (slow_buckets(chances, best[: self.top]) for chances in (soft, hard))
        kl = slow_kl(soft, hard) if how.direction == "forward" else slow_kl(hard, soft)
        return kl * how.temperature**2 if how.scale_by_t2 else kl

    def gap(self, teacher, *, mean):
        pairs = list(zip(self.z, self.teachers[teacher], strict=True))
        return sum((a - b) ** 2 for a, b in pairs) / 2 / (len(pairs) if mean else 1)

    def far(self, teacher, how):
        if how.distance == "kl":
            return self.kl(teacher, how)
        return self.gap(teacher, mean=how.distance == "logit-mse")


def slow_switch(to_old, tokens, how):
    comp = [t.kl("old" if old else "new", how) for t, old in zip(tokens, to_old, strict=True)]
    return slow_blend(comp, tokens, how)


def slow_blend(comp, tokens, how):
    lam = how.compat_weight
    return lam * sum(comp) / len(tokens) + (1 - lam) * sum(t.ce() for t in tokens) / len(tokens)


def slow_focal(teacher, token, how):
    return (how.focal_alpha + how.focal_beta * token.right(teacher)) * token.far(teacher, how)


def slow_loss(row, tokens, sequences, how):
    n = len(tokens)
    lost = [t.logp("student") < t.logp("old") for t in tokens]
    ce = sum(t.ce() for t in tokens) / n
    if row == "muscle":
        return slow_switch([not t.right("student") for t in tokens], tokens, how)
    if row == "muscle-ll":
        return slow_switch(lost, tokens, how)
    if row == "muscle-ls":
        masked = []
        for sequence in sequences:
            falls = [fall for fall, s in zip(lost, sequences, strict=True) if s == sequence]
            masked.append(any(falls) if how.reading == "any" else sum(falls) * 2 > len(falls))
        return slow_switch(masked, tokens, how)
    if row == "v1-correct":
        return slow_switch([t.right("old") for t in tokens], tokens, how)
    if row in ("kd-old", "kd-old+ce", "self-distil", "mixture"):
        teacher = {"self-distil": "new", "mixture": "mixture"}.get(row, "old")
        return slow_blend([t.kl(teacher, how) for t in tokens], tokens, how)
    if row == "cross-entropy":
        return ce
    if row == "pct":
        return ce + how.distance_weight * sum(slow_focal("old", t, how) for t in tokens) / n
    if row == "mpt":
        both = sum(slow_focal("old", t, how) + slow_focal("new", t, how) for t in tokens)
        return ce + how.distance_weight * both / n
    if row == "rcat":
        loss = (1 - how.new_weight - how.old_weight) * ce
        for teacher, weight in (("new", how.new_weight), ("old", how.old_weight)):
            gaps = [t.gap(teacher, mean=True) for t in tokens if t.right(teacher)]
            loss = loss + weight * sum(gaps) / max(len(gaps), 1)
        return loss
    if row == "flipguard":
        falls = [t.logp("old") - t.logp("student") > how.threshold for t in tokens]
        kls = [t.kl("old", how) for t, fall in zip(tokens, falls, strict=True) if fall]
        return ce + how.distance_weight * sum(kls) / n
    raise AssertionError(row)


# --- random data -------------------------------------------------------------------------------------


class World:
    """Hidden states, a head and two teachers that are right and wrong in all combinations."""

    def __init__(self, seed=0, widths=(V, V, V)):
        torch.manual_seed(seed)
        student, old, new = widths
        self.head = nn.Linear(H, student, bias=True).requires_grad_(False)
        self.head.weight.mul_(3)
        self.hidden = torch.randn(N, H)
        self.labels = torch.randint(0, min(widths), (N,))
        self.sequences = torch.tensor([0] * 4 + [1] * 2 + [0] * 2 + [3] * 5)
        self.logits = {"old": torch.randn(N, old) * 2, "new": torch.randn(N, new) * 2}
        for start, who in enumerate(("old", "new")):
            places = torch.arange(start, N, 3)
            self.logits[who][places, self.labels[places]] += 5
        favoured = self.hidden.new_zeros(N, student)
        favoured[::2].scatter_(1, self.labels[::2, None], 1.0)
        self.hidden += favoured @ self.head.weight * 0.7

    def tokens(self, scores=Full):
        teachers = [
            replace(judge(self.logits[who], self.labels), scores=scores(self.logits[who]))
            for who in ("old", "new")
        ]
        return BatchTokens(self.labels, self.sequences, torch.arange(N) % 2 == 0, *teachers)

    def run(self, loss, chunk=4, total=N, scores=Full, head=None):
        hidden = self.hidden.clone().requires_grad_()
        value, means = loss(hidden, head or self.head, self.tokens(scores), total, chunk)
        value.backward()
        return value.detach(), hidden.grad, means

    def slow(self, row, how, top=None):
        hidden = self.hidden.double().requires_grad_()
        student = hidden @ self.head.weight.double().T + self.head.bias.double()
        old, new = (self.logits[who].double() for who in ("old", "new"))
        tokens = [
            SlowToken(list(student[i]), list(old[i]), list(new[i]), int(self.labels[i]), top)
            for i in range(N)
        ]
        value = slow_loss(row, tokens, self.sequences.tolist(), how)
        value.backward()
        return value.detach(), hidden.grad


def top_of(k, temperature, width=None):
    def scores(logits):
        best = logits.topk(k)
        return Top(best.indices, best.values, (logits / temperature).logsumexp(-1), temperature, width)

    return scores


def assert_same(got, expected, rtol=2e-5):
    value, gradient = got[:2]
    assert value.item() == pytest.approx(expected[0].item(), rel=rtol)
    largest = expected[1].abs().max().item()
    assert largest > 0
    assert (gradient.double() - expected[1]).abs().max().item() <= rtol * largest


VARIANTS = [
    *((row, {}) for row in ALL_ROWS),
    ("muscle", {"direction": "reverse", "scale_by_t2": True, "compat_weight": 0.3}),
    ("muscle", {"compat_weight": 0.0}),
    ("muscle-ls", {"reading": "majority", "temperature": 1.0}),
    ("pct", {"distance": "logit-l2", "focal_beta": 2.0}),
    ("mpt", {"distance": "logit-mse", "distance_weight": 0.4}),
    ("mpt", {"direction": "reverse"}),
    ("rcat", {"new_weight": 0.75, "old_weight": 0.2}),
    ("flipguard", {"threshold": 1.5, "temperature": 3.0}),
    ("mixture", {"old_weight": 0.2, "direction": "reverse"}),
    ("mixture", {"old_weight": 1.0, "temperature": 1.0}),
]


@pytest.fixture(params=["fused", "term by term"])
def path(request, monkeypatch):
    """Both ways to the same numbers, where a row has two."""
    if request.param != "fused":
        monkeypatch.setattr(_loss_batch, "_is_fused", lambda *_: False)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("chunk", [1, 3, N])
@pytest.mark.parametrize(("row", "settings"), VARIANTS)
def test_value_and_gradient_are_those_of_the_slow_reference(row, settings, chunk):
    world, loss = World(), Loss(row, LossSettings(**settings))
    assert_same(world.run(loss, chunk), world.slow(row, loss.settings))


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ("muscle", {}),
        ("muscle-ll", {}),
        ("muscle-ls", {"reading": "any"}),
        ("muscle-ls", {"reading": "majority"}),
        ("v1-correct", {}),
        ("flipguard", {"threshold": 1.5}),
    ],
)
def test_the_random_tokens_fall_into_every_case(row, settings):
    means = World().run(Loss(row, LossSettings(**settings)))[2]
    assert 0.1 < means["aligned to old"] < 0.9


@pytest.mark.parametrize("row", ["muscle", "muscle-ls", "rcat", "mpt"])
def test_a_trained_head_gets_the_same_gradients(row):
    world, loss = World(), Loss(row)
    frozen = world.run(loss)
    slow_head = nn.Linear(H, V).double()
    slow_head.load_state_dict(world.head.state_dict())
    reference = World()
    reference.head = slow_head
    expected = reference.slow(row, loss.settings)
    trained = nn.Linear(H, V)
    trained.load_state_dict(world.head.state_dict())
    got = world.run(loss, head=lambda states: trained(states))
    assert_same(got, expected)
    assert torch.allclose(got[1], frozen[1], rtol=1e-5, atol=1e-7)
    assert got[2] == pytest.approx(frozen[2], rel=1e-5)
    assert_same((got[0], trained.weight.grad), (expected[0], slow_head.weight.grad))
    assert_same((got[0], trained.bias.grad), (expected[0], slow_head.bias.grad))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("k", [1, 4, V - 1, V])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_the_best_entries_and_a_rest(k, direction, temperature):
    world = World()
    loss = Loss("muscle", LossSettings(direction=direction, temperature=temperature))
    got = world.run(loss, scores=top_of(k, temperature))
    # What lse leaves for the rest is a difference of two numbers of which float32 knows 10^-6.
    assert_same(got, world.slow("muscle", loss.settings, top=k), rtol=5e-4)
    whole = world.run(loss)[0]
    if k == V:
        assert got[0].item() == pytest.approx(whole.item(), rel=1e-5)
    else:
        assert got[0] < whole * 1.0001


def test_a_rest_too_small_for_a_difference_is_kept():
    # 1 - (what the student gives to the two best) is 0 in float32; its logarithm is -30 all the same.
    student = torch.tensor([[0.0, 0.0, -30.0, -31.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    kl = divergence(student, top_of(2, 1.0)(teacher), 1.0)
    chances = teacher.softmax(-1)[0].tolist()
    rest = math.exp(-30) + math.exp(-31)
    student_best = -math.log(2 + rest)
    best = torch.topk(teacher, 2).indices[0].tolist()
    expected = sum(
        chances[i] * (math.log(chances[i]) - (0 if i < 2 else -30) - student_best) for i in best
    )
    others = [i for i in range(4) if i not in best]
    left = sum(chances[i] for i in others)
    ours = sum(math.exp(student[0, i].item()) for i in others) / (2 + rest)
    expected += left * (math.log(left) - math.log(ours))
    assert kl.item() == pytest.approx(expected, rel=1e-4)
    kl.sum().backward()
    assert student.grad.isfinite().all()


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("widths", [(9, V, 12), (V, 9, 8), (8, 8, 12)])
@pytest.mark.parametrize("row", ["muscle", "mixture", "rcat"])
def test_widths_differ_and_the_shared_entries_count(row, widths):
    world, loss = World(widths=widths), Loss(row, LossSettings())
    value, _, _ = world.run(loss)
    # The reference by hand: the same, with every pair cut to what both have.
    hidden = world.hidden.double()
    student = hidden @ world.head.weight.double().T + world.head.bias.double()
    how, expected, right = loss.settings, 0.0, {"old": [], "new": []}
    for i in range(N):
        label = int(world.labels[i])
        teachers = {who: world.logits[who][i].double() for who in ("old", "new")}
        own_right = student[i].argmax().item() == label
        if row == "muscle":
            teacher = teachers["new" if own_right else "old"]
            width = min(len(teacher), widths[0])
            token = SlowToken(list(student[i, :width]), list(teacher[:width]), None, label, None)
            expected += token.kl("old", how) / N
        elif row == "mixture":
            width = min(widths)
            cut = [list(teachers[who][:width]) for who in ("old", "new")]
            expected += SlowToken(list(student[i, :width]), *cut, label, None).kl("mixture", how) / N
        else:
            expected += 0.1 * (student[i].logsumexp(0) - student[i, label]) / N
            for who, teacher in teachers.items():
                width = min(len(teacher), widths[0])
                if teacher.argmax().item() == label:
                    right[who].append(((student[i, :width] - teacher[:width]) ** 2).mean() / 2)
    if row == "rcat":
        expected += 0.5 * sum(right["new"]) / len(right["new"])
        expected += 0.4 * sum(right["old"]) / len(right["old"])
    assert value.item() == pytest.approx(float(expected), rel=2e-5)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(("width", "student"), [(V, 9), (9, V)])
def test_a_list_of_the_best_knows_how_wide_its_teacher_is(width, student):
    world, loss = World(widths=(student, width, width)), Loss("muscle")
    whole, gradient, _ = world.run(loss)
    value, same, _ = world.run(loss, scores=top_of(width, 2.0, width))
    assert value.item() == pytest.approx(whole.item(), rel=1e-5)
    assert torch.allclose(same, gradient, atol=1e-6)


def test_a_list_that_lies_beyond_the_student_says_nothing():
    student = torch.randn(2, 5, requires_grad=True)
    teacher = torch.full((2, 8), -torch.inf)
    teacher[:, 6:] = 1.0
    kl = divergence(student, top_of(2, 1.0, 8)(teacher), 1.0)
    kl.sum().backward()
    assert kl.tolist() == pytest.approx([0, 0], abs=1e-6)
    assert student.grad.abs().max() < 1e-6


def test_a_list_as_long_as_the_student_is_wide_may_lack_some_of_its_entries():
    # The four best of a teacher of six: its words 0, 1, 2 and 5. The student has 0 to 3.
    teacher = torch.tensor([[0.4, 0.2, 0.15, 0.02, 0.03, 0.2]]).log()
    student = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log().requires_grad_()
    kl = divergence(student, top_of(4, 1.0, 6)(teacher), 1.0)
    # Without word 5 there is 0.8: 0.4, 0.2, 0.15 and 0.05 for the rest, where the student has 0.4.
    pairs = [(0.5, 0.1), (0.25, 0.2), (0.1875, 0.3), (0.0625, 0.4)]
    assert kl.item() == pytest.approx(sum(a * math.log(a / b) for a, b in pairs), rel=1e-5)


def test_a_rest_that_the_student_rules_out_costs_a_lot_but_not_everything():
    student = torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf]], requires_grad=True)
    teacher = torch.tensor([[0.4, 0.4, 0.1, 0.1]]).log()
    kl = divergence(student, top_of(2, 1.0)(teacher), 1.0)
    assert kl.item() == pytest.approx(0.8 * math.log(0.8) + 0.2 * (math.log(0.2) + 100), rel=1e-4)
    kl.sum().backward()
    assert student.grad.isfinite().all()


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("row", ["muscle", "pct", "mpt", "flipguard", "mixture"])
def test_entries_that_a_teacher_rules_out_cost_no_gradient(row, direction):
    world, loss = World(), Loss(row, LossSettings(direction=direction))
    for who in ("old", "new"):
        world.logits[who][:, -3:] = -torch.inf
    world.labels.clamp_(max=V - 4)
    value, gradient, means = world.run(loss)
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert all(math.isfinite(mean) for mean in means.values())
    # No more than impossible: a score of -80 is about as low, for a forward KL.
    if direction == "forward":
        for who in ("old", "new"):
            world.logits[who][:, -3:] = -90.0 * loss.settings.temperature
        assert world.run(loss)[0].item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("distance", ["logit-l2", "logit-mse"])
def test_entries_that_are_ruled_out_have_no_score_to_match(distance):
    world, narrow = World(), World()
    world.logits["old"][:, -3:] = -torch.inf
    narrow.logits["old"] = narrow.logits["old"][:, :-3]
    for one in (world, narrow):
        one.labels.clamp_(max=V - 4)
    loss = Loss("pct", LossSettings(distance=distance))
    value, gradient, _ = world.run(loss)
    expected, other, _ = narrow.run(loss)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(gradient, other, rtol=1e-5)


@pytest.mark.usefixtures("path")
def test_entries_that_the_student_rules_out_too():
    world = World()
    world.head.bias[-2:] = -torch.inf
    for who in ("old", "new"):
        world.logits[who][:, -2:] = -torch.inf
    world.labels.clamp_(max=V - 3)
    for row in ("muscle", "rcat", "mixture"):
        value, gradient, _ = world.run(Loss(row))
        assert value.isfinite()
        assert gradient.isfinite().all()
    for k in (2, V - 2):
        value, gradient, _ = world.run(Loss("muscle"), scores=top_of(k, 2.0))
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("row", ["muscle", "cross-entropy", "mpt"])
def test_gradients_of_parts_add_up(row):
    world, loss = World(), Loss(row)
    value, gradient, _ = world.run(loss)
    tokens, sums, parts = world.tokens(), 0.0, []
    for at in (slice(0, 5), slice(5, N)):
        hidden = world.hidden[at].clone().requires_grad_()
        part, means = loss(hidden, world.head, cut(tokens, at), N, 4)
        part.backward()
        assert means["loss"] * len(hidden) / N == pytest.approx(part.item(), rel=1e-5)
        sums += part.item()
        parts.append(hidden.grad)
    assert sums == pytest.approx(value.item(), rel=1e-6)
    assert torch.allclose(torch.cat(parts), gradient, rtol=1e-5, atol=1e-7)


def test_means_of_own_tokens_count_by_the_size_of_their_call():
    # Over two calls, rcat's means are of each call's own tokens, weighted by all tokens of the call.
    world, loss = World(), Loss("rcat")
    tokens = world.tokens()
    both = [
        loss(world.hidden[at], world.head, cut(tokens, at), n, 4)[0].item() * n / N
        for at, n in ((slice(0, 5), 5), (slice(5, N), N - 5))
    ]
    accumulated = [
        loss(world.hidden[at], world.head, cut(tokens, at), N, 4)[0].item()
        for at in (slice(0, 5), slice(5, N))
    ]
    assert accumulated == pytest.approx(both, rel=1e-6)


def cut(tokens, at):
    old, new = (
        TeacherTokens(one.right[at], one.logp[at], Full(one.scores.logits[at]))
        for one in (tokens.old, tokens.new)
    )
    return BatchTokens(tokens.labels[at], tokens.rows[at], tokens.is_answer[at], old, new)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("row", ALL_ROWS)
def test_no_tokens_at_all(row, trained):
    world, loss = World(), Loss(row)
    hidden = world.hidden[:0].clone().requires_grad_()
    world.head.requires_grad_(trained)
    value, means = loss(hidden, world.head, cut(world.tokens(), slice(0, 0)), 1, 4)
    value.backward()
    assert value.item() == 0
    assert hidden.grad.shape == (0, H)
    assert set(means.values()) == {0.0}
    if trained:
        assert world.head.weight.grad.abs().max() == 0


def test_a_case_that_no_token_is_in_counts_nothing():
    world, loss = World(), Loss("rcat")
    tokens = world.tokens()
    nobody = torch.zeros(N, dtype=torch.bool)
    tokens.old.right, tokens.new.right = nobody, nobody
    hidden = world.hidden.clone().requires_grad_()
    value, means = loss(hidden, world.head, tokens, N, 4)
    value.backward()
    ce = nn.functional.cross_entropy(world.head(world.hidden), world.labels)
    assert value.item() == pytest.approx(0.1 * ce.item(), rel=1e-5)
    assert hidden.grad.isfinite().all()
    assert means["distance to old"] == means["aligned to new"] == 0


def test_a_mean_over_tokens_that_the_student_decides():
    wrong = When("student wrong", lambda cases, _: ~cases.of("student").right, frozenset({"student"}))
    term = Term("CE where wrong", "gold", wrong, lambda _: 1.0, own_mean=True)
    row, world = Row("hard", "", "", (term,), LossSettings()), World()
    assert row.runs_head_twice
    logits = world.head(world.hidden)
    places = logits.argmax(-1) != world.labels
    assert 0 < places.sum() < N
    expected = nn.functional.cross_entropy(logits[places], world.labels[places])
    assert world.run(Loss(row), 3)[0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_cases_know_the_answer_and_the_sequence():
    term = Term("CE of answers", "gold", When("answer", lambda cases, _: cases.is_answer), lambda _: 1.0)
    world = World()
    losses = nn.functional.cross_entropy(world.head(world.hidden), world.labels, reduction="none")
    value = world.run(Loss(Row("answers", "", "", (term,), LossSettings())), 3)[0]
    assert value.item() == pytest.approx(losses[::2].sum().item() / N, rel=1e-5)


def counted(head):
    seen = []

    def run(states):
        seen.append(len(states))
        return head(states)

    return run, seen


@pytest.mark.parametrize(("row", "passes"), [("muscle", 1), ("rcat", 1), ("muscle-ls", 2)])
def test_scores_are_made_for_a_chunk_at_a_time_and_once(row, passes):
    world = World()
    head, seen = counted(world.head)
    world.run(Loss(row), chunk=4, head=head)
    seen.remove(1)  # one of them to see whether the head is trained
    assert sorted(seen) == sorted([4, 4, 4, 1] * passes)[: len(seen)]
    assert sum(seen) == N * passes


@pytest.mark.usefixtures("path")
def test_without_gradients_none_are_made():
    world, loss = World(), Loss("muscle")
    expected = world.run(loss)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            value, means = loss(world.hidden, world.head, world.tokens(), N, 4)
        assert not value.requires_grad
        assert value == expected[0]
        assert means == expected[2]


def test_the_gradient_of_what_comes_after_is_passed_on():
    world, loss = World(), Loss("muscle")
    _, gradient, _ = world.run(loss)
    hidden = world.hidden.clone().requires_grad_()
    value, _ = loss(hidden * 1.0, world.head, world.tokens(), N, 4)
    (3 * value).backward()
    assert torch.allclose(hidden.grad, 3 * gradient, rtol=1e-6)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_states_are_judged_in_single_precision(dtype):
    world, loss = World(), Loss("pct")
    head = nn.Linear(H, V).to(dtype).requires_grad_(False)
    head.weight.copy_(world.head.weight)
    head.bias.copy_(world.head.bias)
    states = world.hidden.to(dtype).requires_grad_()
    value, _ = loss(states, head, world.tokens(), N, 4)
    value.backward()
    assert value.dtype == torch.float32
    assert states.grad.dtype == dtype
    # The reference from the same rounded scores: what is left is float32's own rounding.
    logits = head(states.detach()).float()
    exact, _ = loss(logits, lambda scores: scores, world.tokens(), N, 4)
    assert value.item() == pytest.approx(exact.item(), rel=1e-6)


def test_a_small_share_of_the_gradient_survives_half_precision():
    # A token among ten million: its gradient in float16 is below the least number, unless scaled first.
    world, loss = World(), Loss("cross-entropy")
    head = nn.Linear(H, V).half().requires_grad_(False)
    states = world.hidden.half().requires_grad_()
    value, _ = loss(states, head, world.tokens(), 1e9, 4)
    (value * 2.0**30).backward()
    assert (states.grad != 0).any(-1).all()


def test_a_high_temperature_keeps_the_small_divergence():
    # T² = 10^4 multiplies the rounding of a KL of 10^-6; V as large as that of a language model.
    torch.manual_seed(0)
    old = torch.randn(8, 32000)
    student = (old + 0.1 * torch.randn(8, 32000)).requires_grad_()
    got = divergence(student, Full(old), 100.0) * 1e4
    log_p, log_q = ((one.double() / 100).log_softmax(-1) for one in (old, student))
    expected = (log_p.exp() * (log_p - log_q)).sum(-1) * 1e4
    assert got.tolist() == pytest.approx(expected.tolist(), rel=2e-2)


@pytest.mark.parametrize(
    ("change", "error", "problem"),
    [
        ({"chunk": 0}, ValueError, "chunk: must be 1 or more"),
        ({"total": 0}, ValueError, "total: must be above 0"),
        ({"labels": torch.zeros(3).long()}, ValueError, "labels: must be one for each of the 13"),
        ({"old": None}, ValueError, "old: must be given, the loss muscle looks at it"),
        ({"scores": None}, InputError, "old: scores are missing; the term 'KL to old' needs them"),
        ({"scores": Full(torch.zeros(2, V))}, InputError, "old: scores are of 2 tokens, not of 13"),
        (
            {"scores": top_of(3, 1.5)(torch.zeros(N, V))},
            InputError,
            "old: scores were kept for temperature 1.5, the loss has 2; make them again",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, error, problem):
    world = World()
    tokens = world.tokens()
    for name in ("labels", "old"):
        if name in change:
            setattr(tokens, name, change[name])
    if "scores" in change:
        tokens.old.scores = change["scores"]
    with pytest.raises(error, match=problem):
        Loss("muscle")(world.hidden, world.head, tokens, change.get("total", N), change.get("chunk", 4))


@pytest.mark.parametrize("row", ["rcat", "mixture"])
def test_a_list_of_the_best_is_refused_where_all_scores_are_compared(row):
    with pytest.raises(InputError, match=r"scores must be full"):
        World().run(Loss(row), scores=top_of(3, 2.0))


def test_every_token_is_the_whole_batch():
    world = World()
    term = Term("KL to old", "old", EVERYWHERE, lambda _: 1.0)
    row = Row("all", "", "", (term,), ROWS["kd-old"].defaults)
    assert world.run(Loss(row))[0] == world.run(Loss("kd-old"))[0]
