"""The speech that the demo generator is trained on: other throats, what was said, and when."""

import shutil

import pytest
import torch
from torch import Tensor
from torchaudio.functional import fftconvolve

from gpu_lipsync.audio import SAMPLE_RATE_HZ, load_audio, log_mel, mel_windows
from gpu_lipsync.tools.face_landmarks import UPPER_INNER
from gpu_lipsync.tools.filmed_mouth import LIPS_PARTED, LOUD_OPENING, SPOKEN_SHARE, filmed_mouth, seen_mouth
from gpu_lipsync.tools.flite import Flite, phonemes_of
from gpu_lipsync.tools.recordings import RECORDINGS, UNUSUAL_WORDS, plain_words
from gpu_lipsync.tools.sound_variety import MEL_PER_DB, muffled, reverberant
from gpu_lipsync.tools.talks import LIPS_LEAD_S, TRACK_HZ
from gpu_lipsync.tools.vocal_tract import with_tract
from gpu_lipsync.tracking.mouth_landmarks import LOWER_LIP, RIGHT_EYE
from tests.places import SPEECH


def loudest_band(hz: float) -> int:
    """Where a pure tone of `hz` lies in the product's mel bands."""
    time = torch.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    return int(log_mel(0.5 * torch.sin(2 * torch.pi * hz * time)).mean(dim=1).argmax())


def tone(hz: float) -> Tensor:
    """(1, 1, 80, 16)."""
    time = torch.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    return mel_windows(0.5 * torch.sin(2 * torch.pi * hz * time), 25)[10:11]


@pytest.mark.parametrize("hz", [400.0, 900.0, 2500.0])  # below, across and above the scale's bend at 1 kHz
@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_shorter_tract_moves_a_tone_up_as_far_as_its_frequency(hz: float, factor: float) -> None:
    moved = with_tract(tone(hz), torch.tensor([factor]))
    assert abs(int(moved.mean(dim=(0, 1, 3)).argmax()) - loudest_band(hz * factor)) <= 1  # a tone between two bands


def test_the_same_tract_changes_nothing() -> None:
    mel = torch.randn(3, 1, 80, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(with_tract(mel, torch.ones(3)), mel, atol=1e-4, rtol=0)  # float32 through logarithms


@pytest.mark.parametrize("seconds", [0.3, 0.8])
def test_a_room_throws_back_what_one_of_noise_that_dies_away_does(seconds: float) -> None:
    """The sample speech, convolved with exponentially decaying noise (Polack's model of a room)."""
    direct_db = 3.0
    speech = load_audio(SPEECH)[: 4 * SAMPLE_RATE_HZ]
    time = torch.arange(1, SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tail = torch.randn(len(time), generator=torch.Generator().manual_seed(0)) * 10 ** (-3 * time / seconds)
    tail *= 10 ** (-direct_db / 20) / tail.norm()
    room = torch.cat((torch.ones(1), tail))
    dry, wet = log_mel(speech), log_mel(fftconvolve(speech, room)[: len(speech)])
    made = reverberant(dry[None, None], torch.tensor([seconds]), torch.tensor([direct_db]))[0, 0]
    heard = dry.amax(dim=0) > -1  # not before the first word, where log_mel's floor is
    off, untouched = (float((mel - wet).mean(dim=0)[heard].abs().mean()) / MEL_PER_DB for mel in (made, dry))
    # dB over all bands: magnitudes, which are what log_mel averages, come to less than powers do (1.2 dB at 0.3 s).
    assert off < 1.5 < 2.5 < untouched


def test_a_muffled_sound_keeps_its_low_bands() -> None:
    level = torch.zeros(2, 1, 80, 16)
    dull = muffled(level, torch.tensor([50.0, 79.0]))
    assert torch.equal(dull[0, 0, :51], level[0, 0, :51]) and torch.equal(dull[1], level[1])
    assert (dull[0, 0, 60] == -30).all()


def test_a_filmed_mouth_lies_between_what_is_seen_and_what_is_said() -> None:
    """Of somebody who mumbles with lips that never part, more than half of what the phonemes ask; shut on theirs."""
    mumbling = torch.rand(1, 468, 3, generator=torch.Generator().manual_seed(0)).expand(25, -1, -1)
    spoken = torch.rand(4, TRACK_HZ, generator=torch.Generator().manual_seed(1))
    spoken[0, 100:] = 0
    mouth = filmed_mouth(mumbling, mumbling, 25.0, spoken)
    lead = round(LIPS_LEAD_S * TRACK_HZ)
    torch.testing.assert_close(mouth[0], SPOKEN_SHARE * spoken[0, lead:])
    assert SPOKEN_SHARE > 0.5 and not mouth[0, 100 - lead :].any()


def test_a_seen_mouth_is_the_frame_s_on_screen_by_what_its_speaker_does() -> None:
    """Lips part from 0 to half a mouth's width in 21 frames; then, shut, the mouth is 0.1 wider, and 0.14 narrower."""
    gaps, widths = torch.linspace(0, 1, 21), torch.ones(23)
    widths[21], widths[22] = 1.1, 0.86
    landmarks = torch.zeros(23, 468, 3)
    landmarks[:, UPPER_INNER[-1], 0] = 2 * widths
    landmarks[:21, LOWER_LIP, 1] = gaps
    landmarks[:, RIGHT_EYE, 0] = 2.0
    spoken = torch.ones(4, 23 * 8)  # at 25 frames a second 8 moments each; the fifth is a frame's middle
    spoken[0, :88] = 0.0
    mouth = seen_mouth(landmarks, landmarks, 25.0, spoken)[:, 4::8]
    assert not mouth[0, :11].any() and not mouth[3, :11].any()  # shut and toothless where phonemes are
    shut, wide = (float(landmarks[:, LOWER_LIP, 1].quantile(q)) for q in (0.05, 0.95))
    opening = LOUD_OPENING * (gaps[11:] - shut - LIPS_PARTED) / (wide - shut - LIPS_PARTED)
    torch.testing.assert_close(mouth[0, 11:21], opening, atol=1e-5, rtol=0)
    torch.testing.assert_close(mouth[1:3, 21:], torch.eye(2), atol=1e-5, rtol=0)  # spread, then round


def test_flite_says_when_a_phoneme_ends_and_we_when_it_begins() -> None:
    assert phonemes_of("pau:0.195 p:0.280 iy:0.491 pau:0.600 \n") == [
        (0.0, ""), (0.195, "p"), (0.28, "i"), (0.491, ""), (0.6, "")
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("flite") is None, reason="the command flite is not there")
def test_flite_is_silent_in_its_pauses_and_loud_in_its_vowels() -> None:
    speech = Flite().speak("please put a blue map on the table", "slt")
    sound = torch.from_numpy(speech.samples / 32768.0)
    ends = [start for start, _ in speech.phonemes[1:]]
    level = {
        name: [
            float(sound[int(start * speech.sample_rate_hz) : int(end * speech.sample_rate_hz)].square().mean().sqrt())
            for (start, ipa), end in zip(speech.phonemes, ends, strict=False)
            if (ipa == "") == (name == "pause") and (ipa == "" or ipa[0] in "iuæɑʌ")
        ]
        for name in ("pause", "vowel")
    }
    assert len(level["vowel"]) >= 3 and max(level["pause"]) < 0.2 * min(level["vowel"])
    with pytest.raises(ValueError, match="nobody"):
        Flite().speak("hello", "nobody")


def test_texts_become_plain_words() -> None:
    page = "<h1><span id='a'>II</span></h1><p><span>Thy youth’s livery,</span><br/>\n<span>’This fair child’</span></p>"
    assert plain_words(page) == "thy youth's livery this fair child"
    assert plain_words("uh yknow, [adif] so <VOCNOISE> it's") == "uh you know so it's"


def test_recordings_and_their_words_are_as_the_aligner_wants_them() -> None:
    assert len({recording.file for recording in RECORDINGS}) == len(RECORDINGS)
    texts = [r.text for r in RECORDINGS if r.text]
    assert all(plain_words(text) == text for text in (*texts, *UNUSUAL_WORDS))
    pocketsphinx = pytest.importorskip("pocketsphinx", reason="comes with the tools extra")
    decoder = pocketsphinx.Decoder(samprate=SAMPLE_RATE_HZ, loglevel="FATAL")
    words = {word for text in texts for word in text.split()}
    assert not [word for word in sorted(words - UNUSUAL_WORDS.keys()) if decoder.lookup_word(word) is None]
    for word, phones in UNUSUAL_WORDS.items():
        assert decoder.lookup_word(word) is None, "known after all"
        decoder.add_word(word, phones)  # raises on a phone that is none
