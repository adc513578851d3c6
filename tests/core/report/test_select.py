from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from era_cli.core.report import select as selection
from era_cli.core.report.select import select
from era_cli.results import Selection
from tests.page.support import compared, evaluation


def groups(selected: Selection) -> dict[str, set[int]]:
    """The places of each group's images in the evaluation."""
    return {group.name: set(selected.places[group.rows].tolist()) for group in selected.groups}


@given(count=st.integers(1, 400), classes=st.integers(2, 12), accuracy=st.floats(0, 1), room=st.integers(0, 400))
def test_what_is_selected_is_what_it_is_called(count: int, classes: int, accuracy: float, room: int) -> None:
    judged = evaluation(count, tuple(map(str, range(classes))), accuracy, seed=count)
    whole = select(judged)
    wrong = set(np.flatnonzero(judged.predicted != judged.labels).tolist())
    assert len(set(whole.places.tolist())) == len(whole.places)
    assert groups(whole)["misclassified"] == wrong
    assert not groups(whole)["uncertain"] & wrong
    part = whole.first(room)
    assert part.places.tolist() == whole.places[:room].tolist()
    for name, places in groups(part).items():
        assert places == groups(whole)[name] & set(part.places.tolist())
    assert [group.total for group in part.groups] == [group.total for group in whole.groups]


def test_every_group_is_in_its_order() -> None:
    judged = evaluation(2_000)
    whole = select(judged)
    wrong, suspects, uncertain = (whole.places[group.rows] for group in whole.groups)
    confidence = judged.probabilities.max(axis=1)
    assert (np.diff(confidence[wrong]) <= 0).all()
    first_two = np.sort(judged.probabilities, axis=1)[:, -2:]
    assert (np.diff((first_two[:, 1] - first_two[:, 0])[uncertain]) >= 0).all()
    assert len(uncertain) == selection.UNCERTAIN
    captions = whole.groups[1].captions or ()
    assert len(captions) == len(suspects) > 0
    for place, caption in zip(suspects, captions, strict=True):
        assert caption.removeprefix("suggested: ") in set(judged.classes) - {judged.classes[judged.labels[place]]}


def test_a_page_with_little_room_has_some_of_everything() -> None:
    judged = evaluation(5_000, tuple("abcdef"), accuracy=0.8)
    part = select(judged).first(300)
    assert all(len(group.rows) >= 30 for group in part.groups)
    shown = np.zeros((6, 6), int)
    np.add.at(shown, (judged.labels[part.places], judged.predicted[part.places]), 1)
    assert (shown > 0).all()


def test_what_flips_is_shown_with_what_the_other_network_says() -> None:
    judged = evaluation(400)
    comparison = compared(judged)
    whole = select(judged, comparison=comparison)
    for group, flips in zip(whole.groups[3:], (comparison.lost, comparison.gained), strict=True):
        assert whole.places[group.rows].tolist() == flips.places.tolist()
        assert group.total == len(flips) > 0
    lost, (caption, *_) = whole.groups[3], whole.groups[3].captions or ()
    assert (lost.name, lost.title) == ("lost", "Right in base, wrong here")
    first = comparison.lost
    assert caption == f"A: {judged.classes[first.labels[0]]} {first.a_true_probability[0]:.1%}"


@pytest.mark.parametrize(
    ("accuracy", "trained_on", "named", "note"),
    [
        (0.95, False, True, "would still be suspected"),
        (0.95, True, False, "trained on these labels"),
        (0.0, False, False, "even if all were right"),
    ],
)
def test_suspects_are_named_only_where_they_mean_something(
    accuracy: float, trained_on: bool, named: bool, note: str
) -> None:
    judged = evaluation(1_000, tuple("abc"), accuracy)
    if not accuracy:
        judged = dataclasses.replace(judged, logits=judged.logits / np.float32(50))
    group = select(judged, trained_on=trained_on).groups[1]
    assert (len(group.rows) > 0) == named
    assert note in group.note
