"""Put a trained model into the package, in half the size: `python scripts/ship_model.py MODEL NAME`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from asr import checkpoint, command
from asr.loading import MODELS


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
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
