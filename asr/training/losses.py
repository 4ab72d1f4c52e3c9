"""What training makes small: CTC losses, summed over the utterances of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import ctc_loss

from asr.decode import BLANK


def total_loss(
    log_probs: Tensor, lengths: Tensor, targets: Sequence[Sequence[int]], wordless: Sequence[bool]
) -> Tensor:
    """Sum of the utterances' CTC losses; where no word is said, that of no text at all.

    Args:
        log_probs: (B, T', V) float32.
        lengths: (B,) int64 frames.
        targets: B texts as ids; without any, and not wordless, one counts nothing.
    """
    return summed_ctc(log_probs.transpose(0, 1), lengths, targets) - blank_score(log_probs, lengths, wordless)


def summed_ctc(log_probs: Tensor, lengths: Tensor, targets: Sequence[Sequence[int]]) -> Tensor:
    """Sum of the utterances' CTC losses: negative log-probabilities of their targets (Graves et al. 2006).

    Args:
        log_probs: (T', B, V) float32.
        lengths: (B,) int64 frames.
        targets: B texts as ids; those without any count nothing.
    """
    rows = [i for i, target in enumerate(targets) if target]
    ids = torch.tensor([token for target in targets for token in target], device=log_probs.device)
    target_lengths = torch.tensor([len(targets[i]) for i in rows], device=log_probs.device)
    if not rows:
        return log_probs[:, :0].sum()  # 0, with a gradient
    if len(rows) < len(targets):
        log_probs, lengths = log_probs[:, rows], lengths[rows]
    return ctc_loss(log_probs, ids, lengths, target_lengths, blank=BLANK, reduction="sum")


def blank_score(log_probs: Tensor, lengths: Tensor, wordless: Sequence[bool]) -> Tensor:
    """Sum of the blank's log-probs in the frames of utterances in which nothing is said: CTC's score of no text.

    Args:
        log_probs: (B, T', V) float32.
        lengths: (B,) int64 frames.
        wordless: of each utterance, whether it counts.
    """
    rows = [i for i, counts in enumerate(wordless) if counts]
    return sum((log_probs[i, : lengths[i], BLANK].sum() for i in rows), log_probs[:, :0].sum())
