import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.training.denominator import EDGE, TotalScore, phone_trigram

PHONES = 4  # blank included


def texts(seed, count=12, phones=PHONES):
    random = np.random.default_rng(seed)
    return [random.integers(1, phones, random.integers(1, 7)).tolist() for _ in range(count)]


def trigram_of(seed, phones=PHONES):
    return torch.from_numpy(phone_trigram(texts(seed, phones=phones), phones))


def log_probs_of(seed, batch, frames, phones=PHONES, sharpness=2.0):
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(batch, frames, phones, generator=generator)).log_softmax(dim=2)


def log_prior(trigram, ids):
    padded = [EDGE, EDGE, *ids, EDGE]
    return sum(trigram[a, b, c].log() for a, b, c in zip(padded, padded[1:], padded[2:], strict=False))


def by_all_paths(log_probs, trigram):
    """The definition: every path of an utterance, by what it collapses to."""
    frames, phones = log_probs.shape
    scores = []
    for path in itertools.product(range(phones), repeat=frames):
        ids = [phone for phone, _ in itertools.groupby(path) if phone]
        scores.append(log_prior(trigram, ids) + sum(log_probs[t, phone] for t, phone in enumerate(path)))
    return torch.stack(scores).logsumexp(dim=0)


@given(st.integers(0, 10**6), st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_the_score_and_its_gradient_are_those_of_the_sum_over_all_paths(seed, frames):
    trigram, log_probs = trigram_of(seed), log_probs_of(seed, 1, frames).requires_grad_()
    score = TotalScore.apply(log_probs, torch.tensor([frames]), trigram)
    expected = by_all_paths(log_probs[0], trigram)
    torch.testing.assert_close(score[0], expected, rtol=1e-5, atol=1e-5)
    (found,), (wanted,) = (torch.autograd.grad(each.sum(), log_probs) for each in (score, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing_and_has_no_gradient():
    trigram, log_probs = trigram_of(1), log_probs_of(1, 3, 9)
    lengths = torch.tensor([9, 4, 1])
    together = log_probs.clone().requires_grad_()
    scores = TotalScore.apply(together, lengths, trigram)
    scores.sum().backward()
    for i, length in enumerate(lengths.tolist()):
        alone = log_probs[i : i + 1, :length].clone().requires_grad_()
        score = TotalScore.apply(alone, lengths[i : i + 1], trigram)
        score.sum().backward()
        torch.testing.assert_close(scores[i], score[0])
        torch.testing.assert_close(together.grad[i, :length], alone.grad[0])
        assert not together.grad[i, length:].any()


def test_every_utterance_has_the_gradient_of_its_own_weight():
    trigram, lengths = trigram_of(2), torch.tensor([6, 6])
    log_probs = log_probs_of(2, 2, 6).requires_grad_()
    TotalScore.apply(log_probs, lengths, trigram).mul(torch.tensor([3.0, 0.5])).sum().backward()
    # In every frame something is said: the probabilities of what, weighed.
    torch.testing.assert_close(log_probs.grad.sum(dim=2), torch.tensor([[3.0] * 6, [0.5] * 6]))


def test_the_right_phones_are_a_part_of_the_whole():
    ids, trigram = [1, 2, 2, 3], trigram_of(3)
    log_probs, lengths = log_probs_of(3, 1, 12), torch.tensor([12])
    right = -torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1), torch.tensor(ids), lengths, torch.tensor([4]), reduction="sum"
    )
    assert right + log_prior(trigram, ids) < TotalScore.apply(log_probs, lengths, trigram)[0] < 0


def test_long_and_sure_utterances_lose_nothing():
    """Where one path has all probability, its prior is all that is left: 4,000 frames, of which each is sure."""
    frames, phones = 4000, 40
    path = np.random.default_rng(4).integers(0, phones, frames)
    log_probs = torch.full((1, frames, phones), -60.0)
    log_probs[0, range(frames), path] = 0
    trigram = trigram_of(4, phones)
    ids = [int(phone) for phone, _ in itertools.groupby(path) if phone]
    found = TotalScore.apply(log_probs.requires_grad_(), torch.tensor([frames]), trigram)
    torch.testing.assert_close(found[0], log_prior(trigram.double(), ids).float(), rtol=1e-4, atol=0)
    found.sum().backward()
    assert log_probs.grad[0, range(frames), path].min() > 0.999


def test_a_trigram_is_probabilities_whatever_it_has_seen():
    trigram = phone_trigram([*texts(5), []], PHONES + 1)  # the last phone never occurs
    np.testing.assert_allclose(trigram.sum(axis=2), 1, rtol=1e-6)
    assert trigram.min() > 0
    assert trigram[EDGE, EDGE, EDGE] > 0.05  # an utterance without phones was there


def test_a_trigram_is_that_of_interpolated_kneser_ney():
    """Chen and Goodman's equation, counted by hand for what follows 1 1."""
    found = phone_trigram([[1, 1, 1], [1, 1, 2], [1, 1, 2]], 3)
    follows = {0: 1, 1: 1, 2: 2}  # the end after 1 1 1, 1, and 2 twice
    pairs = {0: {0: 0, 1: 1, 2: 0}, 1: {0: 1, 1: 2, 2: 1}, 2: {0: 1, 1: 0, 2: 0}}  # x -> y: different ones before x y
    singles = {y: sum(pairs[x][y] > 0 for x in pairs) for y in range(3)}

    def discounted(counts, lower):
        total, kinds = sum(counts.values()), sum(count > 0 for count in counts.values())
        return {y: (max(counts[y] - 0.75, 0) + 0.75 * kinds * lower[y]) / total for y in counts}

    by_one = discounted(singles, dict.fromkeys(range(3), 1 / 3))
    by_two = discounted(pairs[1], by_one)
    np.testing.assert_allclose(found[1, 1], list(discounted(follows, by_two).values()), rtol=1e-6)
