"""The training loop: batches, updates, schedule, dev scores, checkpoints."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from asr import Error, checkpoint
from asr.batching import length_batches, pad
from asr.features import LogMel
from asr.loading import find_model
from asr.model import AcousticModel
from asr.priors import log_priors
from asr.recognizer import Recognizer
from asr.score import Score
from asr.training.augment import seed_for, spec_augment, warp_frequencies
from asr.training.average import averaged_copy, decay_after, move_towards
from asr.training.batches import Batches, epoch_batches, padding_share
from asr.training.curves import EventFile, save_picture
from asr.training.denominator import TotalScore, phone_trigram
from asr.training.folder import Progress, RunFolder
from asr.training.hearing import Hearing
from asr.training.initial import adopt
from asr.training.job import Job
from asr.training.losses import total_loss
from asr.training.meter import Meter
from asr.training.optimizer import optimizers
from asr.training.prepare import Example
from asr.training.workers import Group

PROBE_WARMUP, PROBE_STEPS = 3, 15  # steps that measure the speed for `minutes`: not counted, counted
MUCH_SCORING = 0.25  # share of the time that evaluations take, from which on it is said
BAD_STEPS = 5  # steps in a row with a loss that is not finite before training stops
BLANKS_ARE_NORMAL = 0.3  # share of the run in which blank-only output is no reason to worry
PRIOR_SECONDS = 300  # of training audio, spread over all of it, that tell how often each token is given
HEARD = 8  # training utterances that are listened to for blank-only output where there is no dev set
NEW_NAMED = 40  # tensors and tokens that are named where a run starts from a model
DEV_COLUMNS = ("id", "reference", "hypothesis", "speaker")  # of dev.jsonl, texts in the model's form
BLANK_ONLY = (
    "warning: the output is only blanks. CTC models begin so, but by now letters should come: train longer (more "
    "epochs), with smaller batches (batch_seconds), another learning_rate (half, double), or less subsampling; and "
    "check that texts and recordings belong together (listen to a few)."
)


class TrainingError(Error):
    """Training that cannot go on; says what to try."""


def train(group: Group, job: Job) -> None:
    """Train to the end of the schedule, as one of the workers; see `asr.training.folder` for what it leaves."""
    trainer = Trainer(group, job)
    if job.resume:
        trainer.restore()
    else:
        trainer.plan()
    if group.leads:
        trainer.events = EventFile(trainer.folder)
    trainer.run()
    if trainer.events:
        trainer.events.close()
        if trainer.progress.finished:
            save_picture(trainer.folder)


class Trainer:
    """One worker's model, optimizers and place in the schedule."""

    def __init__(self, group: Group, job: Job) -> None:
        self.group, self.job, self.config = group, job, job.config
        torch.manual_seed(seed_for("weights", self.config.seed))
        self.model = AcousticModel(job.model)
        if self.config.init and not job.resume:
            self._start_from(self.config.init)
        self.model.to(group.device)
        self.average = averaged_copy(self.model) if self.config.average else None
        self.gradient = flat_gradient(self.model)
        self.bf16 = self.config.bf16 and bf16_pays(group.device)
        self.optimizers = self._optimizers()
        self.features = LogMel(job.features).to(group.device)
        self.hearing = Hearing(job)
        self.trigram = self._trigram().to(group.device) if self.config.mmi and job.phones else None
        self.folder = RunFolder(job.out)
        self.events: EventFile | None = None
        self.progress = Progress(steps=self.config.steps)
        self.bad_steps = 0
        self.stopping = False

    def _optimizers(self) -> list[Optimizer]:
        dtype = torch.bfloat16 if self.bf16 else torch.float32
        return optimizers(self.model, self.config, self.group, dtype)

    def _start_from(self, init: str) -> None:
        """Take over a trained model's weights."""
        new = adopt(self.model, self.job.alphabet, self.job.phones, checkpoint.load(find_model(init)))
        if self.group.leads:
            more = f" and {len(new) - NEW_NAMED} more" if len(new) > NEW_NAMED else ""
            self._say(f"starts from {init}; new: {', '.join(new[:NEW_NAMED]) or 'nothing'}{more}")

    def plan(self) -> None:
        """Fix the number of steps."""
        if self.config.minutes:
            steps = self.group.agreed(self._steps_in(self.config.minutes * 60))
        elif self.config.steps:
            steps = self.config.steps
        else:
            steps = max(1, round(self.config.epochs * len(self._batches(0))))
        if steps < 1:
            raise TrainingError(
                f"minutes={self.config.minutes:g} leaves no time to train: the dev set is scored "
                f"{self.config.evaluations} times; give more minutes, fewer evaluations or a smaller dev set"
            )
        self.progress = Progress(steps=steps)
        if self.group.leads:
            padding = self._padding()
            self.folder.record(steps=steps)
            self._log({"step": 0, "padding": padding})
            precision = "bf16" if self.bf16 else "fp32"
            self._say(f"{steps} steps, {self.group.size} workers, {precision}, {padding:.1%} of the frames are padding")

    def restore(self) -> None:
        """Go on from the saved state."""
        self.progress = self.folder.load_state(self._modules(), self.optimizers, self.group)
        if self.group.leads:
            self.folder.remove_parts()
            self.folder.rewind_log(self.progress.step)
            if self.progress.finished:
                self._say(f"this run is finished, after step {self.progress.step} of {self.progress.steps}")
            else:
                self._say(f"resumed after step {self.progress.step} of {self.progress.steps}")

    def _steps_in(self, seconds: float) -> int:
        """Steps that fit into the time: measured on real batches, then everything is put back as it was."""
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.progress = Progress(steps=PROBE_WARMUP + PROBE_STEPS)
        batches = self._batches(0)
        start = 0.0
        for i in range(self.progress.steps):
            if i == PROBE_WARMUP:
                start = time.monotonic()
            self.update(batches[i % len(batches)])
        per_step = (time.monotonic() - start) / PROBE_STEPS
        start = time.monotonic()
        if self.job.dev:
            self.job.dev.transcribe(self._recognizer(), self.group)
        if self.group.leads:
            self._log_priors()  # as each time that a model is kept
        per_evaluation = time.monotonic() - start
        self.model.load_state_dict(before)
        if self.average is not None:
            self.average.load_state_dict(self.model.state_dict())
        for optimizer in self.optimizers:
            optimizer.state.clear()
        self.bad_steps = 0
        scoring = self.config.evaluations * per_evaluation
        if MUCH_SCORING * seconds < scoring < seconds and self.group.leads:
            self._say(
                f"scoring dev {self.config.evaluations} times takes {scoring / seconds:.0%} of the time; with fewer "
                "evaluations or a smaller dev set there would be more to train"
            )
        return int((seconds - scoring) / per_step)

    def run(self) -> None:
        """From the current step to the last."""
        meter = Meter(self.progress)
        for batch in self._remaining_batches():
            torch.manual_seed(seed_for("dropout", self.config.seed, self.progress.step, self.group.rank))
            loss = self.update(batch)
            self._advance(step=self.progress.step + 1, batch=self.progress.batch + 1)
            meter.add(loss, sum(self.job.examples[i].seconds for i in batch))
            if self.group.leads and (meter.due() or self._at_evaluation()):
                self._log(meter.entry(self.progress, self._rate()))
                self._say(meter.line(self.progress))
                meter.clear()
            if self._at_evaluation():
                self._evaluate()
                self._save_state(meter)
                meter.clear()  # the time of the evaluation is not training's
            elif self.stopping:
                self._save_state(meter)
            if self.stopping and not self.progress.finished:
                if self.group.leads:
                    self._say(f"stopped after step {self.progress.step} of {self.progress.steps}; --resume goes on")
                return

    def _save_state(self, meter: Meter) -> None:
        self._advance(seconds=meter.seconds())
        if self.group.leads:
            self.folder.save_state(self._modules(), self.optimizers, self.progress)

    def _modules(self) -> dict[str, nn.Module]:
        """What learns and, where there is one, the average, by the names that the saved state gives them."""
        return {"model": self.model} | ({} if self.average is None else {"average": self.average})

    def _kept_model(self) -> AcousticModel:
        """What the dev set scores and the model file holds."""
        return self.model if self.average is None else self.average

    def _advance(self, **changes: float) -> None:
        self.progress = dataclasses.replace(self.progress, **changes)

    def _batches(self, epoch: int) -> Batches:
        return epoch_batches(self.job.examples.seconds, self.config.batch_seconds, self.config.seed, epoch)

    def _padding(self) -> float:
        """Share of the first epoch's frames that is padding, each worker's part of a batch being padded by itself."""
        workers = [Group(rank, self.group.size) for rank in range(self.group.size)]
        parts = (part for batch in self._batches(0) for worker in workers if (part := worker.share(batch)))
        return padding_share(parts, self.job.features.frames(self.job.cache.lengths[self.job.examples.numbers]))

    def _remaining_batches(self) -> Iterator[list[int]]:
        while not self.progress.finished:
            batches = self._batches(self.progress.epoch)
            for i in range(self.progress.batch, len(batches)):
                yield batches[i]
                if self.progress.finished:
                    return
            self._advance(epoch=self.progress.epoch + 1, batch=0)

    def _rate(self) -> float:
        """Learning rate of this step: linear warm-up, then a cosine to 0 (Loshchilov and Hutter 2017)."""
        steps, step = self.progress.steps, self.progress.step
        warmup = max(1, round(self.config.warmup * steps))
        if step < warmup:
            return self.config.learning_rate * (step + 1) / warmup
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    def update(self, batch: list[int]) -> float:
        """One step on a batch that the workers share; returns the batch's loss per token."""
        examples = [self.job.examples[i] for i in batch]
        self.gradient.zero_()
        statistics = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        loss, frames = 0.0, 0
        if mine := self.group.share(examples):
            epoch = self.progress.epoch
            loss, frames = self._backward([self.hearing.example(example, epoch) for example in mine], examples)
        totals = torch.tensor([loss, frames, self.group.stop.is_set()])  # the workers must agree on when to stop
        self.group.add_up(totals)
        self.group.add_up(self.gradient)
        total, all_frames, stops = totals.tolist()
        average_buffers(self.model, self.group, frames / all_frames)
        self.stopping = stops > 0
        norm = self.gradient.norm().item()
        if math.isfinite(total) and math.isfinite(norm):
            self.bad_steps = 0
            self._descend(norm)
        else:
            self.model.load_state_dict(statistics, strict=False)
            self._skip(examples)
        return total

    def _backward(self, mine: list[Example], batch: list[Example]) -> tuple[float, int]:
        """Add a worker's part of the batch to the gradient.

        Returns: its part of the loss per token, phones apart, and its frames.
        """
        self.model.train()
        device = self.group.device
        plain = self.progress.step >= (1 - self.config.plain) * self.progress.steps
        samples, lengths = pad([self.hearing.samples(example, self.progress.epoch, plain) for example in mine])
        features, frames = self.features(samples.to(device), lengths.to(device))
        if not plain:
            features = warp_frequencies(features, self.config.vtlp, self.job.features, self._seeds("vtlp", mine))
            features = spec_augment(features, frames, self.config, self.job.features.hop_ms, self._seeds("masks", mine))
        weight = self.config.phone_weight if self.job.phones else 0.0
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            if weight:
                log_probs, phone_log_probs, frames = self.model.with_phones(features, frames)
            else:
                log_probs, frames = self.model(features, frames)
        wordless = [not example.ids for example in mine]
        loss = total_loss(log_probs, frames, [example.ids for example in mine], wordless)
        loss = loss / sum(len(example.ids) for example in batch)
        total = loss
        if weight:
            phone_loss = total_loss(phone_log_probs, frames, [example.phones for example in mine], wordless)
            if self.trigram is not None:
                phone_loss = phone_loss + self.config.mmi * self._total_score(phone_log_probs, frames, mine)
            phones = max(1, sum(len(example.phones) for example in batch))
            total = (1 - weight) * loss + weight * phone_loss / phones
        total.backward()
        return loss.item(), int(frames.sum())

    def _total_score(self, phone_log_probs: Tensor, frames: Tensor, mine: Sequence[Example]) -> Tensor:
        """Sum over the utterances with phones: how likely anything else could have been said."""
        rows = [i for i, example in enumerate(mine) if example.phones]
        if not rows:
            return phone_log_probs[:, :0].sum()
        return TotalScore.apply(phone_log_probs[rows], frames[rows], self.trigram).sum()

    def _trigram(self) -> Tensor:
        sequences = (example.phones for example in self.job.examples if example.phones)
        return torch.from_numpy(phone_trigram(sequences, len(self.job.phones)))

    def _seeds(self, use: str, examples: list[Example]) -> list[int]:
        return [seed_for(use, self.config.seed, self.progress.epoch, example.number) for example in examples]

    def _descend(self, norm: float) -> None:
        """Change the weights, with the gradient cut to its largest norm (Pascanu et al. 2013)."""
        if norm > self.config.clip:
            self.gradient.mul_(self.config.clip / norm)
        for optimizer in self.optimizers:
            for parameters in optimizer.param_groups:
                parameters["lr"] = self._rate()
            optimizer.step()
        if self.average is not None:
            horizon = self.config.average * self.progress.steps
            move_towards(self.average, self.model, decay_after(self.progress.step, horizon))

    def _skip(self, examples: list[Example]) -> None:
        """Leave the weights as they are after a loss that is not finite; stop after several in a row."""
        self.bad_steps += 1
        self._advance(skipped=self.progress.skipped + 1)
        names = ", ".join(example.id for example in examples[:5])
        if self.group.leads:
            self._say(f"step {self.progress.step}: loss not finite, step skipped; utterances {names}...")
        weights_are_lost = not all(parameter.isfinite().all() for parameter in self.model.parameters())
        if weights_are_lost or self.bad_steps >= BAD_STEPS:
            raise TrainingError(
                f"the loss was not finite in {self.bad_steps} steps in a row; try a lower learning_rate (it is "
                f"{self.config.learning_rate:g}) or bf16=false, and look at these utterances: {names}"
            )

    def _at_evaluation(self) -> bool:
        """Evaluations are spread evenly; the last one comes after the last step."""
        step, steps = self.progress.step, self.progress.steps
        count = min(self.config.evaluations, steps)
        return step * count // steps > (step - 1) * count // steps

    def _evaluate(self) -> None:
        """Score the dev set and keep the model if it is the best; without a dev set keep the newest."""
        if self.job.dev is None:
            if self.group.leads:
                heard = [self.hearing.audio[number] for number in self.job.examples.numbers[:HEARD]]
                self._warn_of_blanks([found.text for found in self._recognizer().transcribe_many(heard)])
                self._save_model({"step": self.progress.step})
            return
        recognizer = self._recognizer()
        texts = self.job.dev.transcribe(recognizer, self.group)
        result = self.job.dev.score(recognizer, texts)
        found = (result.wer, result.cer)  # many early models have a WER of 100%
        is_best = self.progress.best is None or found < self.progress.best
        stale = 0 if is_best else self.progress.stale + 1
        early = 0 < self.config.patience <= stale and self.progress.step < self.progress.steps
        self._advance(best=found if is_best else self.progress.best, stale=stale, early=early)
        if self.group.leads:
            self._report(result, texts, is_best)

    def _report(self, result: Score, texts: list[str], is_best: bool) -> None:
        self._log({"step": self.progress.step, "dev": result.to_dict()})
        mark = " (best so far)" if is_best else ""
        self._say(f"step {self.progress.step}: dev WER {result.wer:.2%} CER {result.cer:.2%}{mark}")
        self._warn_of_blanks(texts)
        if is_best:
            dev, references = self.job.dev, map(self.job.normalizer, self.job.dev.references)
            rows = zip(dev.ids, references, texts, dev.speakers, strict=True)
            self.folder.write_lines("dev.jsonl", (dict(zip(DEV_COLUMNS, row, strict=True)) for row in rows))
            self._save_model({"step": self.progress.step, "dev": result.to_dict()})
        if self.progress.early:
            wer, cer = self.progress.best
            self._say(
                f"ended early after step {self.progress.step} of {self.progress.steps}: {self.progress.stale} "
                f"evaluations without a better score than dev WER {wer:.2%} CER {cer:.2%} (patience)"
            )

    def _warn_of_blanks(self, texts: list[str]) -> None:
        if not any(texts) and self.progress.step > BLANKS_ARE_NORMAL * self.progress.steps:
            self._say(BLANK_ONLY)

    def _save_model(self, results: dict[str, object]) -> None:
        job = self.job
        weights, info = self._kept_model().state_dict(), {**job.info, "steps": self.progress.steps, **results}
        stored = checkpoint.Checkpoint(
            job.model,
            job.features,
            job.alphabet,
            job.normalizer,
            weights,
            info,
            job.phones,
            job.lexicon,
            self._log_priors(),
        )
        checkpoint.save(self.folder.model, stored)

    def _log_priors(self) -> tuple[float, ...]:
        """Of the model that is kept, from as much of the training audio as takes some seconds."""
        examples = self.job.examples
        numbers = examples.numbers[:: math.ceil(float(examples.seconds.sum()) / PRIOR_SECONDS)]
        batches = length_batches(self.job.cache.lengths[numbers])
        recordings = ([self.hearing.audio[numbers[i]] for i in batch] for batch in batches)
        return log_priors(self._kept_model().eval(), self.features, recordings)

    def _recognizer(self) -> Recognizer:
        job = self.job
        return Recognizer(self._kept_model().eval(), self.features, job.alphabet, job.normalizer, job.info)

    def _log(self, entry: dict[str, object]) -> None:
        self.folder.log(entry)
        if self.events:
            self.events.add(entry)

    def _say(self, line: str) -> None:
        with suppress(OSError):  # the terminal has been closed, and there is a state to be saved; the log has all of it
            print(line, file=sys.stderr, flush=True)


def flat_gradient(model: nn.Module) -> Tensor:
    """One vector that holds the gradients of all parameters, which become views of it: added up in one call."""
    parameters = list(model.parameters())
    flat = torch.zeros(sum(parameter.numel() for parameter in parameters), device=parameters[0].device)
    start = 0
    for parameter in parameters:
        parameter.grad = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return flat


def average_buffers(model: nn.Module, group: Group, share: float) -> None:
    """The running statistics of batch normalisation differ between workers; the model's are their mean.

    Args:
        share: of the batch's frames, this worker's.
    """
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer *= share
            group.add_up(buffer)


def bf16_pays(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware; elsewhere bf16 is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
