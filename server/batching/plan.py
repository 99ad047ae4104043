"""Choose which waiting sequences form the next run, and how they lie in its rows.

Pure: lengths and limits in, a plan out. Knows nothing of clocks, queues or sessions; the batcher
owns those and calls this once per run.
"""

from collections.abc import Callable, Iterator, Sequence
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
        """Units taken from the head of the queue: indices 0 to this, none left out."""
        return sum(len(row) for row in self.rows)

    @property
    def padded_tokens(self) -> int:
        """Tokens that the run computes."""
        return len(self.rows) * self.width


MAX_PADDING = 0.25
"""Padding that may come on top of the token budget, as a share of it."""

Planner = Callable[[Sequence[int], int], Plan]
"""(lengths of the waiting sequences in order, budget of tokens without padding) -> the next run."""


def packed(cost: Cost, min_row_tokens: int) -> Planner:
    """Return a planner that lets several sequences share a row.

    Takes from the head without looking past a sequence that does not fit, so none can be overtaken
    for ever. The head always runs, whatever the budget: admission refused what no run can hold.
    Among layouts within the budget the one with the least cost per token wins.
    """

    def plan(lengths: Sequence[int], max_batch_tokens: int) -> Plan:
        whole = _fitting_prefix(lengths, max_batch_tokens)
        best = Plan(rows=((0,),), width=lengths[0])
        best_price = cost.run(1, lengths[0]) / lengths[0]
        most = max_batch_tokens + int(max_batch_tokens * MAX_PADDING)
        # A shorter prefix may leave less padding.
        for count in sorted({whole, whole - 1, whole - 2, whole * 3 // 4} - {-1, 0, 1}):
            taken = lengths[:count]
            tokens, alone = sum(taken), cost.alone(taken)
            for layout in _layouts(taken, min_row_tokens):
                predicted = cost.run(len(layout.rows), layout.width)
                is_legal = layout.padded_tokens <= most and predicted <= alone
                if is_legal and predicted / tokens < best_price:
                    best, best_price = layout, predicted / tokens
        return best

    return plan


def padded(max_batch_rows: int) -> Planner:
    """Return a planner that gives every sequence its own row, first come first served.

    This is what servers without packing do; it is here to be measured against.
    """

    def plan(lengths: Sequence[int], max_batch_tokens: int) -> Plan:
        del max_batch_tokens  # rows are the only limit of this policy
        count = min(len(lengths), max_batch_rows)
        return Plan(rows=tuple((i,) for i in range(count)), width=max(lengths[:count]))

    return plan


def _fitting_prefix(lengths: Sequence[int], max_batch_tokens: int) -> int:
    total = 0
    for count, length in enumerate(lengths):
        total += length
        if total > max_batch_tokens:
            return max(count, 1)
    return len(lengths)


def _layouts(lengths: Sequence[int], min_row_tokens: int) -> Iterator[Plan]:
    """Yield layouts in rows of the longest sequence, of doubling widths, and in one row."""
    total = sum(lengths)
    widths = {max(lengths), total}
    width = max(*lengths, min_row_tokens)
    while width < total:
        widths.add(width)
        width *= 2
    for width in sorted(widths):
        yield _first_fit(lengths, width)


def _first_fit(lengths: Sequence[int], width: int) -> Plan:
    """Pack by first fit decreasing: longest first, each into the first row that has room."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        for row, free in enumerate(room):
            if length <= free:
                rows[row].append(index)
                room[row] -= length
                break
        else:
            rows.append([index])
            room.append(width - length)
    return Plan(rows=tuple(tuple(row) for row in rows), width=width - min(room))
