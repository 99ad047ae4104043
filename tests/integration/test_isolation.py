"""Others do not feel callers who hang up or send poison. `make soak` has thousands of them."""

from pathlib import Path

from callers import alone, hang_up, has_settled, together
from loopback import serve
from waiting import until

CALLS = 400
MATES = [f"word{number} word{number + 1}" for number in range(24)]


async def test_callers_who_hang_up_at_any_moment_leave_nothing_behind(repository: Path) -> None:
    with serve(repository) as target:
        before = alone(target, MATES[:1])

        codes = await hang_up(target, CALLS, seed=1)

        assert sum(codes.values()) == CALLS
        assert set(codes) <= {"OK", "CANCELLED"}
        until(lambda: has_settled(target))
        assert alone(target, MATES[:1]) == before


def test_poison_in_a_full_batch_leaves_every_other_answer_as_it_is_alone(repository: Path) -> None:
    with serve(repository, "--threads", "1") as target:
        expected = alone(target, MATES)
        texts = [*MATES[:7], "word1 poison", *MATES[7:20], "poison", *MATES[20:]]

        answers = together(target, texts)

    assert answers == [expected.get(text, "INTERNAL") for text in texts]
