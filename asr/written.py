"""Written forms: what recognizers and transcripts write in several ways that are said in one.

`asr.evaluate --normalizer english` puts references and hypotheses through `english` on top of the model's normaliser,
so that "Mr. Brown paid 21 dollars" and "mister brown paid twenty one dollars" are the same words. It changes what is
counted: the evaluation shows the rate without it, too. `turkish` does the same for capitals whose small letters are
not those of other languages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from asr.text import Normalizer, spell_numbers

# Titles and the like, by their most common reading, as in K. Ito's text cleaners for Tacotron and in the English
# normaliser of Whisper (A. Radford et al., 2022). What is a word as well (col, no, rep) is left alone.
ABBREVIATIONS: Mapping[str, str] = {
    "mr": "mister",
    "mrs": "missus",
    "dr": "doctor",
    "st": "saint",
    "prof": "professor",
    "capt": "captain",
    "gen": "general",
    "gov": "governor",
    "hon": "honorable",
    "lt": "lieutenant",
    "rev": "reverend",
    "sgt": "sergeant",
    "jr": "junior",
    "sr": "senior",
    "esq": "esquire",
    "ltd": "limited",
    "vs": "versus",
    "etc": "et cetera",
    "&": "and",
    "%": "percent",
}

_SMALL = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety first second third fourth fifth sixth "
    "seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth "
    "nineteenth twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth"
)
# As Britons say it, and num2words spells it.
AND = re.compile(rf"\b(hundred|thousand|million|billion) and (?=(?:{_SMALL.replace(' ', '|')})\b)", re.IGNORECASE)


def english(text: str, normalizer: Callable[[str], str]) -> str:
    """A text as English speakers say it, normalised: numbers spelled, abbreviations and the signs & and % read out.

    Numbers are those that `asr.text.spell_numbers` spells, each by itself: 21, 10,000, 3.14, 2nd, 1835 as a year;
    others (£5, 007) stay as they are, since they have several readings or none. What the normaliser takes apart is read
    once more, so that 10-15 and 10 15 are the same, and -5 is 5; a second time changes nothing. One hundred and five is
    one hundred five.

    Args:
        text: as published or as recognized; numbers should still have their commas and points.
        normalizer: of the model.
    """
    return AND.sub(r"\1 ", normalizer(_read_out(normalizer(_read_out(text)))))


def _read_out(text: str) -> str:
    words = text.replace("&", " & ").replace("%", " % ").split()
    spelled = (ABBREVIATIONS.get(word.lower().strip(".,;:!?\"'()"), spell_numbers(word) or word) for word in words)
    return " ".join(spelled)


def turkish(text: str, normalizer: Callable[[str], str]) -> str:
    """A text in small letters by the rules of Turkish and Azerbaijani (I ı, İ i), normalised.

    For texts that no normaliser of a model for those languages has seen: by the usual rules ISPARTA is isparta, and
    not the ısparta that a recognizer writes.

    Arguments as for `english`.
    """
    return normalizer(Normalizer("lower-turkish", "keep")(text))


FORMS: Mapping[str, Callable[[str, Callable[[str], str]], str]] = {"english": english, "turkish": turkish}
