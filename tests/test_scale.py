"""What much data takes: the command on little of it, and the line that leads to more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from asr import Error, corpus
from scripts.scale import FAR, MEASURED, far, measure_hours, table, write_manifest

PROJECT = Path(__file__).parents[1]


def test_hours_that_were_measured_lead_to_those_that_were_not() -> None:
    found = [{"hours": h, "utterances": 600 * h, **dict.fromkeys(MEASURED, 5 + 2.5 * h)} for h in (1, 4, 16)]
    assert far(found, "cache_gb") == pytest.approx(5 + 2.5 * FAR)
    head, _, *rows = table(found).splitlines()
    assert "16 h, 9,600 utterances" in head and len(rows) == len(MEASURED)
    assert rows[1] == "| cache, GB | 7.5 | 15 | 45 | 2,505 |"
    assert rows[-1] == "| each worker, MiB | 7.5 | 15 | 45 |  |"  # no line through what hardly changes


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_hours_of_recordings_are_measured(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 40)  # 2 minutes; five recordings
    line = [sys.executable, str(PROJECT / "scripts/scale.py"), "--manifest", str(manifest), "--json", "--hours"]
    done = subprocess.run([*line, "0.01", "0.03"], capture_output=True, text=True, check=True)
    less, more = json.loads(done.stdout)
    assert (less["utterances"], more["utterances"]) == (12, 36)  # of 3 s
    assert more["recordings_gb"] == pytest.approx(5 * 3 * 16_000 * 2 / 1e9, rel=0.01)
    assert 0 < less["cache_gb"] <= more["cache_gb"] < 1e-3 and min(less["main_mib"], less["worker_mib"]) > 100
    with pytest.raises(Error, match=r"has 0\.0 hours of recordings; expected 1"):
        next(measure_hours(corpus.read(manifest), [0.01, 1]))
