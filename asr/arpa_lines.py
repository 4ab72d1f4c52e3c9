"""The lines of ARPA files, read by compiled code: a section at a time, at tens of megabytes a second."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asr.compiled import compiled

# What may be wrong with a line
FINE, OTHER, NUMBER, POSITIVE, UNKNOWN_WORD, TWICE, BACKOFF = range(7)
TAB, LINE_FEED, RETURN, SPACE, BACKSLASH = b"\t\n\r \\"
POINT, MINUS, PLUS, ZERO, LETTER_E = b".-+0e"


@compiled
def _field(text: NDArray[np.uint8], start: int, end: int) -> tuple[int, int]:
    """Where the next field of a line begins and ends; nothing is left where both are `end`."""
    while start < end and (text[start] == SPACE or text[start] == TAB or text[start] == RETURN):
        start += 1
    stop = start
    while stop < end and text[stop] != SPACE and text[stop] != TAB and text[stop] != RETURN:
        stop += 1
    return start, stop


@compiled
def _number(text: NDArray[np.uint8], start: int, end: int) -> float:
    """The value of a decimal number, NaN where there is none or it is too large for float32."""
    negative = start < end and text[start] == MINUS
    if start < end and (text[start] == MINUS or text[start] == PLUS):
        start += 1
    value, exponent, digits, behind_point = 0.0, 0, 0, False
    while start < end:
        if text[start] == POINT and not behind_point:
            behind_point = True
        elif ZERO <= text[start] < ZERO + 10:
            value = value * 10 + (text[start] - ZERO)
            exponent -= 1 if behind_point else 0
            digits += 1
        else:
            break
        start += 1
    if start < end and (text[start] | 32) == LETTER_E:
        start += 1
        is_small = start < end and text[start] == MINUS
        if start < end and (text[start] == MINUS or text[start] == PLUS):
            start += 1
        power = 0
        digits = digits if start < end else 0
        while start < end and ZERO <= text[start] < ZERO + 10:
            power = min(power * 10 + (text[start] - ZERO), 10_000)
            start += 1
        exponent += -power if is_small else power
    # A division is exact to the last bit where a product with a power below 1 is not.
    value = value / 10.0**-exponent if exponent < 0 else value * 10.0**exponent
    if start < end or digits == 0 or not value < 3e38:
        return np.nan
    return -value if negative else value


@compiled
def _slot(text: NDArray[np.uint8], start: int, end: int, slots: NDArray[np.int32], spans: NDArray[np.int64]) -> int:
    """Where a word is, or would be, in a hash table of the numbers of words; -1 marks a free slot."""
    code = np.uint64(14695981039346656037)  # FNV-1a
    for i in range(start, end):
        code = (code ^ np.uint64(text[i])) * np.uint64(1099511628211)
    mask = np.uint64(len(slots) - 1)
    slot = np.int64((code ^ (code >> np.uint64(32))) & mask)
    while slots[slot] >= 0 and not _same(text, start, end, spans[slots[slot], 0], spans[slots[slot], 1]):
        slot = (slot + 1) % len(slots)
    return slot


@compiled
def _same(text: NDArray[np.uint8], start: int, end: int, other: int, other_end: int) -> bool:
    if end - start != other_end - other:
        return False
    while start < end and text[start] == text[other]:
        start += 1
        other += 1
    return start == end


@compiled
def read_section(
    text: NDArray[np.uint8],
    start: int,
    slots: NDArray[np.int32],
    spans: NDArray[np.int64],
    words: NDArray[np.int32],
    log_probs: NDArray[np.float32],
    backoffs: NDArray[np.float32],
) -> tuple[int, int, int]:
    """Read the lines of a section of N n-grams, until it is full or something is wrong.

    Args:
        text: (bytes of the file,)
        start: where the first line begins.
        slots: hash table of the V words, of at least 2 V slots; a section of order 1 fills it.
        spans: (V, 2) where each word begins and ends in the text; a section of order 1 fills it.
        words: (N, order) ids, filled here.
        log_probs, backoffs: (N,) log10, filled here; a back-off that is missing is NaN.

    Returns: what is wrong, how many lines are right, and where the next one begins.
    """
    count, order = words.shape
    for row in range(count):
        end = start
        while end < len(text) and text[end] != LINE_FEED:
            end += 1
        if end == len(text):  # even the last of these lines is not the last one of a whole file
            return OTHER, row, start
        first, last = _field(text, start, end)
        if first == last or text[first] == BACKSLASH:
            return OTHER, row, start
        log_probs[row] = _number(text, first, last)
        if np.isnan(log_probs[row]):
            return NUMBER, row, start
        if log_probs[row] > 0:
            return POSITIVE, row, start
        for column in range(order):
            first, last = _field(text, last, end)
            if first == last:
                return OTHER, row, start
            slot = _slot(text, first, last, slots, spans)
            if order == 1:
                if slots[slot] >= 0:
                    return TWICE, row, start
                slots[slot] = row
                spans[row] = first, last
            elif slots[slot] < 0:
                return UNKNOWN_WORD, row, start
            words[row, column] = slots[slot]
        backoffs[row] = np.nan
        first, last = _field(text, last, end)
        if first < last:
            backoffs[row] = _number(text, first, last)
            first, last = _field(text, last, end)
            if first < last or np.isnan(backoffs[row]):
                return BACKOFF, row, start
        start = end + 1
    return FINE, count, start
