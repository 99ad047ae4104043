"""The values inside PyTorch's own run of a batch: what its modules take in and hand out.

Every sequence runs alone, unpadded, as for the reference answers; raw tensors run as they are.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.graph.boundaries import Side
from export.graph.select import INPUT_IDS, SEGMENT_IDS
from export.proof.batches import Place
from export.proof.case import Case
from export.threads import one_thread

Values = NDArray[np.float32]
Ends = tuple[str, Side]
"""Path of a module, and which end of it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One call of the model, and where the graph's batch has what was called."""

    feeds: Mapping[str, torch.Tensor]
    place: Place | None
    """Of a sequence; None for a batch of whole rows."""


def runs(case: Case) -> Iterator[Run]:
    """Yield each sequence of a batch in the order of its answers, or the batch without segments."""
    feeds = {name: torch.from_numpy(np.array(values)) for name, values in case.feeds.items()}
    if SEGMENT_IDS not in feeds:
        yield Run(feeds, None)
        return
    taken = [name for name in feeds if name in {INPUT_IDS, "token_type_ids"}]
    for row, segments in enumerate(case.feeds[SEGMENT_IDS]):
        for segment in np.unique(segments[segments > 0]):
            columns = np.flatnonzero(segments == segment)
            where = slice(int(columns[0]), int(columns[-1]) + 1)
            alone = {name: feeds[name][row : row + 1, where] for name in taken}
            ones = torch.ones_like(alone[INPUT_IDS])
            yield Run(alone | {"attention_mask": ones}, (row, where))


def listen(
    model: nn.Module, run: Run, modules: Mapping[str, nn.Module], ends: Collection[Ends]
) -> Mapping[Ends, Sequence[Values]]:
    """Run the model and return what passed each end, one array for each time its module ran."""
    with _listening(modules, ends) as heard, torch.inference_mode(), one_thread():
        model(**run.feeds)
    return heard


@contextmanager
def _listening(
    modules: Mapping[str, nn.Module], ends: Collection[Ends]
) -> Iterator[dict[Ends, list[Values]]]:
    heard: dict[Ends, list[Values]] = defaultdict(list)

    def keep(end: Ends, value: object) -> None:
        if isinstance(value, torch.Tensor):
            # A copy: a later module may work in place.
            heard[end].append(value.to(torch.float32).numpy(force=True).copy())

    def hear_output(end: Ends, _: nn.Module, __: object, output: object) -> None:
        keep(end, output)

    def hear_input(end: Ends, _: nn.Module, inputs: tuple[object, ...]) -> None:
        if len(inputs) == 1:
            keep(end, inputs[0])

    with ExitStack() as hooks:
        for end in ends:
            module = modules[end[0]]
            if end[1] == "output":
                handle = module.register_forward_hook(partial(hear_output, end))
            else:
                handle = module.register_forward_pre_hook(partial(hear_input, end))
            hooks.callback(handle.remove)
        yield heard
