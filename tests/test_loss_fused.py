"""The fused path against autograd's, term by term: same values, gradients and means."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from muscle_gov_plugins import _loss_batch
from muscle_gov_plugins._loss_batch import Loss, chunk_of
from muscle_gov_plugins._loss_table import ROWS, LossSettings
from muscle_gov_plugins._loss_terms import BatchTokens, Full, Top, best_entry, judge
from torch import nn

N, H, V = 23, 8, 192
FUSED = [name for name in ROWS if name != "rcat"]
TEACHERS = ("old", "new")


def full(logits, _):
    return Full(logits.clone())


def best(k, is_told=True):
    def scores(logits, temperature):
        top = logits.topk(k)
        lse = (logits / temperature).logsumexp(-1)
        return Top(top.indices, top.values, lse, temperature, logits.shape[1] if is_told else None)

    return scores


class InFile:
    """Scores that are not a tensor: read where they are asked for."""

    def __init__(self, logits):
        self._array, self.read = logits.bfloat16(), 0
        self.shape = logits.shape

    def __len__(self):
        return len(self._array)

    def __getitem__(self, at):
        found = self._array[at]
        self.read += len(found)
        return found


class World:
    def __init__(self, widths=(V, V, V), spread=2.0):
        torch.manual_seed(1)
        self.head = nn.Linear(H, widths[0]).requires_grad_(False)
        self.head.weight.mul_(4)
        self.hidden = torch.randn(N, H)
        with torch.no_grad():
            own = self.head(self.hidden)
        self.labels = own[:, : min(widths)].argmax(-1)
        self.labels[::2] = torch.randint(0, min(widths), (len(self.labels[::2]),))
        self.logits = {}
        for start, (who, width) in enumerate(zip(TEACHERS, widths[1:], strict=True)):
            self.logits[who] = torch.randn(N, width) * spread
            places = torch.arange(start, N, 3)
            self.logits[who][places, self.labels[places]] += 4 * spread

    def run(self, loss, makers=(full, full), chunk=5, head=None):
        how = loss.settings.temperature or 1.0
        teachers = [
            replace(judge(self.logits[who].float(), self.labels), scores=maker(self.logits[who], how))
            for who, maker in zip(TEACHERS, makers, strict=True)
        ]
        rows = torch.arange(N) // 4
        hidden = self.hidden.clone().requires_grad_()
        tokens = BatchTokens(self.labels, rows, rows % 2 == 0, *teachers)
        value, means = loss(hidden, head or self.head, tokens, N, chunk)
        value.backward()
        return value.detach(), hidden.grad, means


def compare(world, monkeypatch, row, settings=None, makers=(full, full), tolerance=2e-5, **how):
    loss = Loss(row, LossSettings(**(settings or {})))
    with monkeypatch.context() as patch:
        patch.setattr(_loss_batch, "_is_fused", lambda *_: False)
        expected = world.run(loss, makers, **how)
    with monkeypatch.context() as patch:
        patch.setattr(_loss_batch._Batch, "cost", None)  # the fused path has no use for it
        got = world.run(loss, makers, **how)
    largest = expected[1].abs().max()
    assert largest > 0
    assert got[0].item() == pytest.approx(expected[0].item(), rel=tolerance)
    assert (got[1] - expected[1]).abs().max() <= tolerance * largest
    assert got[2] == pytest.approx(expected[2], rel=tolerance, abs=1e-6)


SETTINGS = [{}, {"temperature": 1.0}, {"compat_weight": 0.3}, {"scale_by_t2": True, "temperature": 3.0}]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("row", FUSED)
def test_rows_with_all_scores(row, settings, monkeypatch):
    known = ROWS[row].defaults.given()
    settings = {name: value for name, value in settings.items() if name in known}
    # pct multiplies rounding by T² = 10^4: against float64 the fused value is off by 3e-5 here, the
    # other by 2e-6.
    tolerance = 1e-4 if row == "pct" else 2e-5
    for chunk in (1, 7, N):
        compare(World(), monkeypatch, row, settings, chunk=chunk, tolerance=tolerance)


@pytest.mark.parametrize(
    "makers", [(best(5), best(5)), (best(5), best(9)), (full, best(6)), (best(V),) * 2]
)
@pytest.mark.parametrize("row", [name for name in FUSED if name != "mixture"])
def test_rows_with_the_best(row, makers, monkeypatch):
    # T² = 10^4 in pct shows the rounding of lse.
    compare(World(), monkeypatch, row, makers=makers, tolerance=2e-3 if row == "pct" else 5e-5)


@pytest.mark.parametrize(
    "widths", [(150, V, V), (V, 150, 150), (V, 150, 170), (150, 140, V), (150, V, 190)]
)
@pytest.mark.parametrize("makers", [(full, full), (best(6), best(6)), (best(6, False), full)])
@pytest.mark.parametrize("row", ["muscle", "muscle-ll", "mpt", "mixture"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_widths_that_differ(row, makers, widths, temperature, monkeypatch):
    if row == "mixture":
        makers = (full, full)
    how = {"temperature": temperature}
    compare(World(widths), monkeypatch, row, how, makers, tolerance=5e-5)


@pytest.mark.parametrize("makers", [(full, full), (best(6), best(6)), (best(V - 20), best(V - 20))])
@pytest.mark.parametrize("row", ["muscle", "muscle-ll", "mpt", "flipguard", "mixture"])
def test_entries_that_are_ruled_out(row, makers, monkeypatch):
    if row == "mixture":
        makers = (full, full)
    world = World()
    world.labels %= V - 20
    for logits in world.logits.values():
        logits[:, -20:] = -torch.inf
    compare(world, monkeypatch, row, makers=makers, tolerance=1e-4)
    world.head.bias[-20:] = -torch.inf
    compare(world, monkeypatch, row, makers=makers, tolerance=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("row", ["muscle", "mpt", "mixture", "cross-entropy"])
def test_half_precision(row, dtype, monkeypatch):
    world = World()
    world.head.to(dtype)
    world.hidden = world.hidden.to(dtype)
    world.logits = {who: logits.to(dtype) for who, logits in world.logits.items()}
    # The gradient of the scores is rounded to half precision on its way through the head.
    loss = Loss(row)
    got = world.run(loss)
    monkeypatch.setattr(_loss_batch, "_is_fused", lambda *_: False)
    expected = world.run(loss)
    assert got[0].item() == pytest.approx(expected[0].item(), rel=2e-5)
    assert got[1].dtype == dtype
    gap = (got[1].float() - expected[1].float()).abs().max()
    assert gap <= torch.finfo(dtype).eps * expected[1].abs().max()


def test_a_high_temperature_keeps_the_small_divergence():
    world = World()
    for who, logits in world.logits.items():
        logits.copy_(world.head(world.hidden) + 0.1 * torch.randn(N, V))
        assert logits.std() > 1, who
    world.labels = world.logits["old"].argmax(-1)
    loss = Loss("kd-old", LossSettings(temperature=100.0, scale_by_t2=True))
    log_p, log_q = (
        (scores.double() / 100).log_softmax(-1)
        for scores in (world.logits["old"], world.head(world.hidden))
    )
    expected = 1e4 * (log_p.exp() * (log_p - log_q)).sum(-1).mean().item()
    assert world.run(loss)[0].item() == pytest.approx(expected, rel=2e-2)


def test_only_the_teacher_that_a_token_follows_is_read():
    world, files = World(), []

    def kept(logits, _):
        files.append(InFile(logits))
        return Full(files[-1])

    loss = Loss("muscle")
    got = world.run(loss, (kept, kept))
    assert sum(one.read for one in files) == N
    assert 0 < files[0].read < N
    world.logits = {who: logits.bfloat16() for who, logits in world.logits.items()}
    expected = world.run(loss)
    assert got[0] == expected[0]
    assert torch.equal(got[1], expected[1])


def test_what_teachers_said_is_not_written_over():
    world, kept = World(), []

    def keep(logits, _):
        kept.append((logits, logits.clone()))
        return Full(logits)

    for row in ("muscle", "mpt", "mixture"):
        world.run(Loss(row), (keep, keep))
    assert all(torch.equal(given, before) for given, before in kept)


@pytest.mark.parametrize("row", ["muscle", "muscle-ll", "cross-entropy"])
@pytest.mark.parametrize(
    "last", [torch.tanh, torch.exp, lambda scores: scores, lambda scores: scores.softmax(-1)]
)
def test_scores_that_their_own_backward_pass_needs_are_left_alone(row, last, monkeypatch):
    world = World()
    compare(world, monkeypatch, row, head=lambda states: last(world.head(states)))


def test_states_that_are_scores_are_left_alone():
    scores = torch.randn(N, V)
    before, world = scores.clone(), World()
    world.hidden = scores
    _, gradient, _ = world.run(Loss("cross-entropy"), head=lambda states: states)
    assert torch.equal(scores, before)
    expected = (scores.softmax(-1) - nn.functional.one_hot(world.labels, V)) / N
    assert torch.allclose(gradient, expected, atol=1e-7)


@pytest.mark.parametrize("who", ["student", "old", "new"])
@pytest.mark.parametrize("maker", [full, best(5)])
def test_a_score_that_is_no_number_shows(who, maker):
    world = World()
    scores = world.head.bias if who == "student" else world.logits[who][:, 0]
    scores.fill_(torch.nan) if who != "student" else scores[:1].fill_(torch.nan)
    if maker is not full and who != "student":
        world.logits[who].fill_(torch.nan)
    row = {"student": "muscle", "old": "kd-old", "new": "self-distil"}[who]
    assert world.run(Loss(row), (maker, maker))[0].isnan()


def test_a_rest_of_almost_nothing():
    world = World()
    world.head.weight.zero_()
    world.head.bias.fill_(-60.0)
    world.head.bias[:5] = torch.arange(5.0)
    for logits in world.logits.values():
        logits[:, :5] += 30
    assert all(set(row) == set(range(5)) for row in world.logits["old"].topk(5).indices.tolist())
    loss = Loss("kd-old", LossSettings(temperature=1.0))
    value, gradient, _ = world.run(loss, (best(5), best(5)))
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("width", [64, 192, 1000])
def test_the_best_entry_is_the_first_of_equals(width):
    scores = torch.randint(0, 4, (50, width)).float()
    scores[0] = -torch.inf
    scores[1, 5] = torch.nan
    assert torch.equal(best_entry(scores), scores.argmax(-1))


@pytest.mark.parametrize(
    ("width", "device", "expected"),
    [
        (32768, "cpu", 128),
        (128256, "cpu", 64),
        (1 << 20, "cpu", 64),
        (100, "cpu", 8192),
        (32768, "cuda", 2048),
        (128256, "cuda", 523),
        (152064, "mps", 441),
        (1 << 23, "cuda", 16),
    ],
)
def test_a_chunk_is_as_large_as_its_scores_let_it_be(width, device, expected):
    assert chunk_of(width, device) == expected
