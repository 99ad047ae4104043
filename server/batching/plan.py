"""Choose which waiting sequences form the next run, and how they lie in its rows.

Pure: lengths and limits in, a plan out. Knows nothing of clocks, queues or sessions; the batcher
owns those and calls this once per run.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from server.batching.cost import Cost


@dataclass(frozen=True, slots=True)
class Plan:
    """Layout of one run: indices of the waiting units, row by row."""

    rows: tuple[tuple[int, ...], ...]
    width: int
    """Tokens per row; shorter rows are padded to it."""

    @property
    def num_units(self) -> int:
        """Units in the run."""
        return sum(len(row) for row in self.rows)

    @property
    def chosen(self) -> list[int]:
        """Indices of the waiting units in the run, ascending; 0, the head, is always among them."""
        return sorted(index for row in self.rows for index in row)

    def renumbered(self) -> "Plan":
        """Return the same layout with indices counted among the chosen units."""
        chosen = self.chosen
        if chosen[-1] == len(chosen) - 1:
            return self
        places = {index: place for place, index in enumerate(chosen)}
        return Plan(tuple(tuple(places[index] for index in row) for row in self.rows), self.width)

    @property
    def padded_tokens(self) -> int:
        """Tokens that the run computes."""
        return len(self.rows) * self.width


Planner = Callable[[Sequence[int], int], Plan]
"""(lengths of the waiting sequences in order, budget of tokens without padding) -> the next run."""

MAX_PADDING = 0.25
"""Padding that may come on top of the token budget, as a share of it."""
NEGLIGIBLE = 0.02
"""Gain per token below which nobody is overtaken."""
MAX_LAYOUTS = 3
"""Layouts that are built to the end, of those that look best; more cost more than they find."""
_DIVISORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Rows that the tokens of a run are divided into."""
_ROWS = 1 << 20
"""More rows than any run has; a row and its room make one sortable number."""


def padded(max_batch_rows: int) -> Planner:
    """Return a planner that gives every sequence its own row, first come first served.

    This is what servers without packing do; it is here to be measured against.
    """

    def plan(lengths: Sequence[int], max_batch_tokens: int) -> Plan:
        del max_batch_tokens  # rows are the only limit of this policy
        count = min(len(lengths), max_batch_rows)
        return Plan(rows=tuple((i,) for i in range(count)), width=max(lengths[:count]))

    return plan


def sorted_padded(max_batch_rows: int) -> Planner:
    """Return a planner that sorts what waits by length, cuts it into runs and takes the head's.

    The best that servers without packing do; it is here to be measured against as well.
    """

    def plan(lengths: Sequence[int], max_batch_tokens: int) -> Plan:
        del max_batch_tokens  # rows are the only limit of this policy
        by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
        start = by_length.index(0) // max_batch_rows * max_batch_rows
        chosen = by_length[start : start + max_batch_rows]
        return Plan(tuple((index,) for index in chosen), lengths[chosen[-1]])

    return plan


def packed(cost: Cost, min_row_tokens: int) -> Planner:
    """Return a planner that lets several sequences share a row, at the least cost per token.

    The head always runs, whatever the budget: admission refused what no run can hold. Others are
    overtaken only by sequences that go clearly better with the head, so that long rows, whose
    attention costs more per token, are not filled with short sequences. As every head runs, nobody
    is overtaken for ever.
    """

    def plan(lengths: Sequence[int], max_batch_tokens: int) -> Plan:
        head = lengths[0]
        search = _Search(cost, lengths)
        if len(lengths) == 1 or head >= max_batch_tokens:
            return search.best(max_batch_tokens)
        count = _fitting_prefix(lengths, max_batch_tokens)
        prefix = lengths[:count]
        longest = max(prefix)
        if count > 1:
            decreasing = sorted(range(1, count), key=lengths.__getitem__, reverse=True)
            widths = _widths(sum(prefix), max(longest, min_row_tokens), longest)
            most = max_batch_tokens + int(max_batch_tokens * MAX_PADDING)
            search.lay_out([0, *decreasing], widths, max_batch_tokens, most, least=count)
        if count < len(lengths) or longest > min_row_tokens:
            search.price *= 1.0 - NEGLIGIBLE
            tokens = min(sum(lengths), max_batch_tokens)
            widths = _widths(tokens, max(head, min_row_tokens), head)
            search.lay_out(range(len(lengths)), widths, max_batch_tokens, max_batch_tokens)
        return search.best(max_batch_tokens)

    return plan


def conventional_s(cost: Cost, lengths: Sequence[int], max_batch_tokens: int) -> float:
    """Return the seconds that servers without packing would need at the least for a set.

    They run each alone, all padded in one run, or in runs within the budget, by arrival or length.
    """
    count = len(lengths)
    return min(
        cost.alone(lengths),
        cost.run(count, max(lengths), count),
        _padded_runs_s(cost, lengths, max_batch_tokens),
        _padded_runs_s(cost, sorted(lengths), max_batch_tokens),
    )


class _Search:
    """The layouts of one window that were the best when they were found."""

    __slots__ = ("_cost", "_found", "_lengths", "price")

    def __init__(self, cost: Cost, lengths: Sequence[int]) -> None:
        self._cost = cost
        self._lengths = lengths
        self._found = [Plan(((0,),), lengths[0])]
        self.price = cost.run(1, lengths[0], 1) / lengths[0]
        """Seconds per token that the next layout has to beat."""

    def best(self, max_batch_tokens: int) -> Plan:
        """Return the best that is worth sharing a run; the head alone at the least."""
        while len(self._found) > 1:
            plan = self._found[-1]
            lengths = [self._lengths[index] for index in plan.chosen]
            predicted = self._cost.run(len(plan.rows), plan.width, len(lengths))
            if predicted <= conventional_s(self._cost, lengths, max_batch_tokens):
                break
            self._found.pop()
        return self._found[-1]

    def lay_out(
        self, order: Sequence[int], widths: Iterable[int], budget: int, most: int, least: int = 1
    ) -> None:
        """Try rows of each width, filled in this order; `most` bounds the padded tokens.

        Layouts of fewer than `least` sequences are not looked at.
        """
        lengths = self._lengths
        in_order = [lengths[index] for index in order]
        hopes = []
        for width in widths:
            hope = self._hope(in_order, width, budget, max(1, most // width))
            if hope < self.price:
                hopes.append((hope, width))
        for hope, width in sorted(hopes)[:MAX_LAYOUTS]:
            if hope >= self.price:
                return
            plan = _best_fit(lengths, order, width, max(1, most // width), budget)
            count = plan.num_units
            tokens = sum([lengths[index] for row in plan.rows for index in row])
            price = self._cost.run(len(plan.rows), plan.width, count) / tokens
            if price < self.price and count >= least:
                self.price = price
                self._found.append(plan)

    def _hope(self, lengths: Sequence[int], width: int, budget: int, max_rows: int) -> float:
        """Return the seconds per token if rows of this width could be filled to the end."""
        fitting = [length for length in lengths if length <= width]
        waiting = sum(fitting)
        tokens = min(waiting, budget, max_rows * width)
        num_segments = len(fitting) * tokens // waiting
        return self._cost.run(-(-tokens // width), width, num_segments) / tokens


def _widths(tokens: int, least: int, shortest: int) -> set[int]:
    """Return widths that divide the tokens of a run evenly, from `least` on, and `shortest`."""
    even = {width for divisor in _DIVISORS if (width := -(-tokens // divisor)) >= least}
    return even | {shortest, min(least, max(tokens, shortest))}


def _fitting_prefix(lengths: Sequence[int], max_batch_tokens: int) -> int:
    total = 0
    for count, length in enumerate(lengths):
        total += length
        if total > max_batch_tokens:
            return max(count, 1)
    return len(lengths)


def _best_fit(
    lengths: Sequence[int], order: Iterable[int], width: int, max_rows: int, budget: int
) -> Plan:
    """Put each sequence into the fullest row that has room, as long as there are rows and budget.

    The first of the order fits.
    """
    rows: list[list[int]] = []
    rooms: list[int] = []  # room * _ROWS + row, ascending
    for index in order:
        length = lengths[index]
        if length > width or length > budget:
            continue
        place = bisect_left(rooms, length * _ROWS)
        if place < len(rooms):
            room = rooms.pop(place)
            rows[room % _ROWS].append(index)
            insort(rooms, room - length * _ROWS)
        elif len(rows) < max_rows:
            insort(rooms, (width - length) * _ROWS + len(rows))
            rows.append([index])
        else:
            continue
        budget -= length
        if not budget:
            break
    return Plan(tuple(map(tuple, rows)), width - rooms[0] // _ROWS)


def _padded_runs_s(cost: Cost, lengths: Sequence[int], max_batch_tokens: int) -> float:
    """Return the seconds of runs that take sequences in order, one a row, within the budget."""
    total_s, count, width = 0.0, 0, 0
    for length in lengths:
        wider = max(width, length)
        if count and (count + 1) * wider > max_batch_tokens:
            total_s += cost.run(count, width, count)
            count, wider = 0, length
        count, width = count + 1, wider
    return total_s + cost.run(count, width, count)
