"""What ships: another model does not take over what was fitted to the one before."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr import checkpoint
from asr.kneser_ney import estimate
from asr.ngram import NGram
from scripts import ship_model


def test_a_language_model_loses_what_was_fitted_to_another_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ship_model, "MODELS", tmp_path)
    assert ship_model.main([str(tiny_model), "xx"]) == 0
    assert checkpoint.load(tmp_path / "xx.safetensors").alphabet == checkpoint.load(tiny_model).alphabet
    assert "xx.lm" not in capsys.readouterr().out and not (tmp_path / "xx.lm").exists()

    info = {"units": "words", "search": {"alpha": 0.5}, "confidence": {"words": 200}}
    estimate([["a", "cat"], ["a", "bat"]], 2, info=info).save(tmp_path / "xx.lm")
    before = NGram.open(tmp_path / "xx.lm")
    assert ship_model.main([str(tiny_model), "xx"]) == 0
    after = NGram.open(tmp_path / "xx.lm")
    assert before.info.keys() - after.info.keys() == {"search", "confidence"}
    assert after.words == before.words and after.score(["a", "cat"]) == before.score(["a", "cat"])
    assert "xx.lm stays; what was fitted to the model before is no longer in it" in capsys.readouterr().out
