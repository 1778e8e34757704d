"""What a generator has to reach: each bar is met from its limit on, and not before."""

import pytest

from gpu_lipsync.judging.evaluation import _bars

# Of the project's charter: the figures that a bar is about, and what is just enough.
LIMITS = {
    "opening_with_envelope": 0.4,
    "lead_over_moved_envelope": 0.2,
    "silence_to_speech_motion": 1 / 3,
    "lower_half_psnr_db": 22.0,
    "opening_with_true_opening": 0.25,
}
SPEECH = {
    "opening_with_envelope": 0.9,
    "opening_with_envelope_moved": 0.1,
    "lower_half_psnr_db": 40.0,
    "opening_with_true_opening": 0.9,
}
SILENCE = {"motion": 0.01, "motion_in_speech": 0.1}


def met(name: str, value: float) -> bool:
    """Whether the bar is, of a generator that is good but for this."""
    speech, silence = dict(SPEECH), dict(SILENCE)
    if name == "silence_to_speech_motion":
        silence["motion"] = value * silence["motion_in_speech"]
    elif name == "lead_over_moved_envelope":
        speech["opening_with_envelope_moved"] = speech["opening_with_envelope"] - value
    else:
        speech[name] = value
    bars = _bars(speech, silence)
    assert set(bars) == set(LIMITS)
    assert bars[name].value == pytest.approx(value)
    return bars[name].met


@pytest.mark.parametrize("name", LIMITS)
def test_a_bar_is_met_from_its_limit_on(name: str) -> None:
    better = -1 if name == "silence_to_speech_motion" else 1
    assert met(name, LIMITS[name] + 0.001 * better)
    assert not met(name, LIMITS[name] - 0.001 * better)


def test_a_lead_that_could_not_be_measured_meets_no_bar() -> None:
    """Of a clip shorter than the envelope is moved by."""
    speech = {name: value for name, value in SPEECH.items() if name != "opening_with_envelope_moved"}
    assert set(_bars(speech, SILENCE)) == set(LIMITS) - {"lead_over_moved_envelope"}
