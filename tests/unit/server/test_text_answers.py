"""Start and end logits to answers."""

import numpy as np
import pytest

from server.text.answers import Answers, Window, best_spans

CONTEXT = "far away now"
WORDS = Window([2, 3, 4], [(0, 3), (4, 8), (9, 12)], [0, 1, 2])


def read(*windows: tuple[Window, list[float], list[float]], top_k: int = 9) -> Answers:
    answers = Answers(CONTEXT, [one for one, _, _ in windows], max_tokens=2, top_k=top_k)
    for window, start, end in windows:
        answers.read(window, np.array(start), np.array(end))
    return answers


def test_spans_run_forward_and_end_in_time() -> None:
    start, end = np.array([0.1, 0.5, 0.2]), np.array([0.9, 0.1, 0.3])

    found = [(first, last) for first, last, _ in best_spans(start, end, 2, 100)]

    assert sorted(found) == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]
    assert found[0] == (1, 2)


def test_question_and_special_tokens_are_no_answer() -> None:
    best = read((WORDS, [0, 90, 1, 0, 0, 99], [0, 90, 0, 1, 0, 99])).ranked(may_decline=False)[0]

    assert (best.text, best.start, best.end) == ("far away", 0, 8)


def test_no_answer_competes_only_where_it_may() -> None:
    answers = read((WORDS, [5, 0, 0, 0, 0], [5, 0, 0, 0, 0]))

    assert answers.ranked(may_decline=True)[0].text == ""
    assert all(answer.text for answer in answers.ranked(may_decline=False))


def test_window_that_declines_least_speaks_for_the_context() -> None:
    declining = WORDS, [9.0, 0, 0, 0, 0], [9.0, 0, 0, 0, 0]
    sure = WORDS, [0.0, 0, 9, 0, 0], [0.0, 0, 9, 0, 0]

    best, *others = read(declining, sure).ranked(may_decline=True)

    assert best.text == "far"
    assert best.score > max(answer.score for answer in others if not answer.text)


def test_span_that_two_windows_show_counts_once() -> None:
    weak, strong = [0.0, 0, 1, 0, 0], [0.0, 0, 3, 0, 0]

    both = read((WORDS, weak, weak), (WORDS, strong, strong)).ranked(may_decline=False)
    alone = read((WORDS, strong, strong)).ranked(may_decline=False)

    assert [answer.text for answer in both].count("far") == 1
    assert both[0].score == pytest.approx(alone[0].score)


def test_part_of_a_word_answers_with_the_whole() -> None:
    pieces = Window([1, 2, 3], [(0, 3), (4, 6), (6, 8)], [0, 1, 1])

    best = read((pieces, [0, 0, 5, 0], [0, 0, 5, 0])).ranked(may_decline=False)[0]

    assert best.text == "away"


def test_word_that_a_window_cuts_is_known_from_its_neighbour() -> None:
    left, right = Window([1], [(4, 6)], [1]), Window([1], [(6, 8)], [1])

    answers = read((left, [0, 1], [0, 1]), (right, [0, 1], [0, 1]))

    assert [answer.text for answer in answers.ranked(may_decline=False)] == ["away"]


def test_window_without_context_only_declines() -> None:
    answers = read((Window([], [], []), [1.0, 2], [1.0, 2]))

    assert [answer.text for answer in answers.ranked(may_decline=True)] == [""]
