"""Which layers stay in float, so that rounding the others costs no more than is allowed.

Every measurement builds a session and runs it, so there are few: one of each layer alone, and a
bisection over the ranking that they give.
"""

from collections.abc import Callable, Sequence

from export.errors import QualityBelowBudget

Loss = Callable[[frozenset[str]], float]
"""Layers that stay in float -> what the rest costs."""


def walk_back(layers: Sequence[str], loss: Loss, budget: float) -> frozenset[str]:
    """Return the layers to keep in float: none where rounding all of them is within `budget`.

    Layers are ranked by what each costs when it alone is rounded; the costliest are kept, as few as
    suffice. Deterministic for a deterministic loss.

    Raises:
        QualityBelowBudget: even with every layer in float the loss is beyond the budget.
    """
    everything = frozenset(layers)
    if loss(frozenset()) <= budget:
        return frozenset()
    least = loss(everything)
    if not least <= budget:
        raise QualityBelowBudget(
            f"a loss of {budget:g} is allowed, and {least:.2g} is left with every layer in float"
        )
    alone = {layer: loss(everything - {layer}) for layer in layers}
    ranking = sorted(layers, key=lambda layer: alone[layer], reverse=True)
    enough, short = len(ranking), 0
    while enough - short > 1:
        middle = (enough + short) // 2
        if loss(frozenset(ranking[:middle])) <= budget:
            enough = middle
        else:
            short = middle
    return frozenset(ranking[:enough])
