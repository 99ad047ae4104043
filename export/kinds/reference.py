"""What PyTorch answers: every sequence alone, unpadded, with eager attention and FP32.

Shares no code with the graph. The answers are laid out as the graph's outputs will be; places that
mean nothing are NaN.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from export.errors import CheckpointUnsupported
from export.graph.heads import Dense, Head
from export.kinds.kind import Interface
from export.load import Loaded
from export.proof.batches import Batch, TokenIds
from export.proof.case import Case
from export.threads import one_thread
from server.repository.manifest import TensorSpec

Vectors = NDArray[np.float32]
Answers = list[Vectors]
"""One array for each output."""

_ACTIVATIONS = {
    "Identity": torch.nn.Identity(),
    "Tanh": torch.nn.Tanh(),
    "Relu": torch.nn.ReLU(),
    "Gelu": torch.nn.GELU(),
    "Sigmoid": torch.nn.Sigmoid(),
}


def answer(loaded: Loaded, head: Head, batch: Batch, interface: Interface) -> Case:
    """Return a batch with the answers to its sequences.

    Raises:
        CheckpointUnsupported: the model's own code fails on a sequence.
    """
    try:
        with torch.inference_mode(), one_thread():
            answers = [_answer(loaded, head, sequence, interface) for sequence in batch.sequences]
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        # Whatever a model's own code raises, on inputs that its configuration allows.
        raise CheckpointUnsupported(
            f"PyTorch itself cannot run {loaded.family} on '{batch.case}': {error}"
        ) from error
    expected = {
        spec.name: _lay_out(spec, batch, [answer[index] for answer in answers])
        for index, spec in enumerate(interface.outputs)
    }
    return Case(batch.case, batch.feeds, expected)


def _answer(loaded: Loaded, head: Head, sequence: TokenIds, interface: Interface) -> Answers:
    """Return what the task's model says to one sequence, without the axis of rows."""
    ids = torch.from_numpy(sequence.ids).unsqueeze(0)
    keywords = {}
    if sequence.types is not None:
        keywords["token_type_ids"] = torch.from_numpy(sequence.types).unsqueeze(0)
    output = loaded.module(input_ids=ids, attention_mask=torch.ones_like(ids), **keywords)
    match loaded.task:
        case "embed":
            return [_embedding(output.last_hidden_state[0], head)]
        case "sparse-embed":
            weights = torch.log1p(torch.relu(output.logits[0])).amax(dim=0)
            return [weights.numpy()]
        case "fill-mask":
            assert interface.text is not None
            return [output.logits[0][ids[0] == interface.text.mask_id].numpy()]
        case _:
            return [output[spec.name][0].numpy() for spec in interface.outputs]


def _embedding(states: torch.Tensor, head: Head) -> Vectors:
    match head.mode:
        case "mean":
            vector = states.mean(dim=0)
        case "max":
            vector = states.amax(dim=0)
        case "cls":
            vector = states[0]
        case "last":
            vector = states[-1]
    for layer in head.layers:
        vector = _dense(vector, layer)
    vector = vector[: head.dimensions]
    if head.normalize:
        vector = torch.nn.functional.normalize(vector, dim=0)
    return vector.numpy()


def _dense(vector: torch.Tensor, layer: Dense) -> torch.Tensor:
    bias = None if layer.bias is None else torch.from_numpy(layer.bias)
    weight = torch.from_numpy(layer.weight).T
    projected = torch.nn.functional.linear(vector, weight, bias)
    result: torch.Tensor = _ACTIVATIONS[layer.activation](projected)
    return result


def _lay_out(spec: TensorSpec, batch: Batch, answers: Sequence[Vectors]) -> Vectors:
    match spec.per:
        case "sequence":
            return np.stack(answers)
        case "mask":
            return np.concatenate(answers)
        case _:
            trailing = answers[0].shape[1:]
            laid = np.full((*batch.input_ids.shape, *trailing), np.nan, np.float32)
            for place, values in zip(batch.places, answers, strict=True):
                laid[place] = values
            return laid
