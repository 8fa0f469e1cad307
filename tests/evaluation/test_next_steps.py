"""What to do next: one list in which no advice contradicts another, on cases made for each rule."""

from __future__ import annotations

import re
from itertools import permutations

import pytest

from fastgan.evaluation.finding import Action, Advice, Finding
from fastgan.evaluation.next_steps import LOOK, next_steps

MIXED = Finding("A group mixes classes", "…", "Not a class.", [Advice(Action.MORE, classes=12), Advice(Action.SEED)])
LOST = Finding("A class has no group", "…", "", [Advice(Action.MORE, classes=14), Advice(Action.SEED)])
SAME = Finding(
    "Two groups are hard to tell apart",
    "…",
    "",
    [Advice(Action.JOIN, groups=[[5, 3]]), Advice(Action.FEWER, classes=9)],
)
EMPTY = Finding("A group that stays empty", "…", "", [Advice(Action.FEWER, classes=8, empty=True)])
LIGHT = Finding(
    "The groups follow brightness", "…", "Look.", [Advice(Action.EVEN_OUT, "Bring them to one brightness.")]
)
ALIKE = Finding("The model makes one image again and again", "…", "", [Advice(Action.LONGER), Advice(Action.SEED)])
UNSURE = Finding("Sure is not right", "…", "Beware.", [Advice(Action.SECOND)])
SHORT = Finding("The run stopped early", "…", "", [Advice(Action.CONTINUE)], first=True)
WON = Finding("The discriminator has won", "…", "", [Advice(Action.RATE)], first=True)
EVERY = [MIXED, LOST, SAME, EMPTY, LIGHT, ALIKE, UNSURE]
MORE, FEWER = "with more groups, for example", "with fewer groups, for example"


def told(*findings: Finding, compared: bool = False) -> list[str]:
    return [step.text for step in next_steps(findings, compared=compared)]


def test_without_findings_a_second_run_and_names_are_left() -> None:
    second, names = told()
    assert second == Action.SECOND.value and "names" in names
    assert told(compared=True) == [names]


def test_a_run_that_is_not_at_its_end_goes_on_before_all_else() -> None:
    steps = next_steps([*EVERY, SHORT])
    assert len(steps) == 2 and steps[0].text == Action.CONTINUE.value and steps[0].because == (SHORT.title,)
    assert told(SHORT, WON)[0] == Action.RATE.value, "to go on with a training that has failed helps nobody"


def test_of_more_and_fewer_groups_more_are_tried_and_those_that_are_the_same_read_as_one() -> None:
    for findings in permutations([MIXED, SAME, LOST]):
        text = " ".join(told(*findings))
        assert f"{MORE} 14 (--classes 14)" in text and FEWER not in text and "Compare groups 3 and 5:" in text


def test_where_groups_are_empty_another_starting_point_takes_the_place_of_more() -> None:
    text = " ".join(told(MIXED, EMPTY))
    assert MORE not in text and FEWER not in text and "another --seed" in text


def test_one_run_from_another_starting_point_serves_two_ends() -> None:
    steps = next_steps([MIXED, UNSURE])
    (seed,) = [step for step in steps if "another --seed" in step.text]
    assert seed.text == Action.SECOND.value and seed.because == (MIXED.title, UNSURE.title)
    assert Action.SEED.value[1:] in " ".join(told(MIXED, compared=True))


def test_fewer_groups_alone_are_the_fewest_that_is_asked_for() -> None:
    assert f"{FEWER} 8 (--classes 8)" in " ".join(told(SAME, EMPTY))


def test_looking_comes_before_training_and_a_new_run_changes_one_thing() -> None:
    steps = told(ALIKE, MIXED, SAME, LIGHT)
    order = [LOOK, "Compare groups", "one brightness", MORE, "longer", "second run from another starting point"]
    places = [next(i for i, text in enumerate(steps) if part in text) for part in order]
    assert places == sorted(set(places)), steps
    later = steps[places[2] + 1 : places[-1]]
    assert len(later) == 2 and all(text.startswith("If it is still needed then: ") for text in later)


@pytest.mark.parametrize("first", range(len(EVERY)))
@pytest.mark.parametrize("compared", [False, True])
def test_no_list_contradicts_itself(first: int, compared: bool) -> None:
    """Whatever is found with what: never more and fewer groups, no step twice, each finding in some step."""
    for second in range(len(EVERY)):
        for third in range(len(EVERY)):
            findings = [EVERY[i] for i in dict.fromkeys((first, second, third))]
            steps = next_steps(findings, compared=compared)
            text = " ".join(step.text for step in steps)
            assert not (MORE in text and FEWER in text)
            assert len({step.text for step in steps}) == len(steps)
            asked = {title for step in steps for title in step.because}
            silent = {each.title for each in findings} - asked
            # Fewer groups alone are dropped where there is room for more; a second run where there is one.
            assert silent <= {EMPTY.title} | ({UNSURE.title} if compared else set())
            assert "--" not in re.sub(r"\([^)]*\)", "", text), "words first, the flag after them in parentheses"
