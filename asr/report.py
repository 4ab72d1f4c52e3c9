"""An evaluation as a page to look at: one HTML file that needs no network and nothing beside it.

It holds data, styles and scripts. What comes from a manifest or a recognizer stays text: the data are JSON in which no
< is left, the scripts set text and never markup, and a Content-Security-Policy allows those scripts and styles alone,
by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from asr import Error
from asr.corpus import Utterance
from asr.files import replacing
from asr.report_data import errors_of, worst

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

WORST = 50  # utterances that one can hear and see
SCRIPTS = ("elements.js", "table.js", "overview.js", "confusions.js", "utterances.js", "listening.js", "report.js")
SUFFIXES = (".html", ".htm")


class ReportError(Error):
    """A report that cannot be written."""


def check_page_name(path: Path) -> None:
    """See that a file's name is that of a page.

    Raises:
        ReportError: it is not.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ReportError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")


def write_report(
    path: Path,
    title: str,
    facts: Sequence[tuple[str, str]],
    data: Mapping[str, object],
    recognizer: Recognizer | None = None,
    utterances: Sequence[Utterance] = (),
) -> None:
    """Write the page of an evaluation.

    Args:
        title: of the page.
        facts: names and texts that say how it was made.
        data: see `asr.report_data.report_data`.
        recognizer, utterances: what was evaluated, for sound and pictures of the worst; None for texts alone.

    Raises:
        ReportError: the file has another name.
    """
    check_page_name(path)
    found = {}
    if recognizer is not None:
        from asr.report_media import media

        chosen = worst([errors_of(each["steps"][0]) for each in data["utterances"]], WORST)
        found = media(recognizer, utterances, chosen)
    content = page(title, {"facts": facts, **data, "media": found}).encode("utf-8", "replace")  # a name may be no text
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)


def page(title: str, data: Mapping[str, object]) -> str:
    """The HTML of a report.

    Args:
        title: of the page.
        data: see `asr.report_data.report_data`; with `facts`, and `media`, see `asr.report_media.media`.
    """
    style = _template("report.css")
    script = "".join(_template(name) for name in SCRIPTS)
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "media-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    parts = {
        "policy": policy,
        "style": style,
        "script": script,
        "title": html.escape(title, quote=True),
        "data": escaped_json({"title": title, **data}),
    }
    # One pass: what has been put in is not searched for marks.
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], _template("report.html"))


def escaped_json(data: object) -> str:
    """JSON that cannot end the script element it stands in, in ASCII: neither < nor U+2028 is left in it."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _template(name: str) -> str:
    return files("asr.templates").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """As a Content-Security-Policy names what it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode('utf-8')).digest()).decode('ascii')}"
