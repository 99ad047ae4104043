from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.scenario.lengths import Bimodal, Fixed, Lengths, Listed, LogNormal, Uniform
from loadtest.scenario.requests import Request, Tensor
from loadtest.scenario.schema import Offline
from loadtest.workload import values
from loadtest.workload.asking import Model
from loadtest.workload.build import payloads
from loadtest.workload.lengths import SHORTEST, draw
from loadtest.workload.mix import mix
from loadtest.workload.tensors import Inputs
from loadtest.workload.texts import Draws
from protos import inference_pb2 as pb
from protos.heed.v1 import text_pb2

seeds = st.integers(0, 2**70)
tokens = st.integers(1, 5000)
ordered = st.tuples(tokens, tokens).map(sorted)
distributions: st.SearchStrategy[Lengths] = st.one_of(
    st.builds(LogNormal, mean=st.floats(1e-3, 1e4), sigma=st.floats(1e-3, 10), max=tokens),
    st.builds(Fixed, tokens=tokens),
    ordered.map(lambda both: Uniform(min=both[0], max=both[1])),
    st.builds(Bimodal, short=tokens, long=tokens, long_share=st.floats(0, 1)),
    st.builds(Listed, tokens=st.lists(tokens, min_size=1, max_size=20).map(tuple)),
)
weights = st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=40)
kinds = st.sampled_from(["embed", "rerank", "similarity", "classify", "embed-stream", "infer"])
requests = st.builds(
    Request,
    rpc=kinds,
    weight=st.floats(0.1, 10),
    texts_per_call=st.integers(1, 4),
    lengths=st.builds(Fixed, tokens=st.integers(1, 40)),
)


def metadata(model: str) -> pb.ModelMetadataResponse:
    tensor = pb.ModelMetadataResponse.TensorMetadata
    names = ("input_ids", "attention_mask")
    return pb.ModelMetadataResponse(
        name=model,
        inputs=[tensor(name=name, datatype="INT64", shape=[-1, -1]) for name in names],
    )


def allowed(distribution: Lengths) -> tuple[int, int]:
    """Return the shortest and the longest text that a distribution may give."""
    match distribution:
        case Fixed(tokens=only):
            return only, only
        case Uniform(min=low, max=high):
            return low, high
        case LogNormal(max=high):
            return 0, high
        case Bimodal(short=short, long=long):
            return min(short, long), max(short, long)
        case Listed(tokens=listed):
            return min(listed), max(listed)
        case _:
            raise AssertionError(distribution)


@given(distributions, st.integers(0, 200), seeds)
def test_lengths_lie_within_their_bounds(distribution: Lengths, count: int, seed: int) -> None:
    drawn = draw(distribution, count, np.random.default_rng(seed))

    low, high = allowed(distribution)
    assert len(drawn) == count
    assert all(max(SHORTEST, low) <= one <= max(SHORTEST, high) for one in drawn.tolist())


@given(weights, st.integers(40, 3000), seeds)
def test_kinds_come_as_often_as_their_weights_say(
    shares: list[float], count: int, seed: int
) -> None:
    order = mix(shares, count, np.random.default_rng(seed))

    assert len(order) == count
    counts = Counter(order)
    # Each is there, and among the first.
    assert set(order[: len(shares)]) == set(range(len(shares)))
    exact = [share / sum(shares) * count for share in shares]
    lent = sum(max(0.0, 1 - one) for one in exact)
    for kind, one in enumerate(exact):
        assert counts[kind] <= max(1, one + 1)
        assert counts[kind] >= one - 1 - lent


@settings(max_examples=25)
@given(st.lists(requests, min_size=1, max_size=4), st.integers(4, 60), seeds)
def test_a_seed_gives_the_same_bytes(some: list[Request], calls: int, seed: int) -> None:
    scenario = Offline(calls=calls, seed=seed, requests=tuple(some))

    built = payloads(scenario, "m", metadata)

    assert built == payloads(scenario, "m", metadata)
    assert len(built) == calls
    for payload in built:
        request = some[payload.request]
        assert payload.texts == request.texts_per_call
        assert len(payload.messages) == (payload.texts if payload.kind == "stream" else 1)
        if request.rpc == "embed":
            sent = text_pb2.EmbedRequest.FromString(payload.messages[0]).texts
            assert isinstance(request.lengths, Fixed)
            length = max(SHORTEST, request.lengths.tokens)
            assert [len(text.split()) + 2 for text in sent] == [length] * payload.texts


@given(
    st.sampled_from(sorted(values.DTYPES)),
    st.lists(st.sampled_from([-1, 1, 2, 3]), max_size=3),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.tuples(st.floats(0, 0.9), st.floats(1.1, 2)),
    seeds,
)
def test_tensors_hold_what_their_shape_says_within_bounds(
    datatype: str, shape: list[int], lengths: list[int], bounds: tuple[float, float], seed: int
) -> None:
    if shape[:1] != [-1]:
        lengths = lengths[:1]
    tensor = pb.ModelMetadataResponse.TensorMetadata(name="x", datatype=datatype, shape=shape)
    described = pb.ModelMetadataResponse(inputs=[tensor])
    asked = {"x": Tensor(low=bounds[0], high=bounds[1])}
    inputs = Inputs(Model("m", lambda _: described, None), asked)

    message = pb.ModelInferRequest.FromString(inputs.message(lengths, Draws(seed, 0)))

    found = list(message.inputs[0].shape)
    assert found[:1] == ([len(lengths)] if shape[:1] == [-1] else shape[:1])
    assert found[1:] == [max(lengths) if extent == -1 else extent for extent in shape[1:]]
    data = np.frombuffer(message.raw_input_contents[0], values.DTYPES[datatype])
    assert data.reshape(tuple(found)).shape == tuple(found)
    # Rounding to a narrow type may reach the bounds.
    narrow = np.array(bounds).astype(data.dtype if data.dtype.kind == "f" else float)
    assert (data >= narrow[0]).all()
    assert (data <= narrow[1]).all()
