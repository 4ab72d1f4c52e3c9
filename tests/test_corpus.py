"""asr.corpus: each reader on real files, round trips, and what is said about bad ones."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import audio
from asr.corpus import CorpusError, Utterance, read, stable_fraction, write_manifest

RATE = audio.SAMPLE_RATE


def _lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _row(**changes: object) -> dict[str, object]:
    return {"audio_filepath": "a.wav", "text": "hello", "duration": 1.5} | changes


def _tone(path: Path, level: float, seconds: float = 0.5) -> Path:
    """A recording that is told from others by its constant level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(int(seconds * RATE), level, np.float32), RATE)
    return path


# Manifests

_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
_seconds = st.floats(0, 1e6, allow_nan=False)


@st.composite
def _utterances(draw: st.DrawFn) -> list[Utterance]:
    ids = draw(st.lists(_names, min_size=1, max_size=5, unique=True))
    folders = st.lists(_names, max_size=3).map(lambda names: "/".join(names))
    return [
        Utterance(
            id=name,
            audio=Path(os.path.normpath(f"/corpus/{draw(folders)}/{draw(_names)}.wav")),
            text=draw(st.text()),
            duration=draw(st.none() | _seconds),
            speaker=draw(st.none() | _names),
            split=draw(st.none() | st.sampled_from(["train", "dev", "test"])),
            offset=draw(_seconds),
            fields=draw(st.dictionaries(st.sampled_from(["accent", "snr", "ö"]), _names)),
        )
        for name in ids
    ]


@settings(deadline=None)
@given(_utterances())
def test_a_written_manifest_reads_back_unchanged(tmp_path_factory, utterances: list[Utterance]) -> None:
    path = tmp_path_factory.mktemp("manifest") / "m.jsonl"
    write_manifest(path, utterances)
    assert read(path) == utterances


@settings(max_examples=30, deadline=None)
@given(_utterances())
def test_a_csv_table_says_the_same_as_json_lines(tmp_path_factory, utterances: list[Utterance]) -> None:
    # Commas, quotation marks and line ends in any cell, as Python's csv module writes them.
    folder = tmp_path_factory.mktemp("table")
    write_manifest(folder / "m.jsonl", utterances)
    rows = [json.loads(line) for line in (folder / "m.jsonl").read_text("utf-8").split("\n") if line]
    columns = ["id", "audio_filepath", "text", "duration", "speaker", "split", "offset", "accent", "snr", "ö"]
    with (folder / "m.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)
    assert read(folder / "m.csv") == read(folder / "m.jsonl")


def test_further_columns_are_kept_as_text(tmp_path: Path) -> None:
    row = _row(accent="scottish", age=31, snr=12.5, native=True, empty="", nothing=None, words=["a"], more={"b": 1})
    [utterance] = read(_lines(tmp_path / "m.jsonl", row))
    assert utterance.fields == {"accent": "scottish", "age": "31", "snr": "12.5", "native": "true"}
    assert len({utterance, utterance}) == 1  # it can still be hashed


def test_a_manifest_moves_with_its_audio(tmp_path: Path) -> None:
    _tone(tmp_path / "old" / "audio" / "a.wav", 0.25)
    (tmp_path / "old" / "lists").mkdir()
    write_manifest(tmp_path / "old/lists/m.jsonl", [Utterance("a", tmp_path / "old/audio/a.wav", "x")])
    (tmp_path / "old").rename(tmp_path / "new")
    [moved] = read(tmp_path / "new/lists/m.jsonl")
    assert moved.audio == tmp_path / "new/audio/a.wav"
    assert audio.load(moved.audio)[0] == pytest.approx(0.25, abs=1e-4)


def test_relative_audio_paths_are_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tone(tmp_path / "here" / "a.wav", 0.25)
    monkeypatch.chdir(tmp_path / "here")
    write_manifest(tmp_path / "far" / "away" / "m.jsonl", [Utterance("a", Path("a.wav"), "x")])
    [utterance] = read(tmp_path / "far" / "away" / "m.jsonl")
    assert utterance.audio == tmp_path / "here" / "a.wav"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_manifest_in_a_linked_folder_finds_its_audio(tmp_path: Path) -> None:
    # ../audio seen from the link would be another folder: paths count from where the manifest really is.
    _tone(tmp_path / "disk" / "audio" / "a.wav", 0.25)
    (tmp_path / "disk" / "lists").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "lists")
    write_manifest(tmp_path / "link" / "m.jsonl", [Utterance("a", tmp_path / "disk/audio/a.wav", "x")])
    assert json.loads((tmp_path / "link/m.jsonl").read_text())["audio_filepath"] == "../audio/a.wav"
    [utterance] = read(tmp_path / "link" / "m.jsonl")
    assert audio.load(utterance.audio)[0] == pytest.approx(0.25, abs=1e-4)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not Unicode")
def test_file_names_that_are_not_unicode_survive(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")  # Latin-1
    _tone(tmp_path / "a.wav", 0.25).rename(path)
    write_manifest(tmp_path / "m.jsonl", [Utterance("a", path, "x")])
    [utterance] = read(tmp_path / "m.jsonl")
    assert audio.load(utterance.audio)[0] == pytest.approx(0.25, abs=1e-4)


def test_a_failure_while_writing_leaves_the_old_manifest_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest(path, [Utterance("old", tmp_path / "a.wav", "x")])

    def broken():
        yield Utterance("new", tmp_path / "b.wav", "y")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_manifest(path, broken())
    assert [utterance.id for utterance in read(path)] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_nemo_manifests_are_read_as_they_are_published(tmp_path: Path) -> None:
    # A speaker's number, further keys, nulls, blank lines, Windows line ends, a byte order mark, and in the
    # text a character that str.splitlines would split at.
    path = tmp_path / "m.json"
    path.write_bytes(
        b'\xef\xbb\xbf{"audio_filepath": "a/x.wav", "duration": 2, "speaker": 7,'
        b' "text": "one\xe2\x80\xa8two"}\r\n'
        b"\r\n"
        b'{"audio_filepath": "/abs/y.flac", "offset": 1.5, "duration": null, "text": "", "lang": "en"}'
    )
    assert read(path) == [
        Utterance("a/x", tmp_path / "a/x.wav", "one\u2028two", 2.0, "7"),
        Utterance("/abs/y", Path("/abs/y.flac"), "", None, offset=1.5, fields={"lang": "en"}),
    ]


def test_parts_of_one_recording_get_ids_of_their_own(tmp_path: Path) -> None:
    names = ["x.wav", "x.wav", "x#3.wav", "x.wav", "x.flac", "y.wav"]
    rows = [_row(audio_filepath=name, offset=float(number)) for number, name in enumerate(names)]
    utterances = read(_lines(tmp_path / "m.jsonl", *rows))
    assert [utterance.id for utterance in utterances] == ["x", "x#2", "x#3", "x#4", "x#5", "y"]


def test_an_id_given_twice_is_an_error(tmp_path: Path) -> None:
    rows = [_row(id="u1"), _row(id="u2"), _row(id="u1", audio_filepath="b.wav")]
    with pytest.raises(CorpusError, match="line 3: the id 'u1' is that of line 1, too"):
        read(_lines(tmp_path / "m.jsonl", *rows))


def test_a_tab_separated_table_keeps_quotation_marks(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text('text\taudio_filepath\n"Stop," she said.\ta.wav\n\n"Go\tb.wav\n')
    assert [utterance.text for utterance in read(tmp_path / "m.tsv")] == ['"Stop," she said.', '"Go']


def test_a_split_is_chosen_and_a_missing_one_is_named(tmp_path: Path) -> None:
    rows = [_row(split="train"), _row(split="test", text="bye"), _row(split="train")]
    path = _lines(tmp_path / "m.jsonl", *rows)
    assert [utterance.text for utterance in read(path, "test")] == ["bye"]
    assert len(read(path)) == 3
    with pytest.raises(CorpusError, match="split 'dev'; splits found: test, train"):
        read(path, "dev")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"text": "x"}', "no 'audio_filepath'"),
        (b'{"audio_filepath": "", "text": "x"}', "no 'audio_filepath'"),
        (b'{"audio_filepath": ["a"], "text": "x"}', "'audio_filepath' should be text"),
        (b'{"audio_filepath": "a\\u0000.wav", "text": "x"}', "zero character"),
        (b'{"audio_filepath": "a.wav"}', "no 'text'"),
        (b'{"audio_filepath": "a.wav", "text": 7}', "'text' should be text; found 7"),
        (b'{"audio_filepath": "a.wav", "text": "\\ud800"}', "half of a character"),
        (b'{"audio_filepath": "a.wav", "text": "x", "duration": -1}', "'duration' should be seconds"),
        (b'{"audio_filepath": "a.wav", "text": "x", "duration": NaN}', "'duration' should be seconds"),
        (b'{"audio_filepath": "a.wav", "text": "x", "duration": true}', "'duration' should be seconds"),
        (b'{"audio_filepath": "a.wav", "text": "x", "duration": "1:30"}', "found '1:30'"),
        (b'{"audio_filepath": "a.wav", "text": "x", "offset": [1]}', "'offset' should be seconds"),
        (b'{"audio_filepath": "a.wav", "text": "x", "offset": 1e999}', "'offset' should be seconds"),
        (b'{"audio_filepath": "a.wav", "text": "x", "speaker": {}}', "'speaker' should be text"),
        (b'{"audio_filepath": "a.wav", "text": "x", "id": "a\\ud800b"}', "'id' holds half of a character"),
        (b'{"audio_filepath": "a.wav", "text": "caf\xe9"}', "not a line of JSON"),
        (b'{"audio_filepath": "a.wav", "text": "x"', "not a line of JSON"),
        (b'["a.wav", "x"]', "expected an object in braces"),
        (b"[" * 100_000, "not a line of JSON"),
    ],
)
def test_a_bad_line_is_named_and_explained(tmp_path: Path, line: bytes, complaint: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(json.dumps(_row()).encode() + b"\n" + line + b"\n")
    with pytest.raises(CorpusError) as caught:
        read(path)
    assert "1 bad lines" in str(caught.value)
    assert "line 2: " in str(caught.value)
    assert complaint in str(caught.value)


def test_bad_lines_are_reported_together(tmp_path: Path) -> None:
    rows = [_row() if number % 2 else _row(text=None) for number in range(60)]
    with pytest.raises(CorpusError) as caught:
        read(_lines(tmp_path / "m.jsonl", *rows))
    lines = str(caught.value).split("\n")
    assert "30 bad lines" in lines[0]
    assert [line.partition(":")[0].strip() for line in lines[1:21]] == [f"line {n}" for n in range(1, 41, 2)]
    assert lines[21:] == ["  ... and 10 more"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("m.csv", b"path,sentence\na.wav,x\n", "audio_filepath and text; found 'path, sentence'"),
        ("m.csv", b"", "should name the columns"),
        ("m.tsv", b"audio_filepath,text\na.wav,x\n", "with a tab between them"),
        ("m.csv", b"audio_filepath,text\na.wav,one, two\nb.wav\n", "line 3: expected 2 columns; found 1"),
        ("m.csv", b'audio_filepath,text\na.wav,"one\n', "not a table in UTF-8"),
        ("m.csv", b"audio_filepath,text\na.wav,caf\xe9\n", "not a table in UTF-8"),
        ("m.csv", b"audio_filepath,text\n", "holds no utterances"),
        ("m.csv", b"audio_filepath,text,duration\na.wav,x,long\n", "line 2: 'duration' should be seconds"),
        ("m.jsonl", b"\n", "holds no utterances"),
        ("m.txt", b"a.wav x\n", "ends in .jsonl, .json, .csv or .tsv"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        read(tmp_path / name)
    assert complaint in str(caught.value)


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        read(tmp_path / "nowhere.jsonl")


# Folders


def test_a_folder_with_a_manifest_is_read_by_it(tmp_path: Path) -> None:
    _lines(tmp_path / "manifest.jsonl", _row())
    _tone(tmp_path / "unlisted.wav", 0.1)
    assert [utterance.audio for utterance in read(tmp_path)] == [tmp_path / "a.wav"]


def test_a_folder_of_recordings_with_texts(tmp_path: Path) -> None:
    _tone(tmp_path / "b.wav", 0.1)
    _tone(tmp_path / "deep" / "er" / "a.b.flac", 0.2).rename(tmp_path / "deep" / "er" / "a.b.FLAC")
    (tmp_path / "b.txt").write_text("\ufeffSecond one.\r\n", encoding="utf-8")
    (tmp_path / "deep" / "er" / "a.b.txt").write_text("premi\u00e8re\n", encoding="utf-8")
    (tmp_path / "README.txt").write_text("no recording is called README")
    (tmp_path / "._b.wav").write_bytes(b"what macOS leaves beside a file")
    (tmp_path / "folder.wav").mkdir()
    assert read(tmp_path) == [
        Utterance("b", tmp_path / "b.wav", "Second one."),
        Utterance("deep/er/a.b", tmp_path / "deep/er/a.b.FLAC", "premi\u00e8re"),
    ]


def test_linked_folders_are_read_and_each_folder_once(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for where in (folder / "own", elsewhere):
        where.mkdir(parents=True)
        soundfile.write(where / "a.wav", np.zeros(100), 16_000)
        (where / "a.txt").write_text("hello")
    (folder / "linked").symlink_to("../elsewhere")
    (elsewhere / "back").symlink_to(folder)
    (folder / "own" / "again").symlink_to("../linked")
    (folder / "nowhere").symlink_to("missing")
    assert [each.audio.relative_to(folder) for each in read(folder)] == [Path("linked/a.wav"), Path("own/a.wav")]


def test_recordings_without_a_text_of_their_own_are_named(tmp_path: Path) -> None:
    for name in ("good.wav", "lonely.wav", "twice.wav", "twice.flac", "latin.wav"):
        _tone(tmp_path / name, 0.1)
    for name in ("good", "twice"):
        (tmp_path / f"{name}.txt").write_text("words")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(CorpusError) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert "3 recordings without a text of their own" in message
    assert "lonely.wav: no lonely.txt beside it" in message
    assert "twice.wav and twice.flac share one text" in message
    assert "latin.txt: not UTF-8" in message


def test_a_folder_without_speech_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CorpusError, match=r"no manifest.jsonl, no wav.scp, no recordings"):
        read(tmp_path)


def _kaldi(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("wav_scp", "wav.scp")).write_text(content, encoding="utf-8")
    return folder


def test_a_kaldi_folder_of_whole_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far, near = _tone(tmp_path / "far.wav", 0.1), _tone(tmp_path / "data" / "my near.wav", 0.2)
    here = _tone(tmp_path / "here.wav", 0.3)
    monkeypatch.chdir(tmp_path)
    folder = _kaldi(
        tmp_path / "data",
        wav_scp=f"u1 {far}\nu2\tmy near.wav\nu3 here.wav\n",
        text="u3\nu1 FIRST  ONE\nu2\tzwei \u00e4\n",
        utt2spk="u1 anna\nu2 bob\n",
    )
    utterances = read(folder)
    assert utterances == [
        Utterance("u3", Path("here.wav"), ""),
        Utterance("u1", far, "FIRST  ONE", speaker="anna"),
        Utterance("u2", near, "zwei \u00e4", speaker="bob"),
    ]
    levels = [audio.load(utterance.audio)[0] for utterance in utterances]
    assert levels == pytest.approx([0.3, 0.1, 0.2], abs=1e-4)
    assert here.samefile(utterances[0].audio)


def test_kaldi_segments_cut_what_they_say(tmp_path: Path) -> None:
    samples = np.repeat(np.array([0.1, 0.2, 0.3], np.float32), RATE)  # one level a second
    folder = _kaldi(
        tmp_path / "data",
        wav_scp="long long.wav\n",
        segments="b long 1.0 2.0\na long 0 0.5\nc long 2.25 -1\n",
        text="a one\nb two\nc three\n",
    )
    soundfile.write(folder / "long.wav", samples, RATE, subtype="FLOAT")
    parts = [audio.load(utterance.audio, utterance.offset, utterance.duration) for utterance in read(folder)]
    assert [len(part) / RATE for part in parts] == [0.5, 1.0, 0.75]
    assert [float(part.mean()) for part in parts] == pytest.approx([0.1, 0.2, 0.3], abs=1e-6)


def test_shell_commands_in_wav_scp_are_refused_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    folder = _kaldi(
        tmp_path / "data",
        wav_scp=f"u1 touch {marker}; cat {'x' * 300}.wav |\nu2 | {'x' * 300}\n",
        text="u1 one\nu2 two\n",
    )
    with pytest.raises(CorpusError) as caught:
        read(folder)
    assert str(caught.value).count("is a shell command, which is never run here") == 2
    assert "convert the recordings to files" in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"text": "u1 one\nu3 three\n"}, "text: 'u3' has no audio in wav.scp or segments"),
        ({"text": "u1 one\n"}, "'u2' has no line in text"),
        ({"text": "u1 one\nu2 two\nu1 uno\n"}, "text line 3: 'u1' appears twice"),
        ({"wav_scp": "u1 a.wav\nu2\n"}, "wav.scp line 2: nothing after 'u2'"),
        ({"segments": "u1 u1 0 1\nu2 u9 0 1\n"}, "'u2': the recording 'u9' is not in wav.scp"),
        ({"segments": "u1 u1 0 1\nu2 u2 1 1\n"}, "'u2': expected 0 <= start < end in seconds; found 1.0"),
        ({"segments": "u1 u1 0 1\nu2 u2 nan -1\n"}, "found nan and -1.0"),
        ({"segments": "u1 u1 0 1\nu2 u2 0 inf\n"}, "found 0.0 and inf"),
        ({"segments": "u1 u1 0 1\nu2 u2 zero 1\n"}, "'u2': could not convert"),
        ({"segments": "u1 u1 0 1\nu2 u2 0\n"}, "expected a recording, a start and an end; found 'u2 0'"),
    ],
)
def test_what_is_wrong_in_a_kaldi_folder_is_named(tmp_path: Path, changes: dict, complaint: str) -> None:
    good = {"wav_scp": "u1 a.wav\nu2 b.wav\n", "text": "u1 one\nu2 two\n"}
    with pytest.raises(CorpusError) as caught:
        read(_kaldi(tmp_path, **(good | changes)))
    assert complaint in str(caught.value)


def test_a_kaldi_folder_without_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="text does not exist"):
        read(_kaldi(tmp_path, wav_scp="u1 a.wav\n"))


def test_a_kaldi_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    folder = _kaldi(tmp_path, wav_scp="u1 a.wav\n")
    (folder / "text").write_bytes(b"u1 caf\xe9\n")
    with pytest.raises(CorpusError, match="text line 1: not UTF-8"):
        read(folder)


# Stable fractions


def test_stable_fractions_never_change() -> None:
    # Published results hang on these: another value is another dev set. From `printf fash | b2sum -l 64`.
    known = {"fash": 0xD15EBB6327D3C10A, "": 0xE4A6A0577479B2B4, "\u00e4": 0xF04DBBE25E2BA039}
    assert {key: stable_fraction(key) for key in known} == {key: (value >> 11) / 2**53 for key, value in known.items()}


@given(st.text(st.characters()))
def test_stable_fractions_lie_in_the_unit_interval(key: str) -> None:
    assert 0 <= stable_fraction(key) < 1


def test_stable_fractions_are_spread_evenly() -> None:
    fractions = [stable_fraction(str(number)) for number in range(10_000)]
    counts, _ = np.histogram(fractions, bins=10, range=(0, 1))
    assert abs(counts - 1000).max() < 5 * np.sqrt(900)  # five standard deviations of a binomial count


def test_stable_fractions_are_the_same_in_every_process() -> None:
    command = [sys.executable, "-c", "from asr.corpus import stable_fraction as f; print(f('fash'))"]
    for seed in ("1", "2"):
        output = subprocess.check_output(command, env=os.environ | {"PYTHONHASHSEED": seed}, text=True)
        assert float(output) == stable_fraction("fash")


# Real corpora


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("an4", {"train": 948, "test": 130}),
        ("yesno", {None: 60}),
        ("fsdd", {"train": 2700, "test": 300}),
        ("common_voice_v1", {"train": 3700, "dev": 371}),
        ("speechocean762", {"train": 2260, "dev": 240}),
        ("LibriSpeech/dev-clean", {"dev": 1313}),
    ],
)
def test_the_manifests_of_real_corpora(corpora: Path, name: str, counts: dict[str | None, int]) -> None:
    utterances = read(corpora / name)
    splits = [utterance.split for utterance in utterances]
    assert {split: splits.count(split) for split in set(splits)} == counts
    assert len({utterance.id for utterance in utterances}) == len(utterances)
    some = utterances[:: len(utterances) // 5]
    assert [u.duration for u in some] == pytest.approx([audio.duration(u.audio) for u in some], abs=0.02)


def test_a_real_corpus_survives_a_manifest_elsewhere(corpora: Path, tmp_path: Path) -> None:
    utterances = read(corpora / "an4")
    write_manifest(tmp_path / "m.jsonl", utterances)
    assert [replace(u, audio=u.audio.resolve()) for u in read(tmp_path / "m.jsonl")] == [
        replace(u, audio=u.audio.resolve()) for u in utterances
    ]
