"""pyctcdecode behind a pipe, for `bench_decoding.py`: it needs a numpy below 2, and so a Python of its own.

Arguments: ARPA file, file of words, tokens as JSON. A request is a line of JSON (weights, beam_width, frames) and then
the log-probs as float32; the answer is the text as a line of JSON.
"""

import json
import logging
import sys
from pathlib import Path

import numpy as np
from pyctcdecode import build_ctcdecoder

logging.disable(logging.WARNING)
arpa, words, symbols = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
decoder = build_ctcdecoder(symbols, arpa, words.read_text(encoding="utf-8").split("\n"))
while line := sys.stdin.buffer.readline():
    request = json.loads(line)
    log_probs = np.frombuffer(sys.stdin.buffer.read(4 * request["frames"] * len(symbols)), np.float32)
    decoder.reset_params(alpha=request["alpha"], beta=request["beta"])
    text = decoder.decode(log_probs.reshape(-1, len(symbols)), beam_width=request["beam_width"])
    print(json.dumps(" ".join(text.split())), flush=True)
