"""What a look at the data has found, as one page for a person."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from asr.outputs import escaped
from asr.training.look import Look, Part
from asr.training.suspects import KIND, Suspects

SHOWN = 3  # findings of a kind
WIDTH, INDENT = 100, " " * 11
MEANINGS = {  # kind -> what to do
    "unreadable audio": "left out of training; in dev counted as deleted",
    "empty text": "left out of training",
    "text beside labels": "what the labels say is learnt, the text is not; keep one of the two",
    "in dev and in training": "the dev figures are better than they should be: remove one of the two",
    "repeated": "learnt from twice",
    "silent": "is something recorded?",
    "clipped": "recorded too loud; they are used as they are",
    "much text for its length": "is the recording cut short, or is the text another's?",
    "little text for its length": "long silences, or does the text lack something?",
    KIND: "listen to these; they are used as they are",
}


def page(look: Look, suspects: Suspects | None, split: str, choices: Sequence[str]) -> str:
    """The page.

    Args:
        suspects: None where no model that writes the texts' letters has listened.
        split: how the dev set was chosen.
        choices: settings, with reasons.
    """
    lines = ["", *_sizes(look, split), "", *_texts(look), "", *_findings(look, suspects), "", *_choices(choices)]
    return "\n".join(map(escaped, lines))  # ids and errors hold whatever a manifest has


def _sizes(look: Look, split: str) -> Iterator[str]:
    yield f"training   {_part(look.train)}"
    yield f"dev        {_part(look.dev)}" if look.dev else "dev        none"
    yield from textwrap.wrap(split, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    rates = ", ".join(f"{rate} Hz ({count} files)" for rate, count in look.rates.items())
    yield f"audio      {rates}; all is brought to 16000 Hz"
    yield f"shortest   {_named(look.shortest)}"
    yield f"longest    {_named(look.longest)}; half are shorter than {look.median_seconds:.1f} s"


def _part(part: Part) -> str:
    speakers = f"{part.speakers} speakers" if part.speakers != 1 else "1 speaker"
    if not part.speakers:
        speakers = "speakers unknown"
    elif part.unknown_speakers:
        speakers += f" and {part.unknown_speakers} utterances of unknown ones"
    return f"{duration(part.seconds)} in {part.utterances} utterances, {speakers}"


def duration(seconds: float) -> str:
    """Such as "1.5 hours", "12 minutes" or "40 seconds"."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _named(extremes: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{seconds:.1f} s ({name})" for name, seconds in extremes)


def _texts(look: Look) -> Iterator[str]:
    speed = f"{look.characters_per_second:.0f} characters a second"
    yield f"texts      {look.words} words, {look.vocabulary} different ones, {speed}"
    counts = [f"{_visible(character)} {count}" for character, count in look.characters.items()]
    yield from _wrapped("alphabet   ", [f"{len(counts)} characters:", *counts])
    if look.rare:
        rare = [f"{_visible(character)} ({name})" for character, name in look.rare.items()]
        yield from _wrapped("rare       ", ["in hardly any text, are these meant?", *rare])
    if look.only_in_dev:
        yield f"           in dev, but never in training: {' '.join(map(_visible, look.only_in_dev))}"
    if look.texts_in_both:
        yield (
            f"           {look.texts_in_both} of the {look.dev.utterances} dev texts are training texts, too: "
            "expect more errors on new sentences"
        )


def _visible(character: str) -> str:
    return "space" if character == " " else character


def _wrapped(label: str, words: Sequence[str]) -> Iterator[str]:
    """Words in lines, of which the first begins with a label."""
    line = label + words[0]
    for word in words[1:]:
        if len(line) + 2 + len(word) > WIDTH:
            yield line
            line = " " * len(label) + word
        else:
            line += f"  {word}"
    yield line


def _findings(look: Look, suspects: Suspects | None) -> Iterator[str]:
    listened = f"{look.heard} listened to for silence and clipping"
    if suspects is None:
        listened += "; no model at hand writes these letters to compare texts with sound"
    else:
        listened += f", {suspects.aligned} texts compared with what is heard"
    yield f"to look at ({listened}; all of them are in look.json)"
    if suspects and suspects.why_not:
        yield f"  whether texts are what is said could not be told: {suspects.why_not}"
    for kind, count in look.counts.items():
        yield f"  {count} {kind}: {MEANINGS[kind]}"
        for found in [found for found in look.findings if found.kind == kind][:SHOWN]:
            yield f"      {found.utterance}: {found.detail}"
    if not look.counts:
        yield "  nothing found"


def _choices(choices: Sequence[str]) -> Iterator[str]:
    yield "what is chosen for it (change any of it with --set)"
    yield from (f"  {line}" for line in choices)
