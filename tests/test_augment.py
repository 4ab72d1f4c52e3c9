import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.features import FeatureConfig, LogMel
from asr.training.augment import (
    MP3_BIT_RATES,
    code_mp3,
    limit_band,
    mp3_bytes,
    perturb_speed,
    seed_for,
    spec_augment,
    trim_ends,
    warp_frequencies,
)
from asr.training.config import TrainConfig
from asr.training.prepare import samples_needed

HOP_MS = 10.0
MELS = 80
CONFIG = TrainConfig()


def ones(*frames):
    """A batch without a zero, padding included, so that every zero afterwards is a mask."""
    return torch.ones(len(frames), max(frames), MELS), torch.tensor(frames)


def masked_bands(features):
    """(T, M) -> (M,) which mel bands are masked in every frame."""
    return (features == 0).all(dim=0)


def masked_frames(features):
    """(T, M) -> (T,) which frames are masked in every band."""
    return (features == 0).all(dim=1)


def longest_run(flags):
    longest = current = 0
    for flag in flags.tolist():
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


utterances = st.lists(st.tuples(st.integers(1, 400), st.integers(0, 2**63 - 1)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(utterances)
def test_only_an_utterances_own_frames_are_masked(batch):
    frames, seed_fors = map(list, zip(*batch, strict=True))
    features, lengths = ones(*frames)
    masked = spec_augment(features, lengths, CONFIG, HOP_MS, seed_fors)
    for row, length in zip(masked, frames, strict=True):
        assert (row[length:] == 1).all()


@settings(deadline=None, max_examples=40)
@given(utterances)
def test_masks_depend_on_the_key_alone(batch):
    frames, seed_fors = map(list, zip(*batch, strict=True))
    features, lengths = ones(*frames)
    together = spec_augment(features, lengths, CONFIG, HOP_MS, seed_fors)
    for i, length in enumerate(frames):
        torch.manual_seed(i)  # what was drawn before must not matter
        alone = spec_augment(*ones(length), CONFIG, HOP_MS, seed_fors[i : i + 1])
        assert torch.equal(alone[0], together[i, :length])


def test_keys_and_only_keys_make_other_masks():
    features, lengths = ones(300, 300, 300)
    one, other, same = spec_augment(features, lengths, CONFIG, HOP_MS, [1, 2, 1])
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_what_is_not_masked_keeps_its_value_and_the_input_is_left_alone():
    features = torch.randn(2, 500, MELS, generator=torch.Generator().manual_seed(0))
    before = features.clone()
    masked = spec_augment(features, torch.tensor([500, 350]), CONFIG, HOP_MS, [3, 4])
    assert torch.equal(features, before)
    assert ((masked == features) | (masked == 0)).all()
    assert 0.02 < (masked != features).float().mean() < 0.6


def test_drawing_masks_leaves_torchs_random_numbers_alone():
    features, lengths = ones(200)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    spec_augment(features, lengths, CONFIG, HOP_MS, [5])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("width", [1, 2, 20, 80])
def test_one_frequency_mask_is_at_most_as_wide_as_the_setting(width):
    config = CONFIG.updated({"frequency_masks": 1, "frequency_width": width, "time_masks": 0.0})
    features, lengths = ones(*[100] * 300)
    rows = spec_augment(features, lengths, config, HOP_MS, list(range(300)))
    widths = [int(masked_bands(row).sum()) for row in rows]
    assert all(longest_run(masked_bands(row)) == width for row, width in zip(rows, widths, strict=True))
    assert max(widths) <= width
    assert width < 20 or max(widths) > 0.8 * width  # of 300 draws some come close to the widest
    starts = [masked_bands(row).float().argmax().item() for row in rows if masked_bands(row).any()]
    assert width < 2 or len(set(starts)) > 3  # anywhere, not always at the same place


@pytest.mark.parametrize("width", [2, 25, 60])
def test_one_time_mask_is_at_most_as_wide_as_the_setting_and_a_fifth_of_the_utterance(width):
    config = CONFIG.updated({"frequency_masks": 0, "time_masks": 1.0, "time_width": width})
    features, lengths = ones(*[100] * 300)  # 1 s: one mask
    rows = spec_augment(features, lengths, config, HOP_MS, list(range(300)))
    widths = [int(masked_frames(row).sum()) for row in rows]
    assert all(longest_run(masked_frames(row)) == width for row, width in zip(rows, widths, strict=True))
    widest = min(width, 100 // 5)
    assert widest * 0.8 - 1 <= max(widths) <= widest


def test_longer_utterances_get_more_time_masks():
    config = CONFIG.updated({"frequency_masks": 0, "time_masks": 0.6, "time_width": 25})
    shares = []
    for seconds in (4, 30):
        features, lengths = ones(*[seconds * 100] * 60)
        masked = spec_augment(features, lengths, config, HOP_MS, list(range(60)))
        shares.append((masked == 0).float().mean().item())
    # 0.6 masks a second of 12 frames on average, some of which overlap: about 7% of the frames, however long.
    assert shares == pytest.approx([0.07, 0.07], abs=0.02)


@pytest.mark.parametrize("frames", range(1, 12))
def test_very_short_utterances_are_never_masked_for_more_than_a_fifth_of_their_time(frames):
    config = CONFIG.updated({"frequency_masks": 0, "time_masks": 100.0 / frames, "time_width": 25})  # one mask
    for number in range(50):
        masked = spec_augment(*ones(frames), config, HOP_MS, [number])
        assert masked_frames(masked[0]).sum() <= frames // 5


def test_no_masks_change_nothing():
    config = CONFIG.updated({"frequency_masks": 0, "time_masks": 0.0})
    features, lengths = ones(50, 20)
    assert torch.equal(spec_augment(features, lengths, config, HOP_MS, [1, 2]), features)


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=5))
def test_a_seed_is_a_63_bit_number_that_its_parts_repeat(parts):
    assert 0 <= seed_for("masks", *parts) < 2**63
    assert seed_for("masks", *parts) == seed_for("masks", *parts)
    torch.manual_seed(seed_for("masks", *parts))  # what it is for


def test_seeds_differ_between_uses_parts_and_their_order():
    seeds = [seed_for("masks", seed, epoch, i) for seed in range(4) for epoch in range(25) for i in range(100)]
    assert len(set(seeds)) == len(seeds)
    others = [(1, 2, 3), (3, 2, 1), (2, 1, 3), (1, 2), (1, 2, 0), (123,)]
    assert len({seed_for(use, *parts) for use in ("masks", "dropout") for parts in others}) == 2 * len(others)


def test_speed_changes_length_and_pitch_alike():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    found = set()
    for seed in range(200):
        changed = perturb_speed(tone, 0.1, 0, seed)
        speed = len(tone) / len(changed)
        found.add(round(speed, 2))
        peak = np.abs(np.fft.rfft(changed)).argmax() * 16_000 / len(changed)
        assert changed.dtype == np.float32 and peak == pytest.approx(1000 * speed, abs=2)
        assert np.sqrt(np.mean(changed**2)) == pytest.approx(np.sqrt(0.5), rel=0.02)
    assert found == {0.9, 0.95, 1.0, 1.05, 1.1}


@given(st.integers(1, 400), st.integers(1, 40), st.sampled_from([0.05, 0.1, 0.5]), st.integers(0, 2**63 - 1))
@settings(deadline=None)
def test_speed_leaves_the_samples_that_a_text_needs(length, letters, share, seed):
    samples = np.ones(length * 160, np.float32)
    features, model = FeatureConfig(), CONFIG.model(30, MELS)
    ids = [1 + i % 2 for i in range(letters)]
    needed = samples_needed(ids, model, features)
    assert model.frames(features.frames(needed)) >= letters
    assert needed == 0 or model.frames(features.frames(needed - 1)) < letters  # not one too many
    changed = perturb_speed(samples, share, needed, seed)
    assert len(changed) >= min(needed, len(samples))
    if share == 0.05 and len(samples) >= 2 * needed:
        assert 0.94 < len(samples) / len(changed) < 1.06


def test_no_speed_changes_nothing():
    samples = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    assert all(perturb_speed(samples, 0.0, 0, seed) is samples for seed in range(10))


# Trimming


@given(st.integers(1, 5000), st.floats(0, 0.5), st.integers(0, 6000), st.integers(0, 2**63 - 1))
@settings(deadline=None)
def test_trimming_keeps_a_middle_part_that_the_text_fits(length, share, least, seed):
    samples = np.arange(length, dtype=np.float32)
    kept = trim_ends(samples, share, least, seed)
    assert len(kept) >= min(least, length)
    first = int(kept[0]) if len(kept) else 0
    assert np.array_equal(kept, samples[first : first + len(kept)])
    assert first <= share * length and length - first - len(kept) <= share * length


def test_trimming_cuts_either_end_or_both_or_none():
    samples = np.arange(10_000, dtype=np.float32)
    ends = [(kept[0] > 0, kept[-1] < 9999, len(kept)) for kept in (trim_ends(samples, 0.3, 0, s) for s in range(200))]
    assert {(first, last) for first, last, _ in ends} == {(a, b) for a in (False, True) for b in (False, True)}
    assert min(length for *_, length in ends) < 6000


# Bandwidth


def power_above(samples, hertz):
    """(S,) -> power per sample above a frequency, in dB of full scale."""
    spectrum = np.fft.rfft(samples)
    first = int(np.ceil(hertz / 16_000 * len(samples)))
    return 10 * np.log10(2 * np.sum(np.abs(spectrum[first:]) ** 2) / len(samples) ** 2)


def test_a_limited_band_keeps_what_is_below_and_leaves_hiss_above():
    noise = np.random.default_rng(1).normal(size=32_017).astype(np.float32) * 0.1
    edges = []
    for seed in range(60):
        limited = limit_band(noise, seed)
        assert limited.dtype == np.float32 and len(limited) == len(noise)
        low = np.fft.rfft(noise)[:5900], np.fft.rfft(limited)[:5900]  # below 2950 Hz
        assert np.abs(low[0] - low[1]).max() < 0.1 * np.abs(low[0]).max()
        kept = np.abs(np.fft.rfft(limited)) > 0.02 * np.abs(low[0]).max()
        edges.append(np.flatnonzero(kept)[-1] * 16_000 / len(noise))
        empty = 8000 - edges[-1] - 50  # Hz without anything but hiss
        if empty > 200:
            # The band was -20 dB; what rings at the two ends of the recording is a little more than the hiss.
            assert -101 < power_above(limited, 8000 - empty) - 10 * np.log10(empty / 8000) < -55
    assert 2900 < min(edges) < 3600 and 7400 < max(edges) <= 8000
    assert np.array_equal(limit_band(noise, 3), limit_band(noise, 3))


def test_an_empty_band_is_as_loud_as_any_other_to_the_model():
    """Why it is in the training data: after normalisation the hiss in an empty band has variance 1."""
    speech = np.random.default_rng(2).normal(size=32_000) * (1 + np.sin(np.arange(32_000) / 400)) * 0.1
    limited = torch.from_numpy(limit_band(speech.astype(np.float32), 1))[None]
    features, _ = LogMel()(limited, torch.tensor([32_000]))
    assert features[0, :, -1].std() > 0.9


# MP3


@pytest.mark.parametrize(("kilobits", "index"), [(16, 2), (24, 3), (32, 4), (48, 6)])
def test_mp3_has_its_bit_rate(kilobits, index):
    noise = np.random.default_rng(1).normal(size=80_000).astype(np.float32) * 0.1
    coded = mp3_bytes(noise, kilobits)
    sync, bits = int.from_bytes(coded[:2], "big"), coded[2]
    assert sync >> 1 == 0b111111111111001  # MPEG-2, layer III
    assert bits >> 4 == index and bits >> 2 & 3 == 2  # ISO 13818-3: the rate, 16 kHz
    assert len(coded) * 8 / 5.0 == pytest.approx(1000 * kilobits, rel=0.05)


@settings(deadline=None)
@given(length=st.integers(1, 40_000), kilobits=st.sampled_from(MP3_BIT_RATES))
def test_what_mp3_leaves_is_as_long_and_in_step(length, kilobits):
    time = np.arange(length) / 16_000
    chirp = (0.1 * np.sin(2 * np.pi * (200 + 150 * time) * time)).astype(np.float32)
    coded = code_mp3(chirp, kilobits)
    assert coded.dtype == np.float32 and coded.shape == chirp.shape
    if length > 4000:  # a few samples off would turn its phase
        assert np.corrcoef(chirp[1000:-1000], coded[1000:-1000])[0, 1] > 0.99


# Vocal tract length


def test_frequencies_are_stretched_and_squeezed():
    """A tone of 1 kHz comes to lie at all frequencies that a factor of 0.8 to 1.2 makes of it, and no others."""
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)[None]
    log_mel = LogMel().log_mel(tone).transpose(1, 2)  # (1, T, M)
    centres = torchaudio.functional.melscale_fbanks(4001, 20.0, 8000.0, MELS, 16_000).argmax(0) * 2.0  # Hz
    warped = [warp_frequencies(log_mel, 0.2, FeatureConfig(), [seed])[0, 50] for seed in range(100)]
    heard = torch.tensor([centres[frame.argmax()] for frame in warped])
    assert 1000 / 1.2 - 40 < heard.min() < 880 and 1180 < heard.max() < 1000 / 0.8 + 40  # 40 Hz: between two bands
    assert len(set(heard.tolist())) > 6


def test_a_flat_spectrum_has_nothing_to_warp_and_padding_stays_zero():
    features = torch.ones(2, 20, MELS)
    features[1, 12:] = 0
    warped = warp_frequencies(features, 0.3, FeatureConfig(), [1, 2])
    assert torch.allclose(warped, features, atol=1e-6)
    assert warp_frequencies(features, 0.0, FeatureConfig(), [1, 2]) is features


def test_an_utterance_is_warped_by_its_own_seed_in_all_its_frames():
    features = torch.randn(3, 20, MELS, generator=torch.Generator().manual_seed(0))
    features[1] = features[2]
    warped = warp_frequencies(features, 0.2, FeatureConfig(), [1, 2, 2])
    alone = warp_frequencies(features[1:2, 5:6], 0.2, FeatureConfig(), [2])
    assert torch.allclose(warped[1], warped[2]) and torch.allclose(alone[0, 0], warped[1, 5], atol=1e-6)
    assert not torch.allclose(warp_frequencies(features[1:2], 0.2, FeatureConfig(), [1])[0], warped[1], atol=0.1)
