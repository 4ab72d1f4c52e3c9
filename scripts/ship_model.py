"""Put a trained model into the package, in half the size: `python scripts/ship_model.py MODEL NAME`.

A language model of that name stays, without the weights and confidences that were fitted to the model before. Make
another (`python -m asr.lm estimate`), or fit this one anew (`python -m asr.evaluate --tune`, `--calibrate`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from asr import checkpoint, command
from asr.loading import MODELS
from asr.ngram import NGram

FITTED = ("search", "confidence")  # what a language model's file keeps of one acoustic model


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments = argparse.ArgumentParser(
        prog="python scripts/ship_model.py",
        description="Store a trained model in fp16 among those that ship with the package.",
    )
    arguments.add_argument("model", type=Path, help="a model file as asr.train writes it")
    arguments.add_argument("name", help="what asr.load and --model will call it")
    options = arguments.parse_args(argv)
    path = MODELS / f"{options.name}.safetensors"
    checkpoint.save(path, checkpoint.load(options.model), half=True)
    print(f"{path} ({path.stat().st_size / 2**20:.1f} MiB)")
    if path.with_suffix(".lm").is_file():
        forget_fitted(path.with_suffix(".lm"))
    return 0


def forget_fitted(lm: Path) -> None:
    """Leave the n-grams of a language model as they are, without what was fitted to another acoustic model."""
    stored = NGram.open(lm)
    if stored.info.keys() & set(FITTED):
        kept = {name: value for name, value in stored.info.items() if name not in FITTED}
        replace(stored, info=kept).save(lm)
    print(
        f"{lm} stays; what was fitted to the model before is no longer in it: replace it, or fit it anew (python -m "
        "asr.evaluate --tune, --calibrate)"
    )


if __name__ == "__main__":
    sys.exit(command.run(main))
