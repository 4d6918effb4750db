"""Settings race: every value of one is timed, and what is chosen is found among them."""

import json
from pathlib import Path

import pytest
import settings_speed

SMALL = settings_speed.Convolution(2, (6, 5), 4, (3, 3))


@pytest.mark.long
def test_every_value_leaves_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        settings_speed,
        "QUESTIONS",
        [
            question._replace(convolutions=(SMALL,))
            for question in settings_speed.QUESTIONS
            if question.setting in ("padded", "blocks")
        ],
    )
    output = tmp_path / "record.json"
    flags = ["--rounds", "1", "--milliseconds", "0.1", "--output", str(output)]
    assert settings_speed.main(flags) == 0
    record = json.loads(output.read_text())
    padded, *_, blocks = record["rows"]
    assert set(padded["milliseconds"]) == {"yes", "no"}
    assert padded["chosen"] == "yes"  # nine taps of four channels
    assert blocks["chosen"] == "as they stand"  # so few products
    assert padded["chosen_over_fastest"]["median"] >= 1
    assert "shift_and_add, padded" in settings_speed.section(record)


@pytest.mark.parametrize("question", settings_speed.QUESTIONS, ids=lambda each: each.setting)
def test_what_is_chosen_is_among_the_values(question: settings_speed.Question) -> None:
    found = 0
    for convolution in question.convolutions:
        for name in question.passes:
            problem = convolution.problem
            chosen = settings_speed._choice.choose("cpu", name, problem, question.algorithm)
            forms = [
                dict(chosen.settings) | {question.setting: value}
                for value in question.values(problem).values()
            ]
            found += any(settings_speed.same(form, chosen.settings) for form in forms)
    assert found
