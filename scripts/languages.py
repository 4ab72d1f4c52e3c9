"""A language of every script, from text to CER: `python scripts/languages.py [LANGUAGE...] [--minutes N]`.

For each language espeak-ng says sentences of common words (scripts/synthetic_speech.py), `python -m asr.train` learns
from 800 of them and `python -m asr.evaluate` scores others, none of which is in the training or the dev part. All parts
share their words and their voices: the figure says that a script is read, learnt, written and scored rightly from one
end to the other, and nothing of how people are understood. Characters are code points in NFC, so a Korean one is a
syllable, and a vowel sign of Arabic or Hindi counts by itself.

Each language has a folder: corpus, run, and the figures as result.json. What is done is not done again, so that the
command without a language gives the table of all. The exit status is 1 if a language has more than 5% CER.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))  # to run without installing

from asr import Error, command
from asr.files import replacing
from asr.training.config import parse_settings
from scripts.synthetic_speech import LANGUAGES, find_espeak, make_corpus

MOST = 0.05  # CER
MINUTES = 10.0  # of training, for 24 (Vietnamese) to 49 (Mandarin) minutes of speech
SENTENCES = 800
HELD_OUT = 8  # training sentences for one of dev, and one of test


@dataclass(frozen=True)
class Result:
    """What came out for a language; rates are fractions.

    Args:
        hours: of training audio.
        characters: in the alphabet.
        cer, low, high: of the model alone on the test part, with a 95% interval over its utterances.
        cer_lm: with the language model that training has kept, if it has.
        minutes: of wall-clock time for training; decoding the audio and language models come on top.
    """

    language: str
    name: str
    hours: float
    utterances: int
    characters: int
    cer: float
    low: float
    high: float
    wer: float
    cer_lm: float | None
    minutes: float

    def row(self) -> str:
        """A row of the table."""
        helped = "-" if self.cer_lm is None else f"{self.cer_lm:.2%}"
        return (
            f"| `{self.language}` {self.name} | {60 * self.hours:.0f} | {self.characters} | {self.utterances} "
            f"| {self.cer:.2%} ({self.low:.2%} to {self.high:.2%}) | {self.wer:.2%} | {helped} | {self.minutes:.1f} |"
        )


HEADER = (
    "| language | minutes of speech | characters | test utterances | CER (95% interval) | WER | CER with its language "
    "model | minutes of training |\n|---|---|---|---|---|---|---|---|"
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="python scripts/languages.py", description=__doc__.splitlines()[0])
    arguments.add_argument(
        "languages", nargs="*", metavar="LANGUAGE", help=f"{', '.join(LANGUAGES)} (default: all, one after the other)"
    )
    arguments.add_argument("--minutes", type=float, default=MINUTES, help="of training, each (default: %(default)g)")
    arguments.add_argument(
        "--sentences", type=command.count, default=SENTENCES, help="to learn from (default: %(default)d)"
    )
    arguments.add_argument(
        "--out", type=Path, default=Path("data/runs/languages"), help="folder (default: %(default)s)"
    )
    arguments.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of asr.train; may be repeated"
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = parser().parse_args(argv)
    if unknown := set(options.languages) - LANGUAGES.keys():
        raise command.UsageError(f"no words of {', '.join(sorted(unknown))}; there are {', '.join(LANGUAGES)}")
    espeak = find_espeak()
    held_out = max(1, options.sentences // HELD_OUT)
    sizes = {"train": options.sentences, "dev": held_out, "test": held_out}
    results = []
    for code in options.languages or LANGUAGES:
        folder = options.out / code
        manifest = make_corpus(espeak, code, sizes, folder / "corpus")
        train(manifest, folder / "run", options.minutes, options.set)
        results.append(score(code, manifest, folder / "run"))
        with replacing(folder / "result.json") as file:
            file.write(json.dumps(asdict(results[-1]), indent=2, ensure_ascii=False).encode() + b"\n")
        print(results[-1].row(), file=sys.stderr)
    print("\n".join([HEADER, *(each.row() for each in results)]))
    return command.FAILED if any(each.cer > MOST for each in results) else 0


def train(manifest: Path, out: Path, minutes: float, settings: Sequence[str]) -> None:
    """Train as a user does, go on where that was stopped, or do nothing if it was done before.

    Raises:
        asr.Error: it was done with other minutes or settings.
    """
    from asr.training.folder import RunFolder  # brings torch, as above

    if (out / "result.json").is_file():
        stored, wanted = RunFolder(out).read_config()["settings"], {"minutes": minutes, **parse_settings(settings)}
        if wanted.get("init") == "none":  # as `asr.train` keeps it
            wanted["init"] = ""
        if changed := [name for name, value in wanted.items() if stored.get(name) != value]:
            raise Error(f"{out}: this run was made with other {', '.join(changed)}; choose another folder (--out)")
        return
    resume = ["--resume"] if (out / "state.safetensors").is_file() else []
    pairs = [part for pair in settings for part in ("--set", pair)]
    _run("asr.train", manifest, "--out", out, "--minutes", minutes, *resume, *pairs)


def score(code: str, manifest: Path, run: Path) -> Result:
    """Score a finished run on the test part, alone and with the language model that it has kept."""
    from asr import checkpoint  # brings torch, and `--help` should not wait for it
    from asr.training.folder import RunFolder

    model = run / "model.safetensors"
    line = ["--model", model, "--manifest", manifest, "--split", "test", "--json"]
    found = json.loads(_run("asr.evaluate", *line, "--lm", "none"))
    helped = json.loads(_run("asr.evaluate", *line))["cer"] if model.with_suffix(".lm").is_file() else None
    stored = checkpoint.load(model)
    return Result(
        language=code,
        name=LANGUAGES[code].name,
        hours=stored.info["hours"],
        utterances=found["utterances"],
        characters=len(stored.alphabet) - 1,
        cer=found["cer"],
        low=found["cer_low"],
        high=found["cer_high"],
        wer=found["wer"],
        cer_lm=helped,
        minutes=RunFolder(run).progress().seconds / 60,
    )


def _run(module: str, *arguments: object) -> str:
    """Run one of the project's commands, which says on stderr how far it is; its stdout."""
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    line = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(line, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, encoding="utf-8")
    if done.returncode == command.INTERRUPTED:
        raise KeyboardInterrupt
    if done.returncode:
        raise Error(f"python -m {module} ended with status {done.returncode}; what it said is above")
    return done.stdout


if __name__ == "__main__":
    sys.exit(command.run(main))
