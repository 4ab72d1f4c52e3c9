"""What else could have been said: the denominator of maximum mutual information (MMI) for phones told by CTC.

CTC asks for the probability of the right phones by themselves. When words are looked for, it is what sets the right
phones apart from all others that counts, given how likely these are to follow one another:

    log P(right | audio) - log sum over all sequences s of phones: P(s) P(s | audio)

with P(s | audio) by CTC, and P(s) by a trigram of phones from the training texts. It is the lattice-free MMI of Povey
et al. (2016, Purely sequence-trained neural networks for ASR) with CTC's topology, as in CTC-CRF (Xiang and Ou 2019).
What the trigram tells anyway need not be learnt from few recordings, which makes the most of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx

from asr.decode import BLANK

DISCOUNT = 0.75  # of counts, as Kneser and Ney (1995) found fit
EDGE = BLANK  # in histories the beginning of an utterance, among what follows its end


def phone_trigram(sequences: Iterable[Sequence[int]], phones: int) -> NDArray[np.float32]:
    """How likely a phone follows two others: interpolated Kneser-Ney (Chen and Goodman 1999, equation 19).

    Args:
        sequences: of phone ids, each an utterance.
        phones: how many there are, blank included.

    Returns:
        (phones, phones, phones): of the last but one, the last, the next. `EDGE` stands before the first, and follows
        the last.
    """
    counts = np.zeros((phones, phones, phones))
    for ids in sequences:
        padded = np.array([EDGE, EDGE, *ids, EDGE])
        np.add.at(counts, (padded[:-2], padded[1:-1], padded[2:]), 1)
    probs = np.full(phones, 1 / phones)
    for order in ((counts > 0).sum(axis=0) > 0).sum(axis=0), (counts > 0).sum(axis=0), counts:
        probs = _discounted(order, probs)
    return probs.astype(np.float32)


def _discounted(counts: NDArray[np.float64], lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities by counts (..., V), what is taken from them given to those of the lower order."""
    total = counts.sum(axis=-1, keepdims=True)
    taken = DISCOUNT * (counts > 0).sum(axis=-1, keepdims=True)
    known = np.maximum(counts - DISCOUNT * (counts > 0), 0) / np.maximum(total, 1)
    return known + np.where(total > 0, taken / np.maximum(total, 1), 1) * lower


class TotalScore(Function):
    """Log of the sum over all phone sequences of their probabilities by the trigram and by CTC.

    The forward algorithm in probabilities that are brought to sum 1 in each frame, which leaves nothing to underflow
    that counts. A state is the last two phones, and whether the last frame was that of the last phone or a blank.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, log_probs: Tensor, lengths: Tensor, trigram: Tensor) -> Tensor:
        """(B,) scores.

        Args:
            log_probs: (B, T, V) float32.
            lengths: (B,) int64 frames, each at least 1.
            trigram: (V, V, V) float32: see `phone_trigram`.
        """
        batch, frames, phones = log_probs.shape
        follows = _without_end(trigram)
        ends = trigram[:, :, EDGE].T  # (last, last but one)
        probs = log_probs.detach().exp().transpose(0, 1)
        # (last, B, last but one), so that the next phone is a product of matrices for each last one.
        spoken = log_probs.new_zeros(phones, batch, phones)
        blank = torch.zeros_like(spoken)
        blank[EDGE, :, EDGE] = 1
        twice = torch.diagonal(follows, dim1=0, dim2=2).T[:, None]  # (last, 1, last but one), the last once more
        spoken_in, blank_in = [], []
        scores = log_probs.new_zeros(batch)
        for t in range(frames):
            spoken_in.append(spoken)
            blank_in.append(blank)
            flow = torch.bmm(spoken + blank, follows)  # (last, B, next)
            again = (spoken * twice).sum(dim=2)  # without a blank between, the same phone is no new one
            flow.diagonal(dim1=0, dim2=2).sub_(again.T)
            active = (t < lengths)[None, :, None]
            new_spoken = (spoken + flow.permute(2, 1, 0)) * probs[t].T[:, :, None]
            new_blank = (spoken + blank) * probs[t, :, BLANK][None, :, None]
            total = (new_spoken + new_blank).sum(dim=(0, 2))
            scores = scores + torch.where(t < lengths, total, 1).log()
            scale = total[None, :, None]
            spoken = torch.where(active, new_spoken / scale, spoken)
            blank = torch.where(active, new_blank / scale, blank)
        end = ((spoken + blank) * ends[:, None]).sum(dim=(0, 2))
        ctx.save_for_backward(probs, lengths, follows, ends, twice, torch.stack(spoken_in), torch.stack(blank_in))
        return scores + end.log()

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Gradients: how likely each phone, and the blank, is in each frame."""
        probs, lengths, follows, ends, twice, spoken_in, blank_in = ctx.saved_tensors
        frames, batch, phones = probs.shape
        found = torch.zeros_like(probs)
        spoken_after = ends[:, None].expand(phones, batch, phones)
        blank_after = spoken_after
        back = follows.transpose(1, 2)
        for t in range(frames - 1, -1, -1):
            spoken, blank = spoken_in[t], blank_in[t]
            by_phone = spoken_after * probs[t].T[:, :, None]  # (next, B, last)
            by_blank = blank_after * probs[t, :, BLANK][None, :, None]
            flow = torch.bmm(by_phone.permute(2, 1, 0), back)  # (last, B, last but one)
            # The same phone once more, which needs a blank between.
            repeat = by_phone.diagonal(dim1=0, dim2=2).T[:, :, None] * twice
            spoken_before = by_phone + by_blank + flow - repeat
            blank_before = by_blank + flow
            total = (spoken * spoken_before + blank * blank_before).sum(dim=(0, 2))
            entered = torch.bmm(spoken + blank, follows)
            entered.diagonal(dim1=0, dim2=2).sub_((spoken * twice).sum(dim=2).T)
            by_next = ((spoken + entered.permute(2, 1, 0)) * by_phone).sum(dim=2).T / total[:, None]
            by_next[:, BLANK] = ((spoken + blank) * by_blank).sum(dim=(0, 2)) / total
            active = t < lengths
            found[t] = torch.where(active[:, None], by_next, 0)
            here = active[None, :, None]
            scale = total[None, :, None]
            spoken_after = torch.where(here, spoken_before / scale, spoken_after)
            blank_after = torch.where(here, blank_before / scale, blank_after)
        return found.transpose(0, 1) * gradient[:, None, None], None, None


def _without_end(trigram: Tensor) -> Tensor:
    """(last, last but one, next), the end's probability 0."""
    follows = trigram.transpose(0, 1).clone()
    follows[:, :, EDGE] = 0
    return follows
