"""Maps of layers and heads, their mean, and rollout."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidRequest
from server.text.attention import Chosen, Method, Weights, choose, explain, mean, rollout

ROUNDING = 1e-5


def attend(num_heads: Sequence[int], tokens: int, seed: int, sharpness: float) -> list[Weights]:
    """Return random probabilities, as a softmax of scores gives them."""
    random = np.random.default_rng(seed)
    layers = []
    for heads in num_heads:
        scores = sharpness * random.normal(size=(heads, tokens, tokens))
        powers = np.exp(scores - scores.max(axis=2, keepdims=True))
        layers.append((powers / powers.sum(axis=2, keepdims=True)).astype(np.float32))
    return layers


attentions = st.builds(
    attend,
    st.lists(st.integers(1, 4), min_size=1, max_size=12),
    st.integers(1, 24),
    st.integers(0, 2**31),
    st.sampled_from([0.0, 1.0, 30.0, 1000.0]),
)


@given(attentions, st.sampled_from(Method))
def test_every_row_of_every_map_is_a_distribution(layers: list[Weights], method: Method) -> None:
    chosen = choose([len(layer) for layer in layers], (), ())

    for one in explain(layers, chosen, method):
        assert one.weights.dtype == np.float32
        assert (one.weights >= 0).all()
        np.testing.assert_allclose(one.weights.sum(axis=1), 1.0, atol=ROUNDING)


@given(attentions)
def test_rollout_of_one_layer_is_half_itself(layers: list[Weights]) -> None:
    expected = 0.5 * layers[0].mean(axis=0) + 0.5 * np.eye(layers[0].shape[1])

    np.testing.assert_allclose(rollout(layers[:1]), expected, atol=ROUNDING)


@given(attentions)
def test_rollout_multiplies_from_the_last_layer_to_the_first(layers: list[Weights]) -> None:
    expected = np.eye(layers[0].shape[1])
    for layer in layers:
        mixed = 0.5 * layer.mean(axis=0, dtype=np.float64) + 0.5 * np.eye(len(expected))
        expected = mixed @ expected

    np.testing.assert_allclose(rollout(layers), expected, atol=ROUNDING)


def test_rollout_of_attention_to_oneself_is_the_identity() -> None:
    layers = [np.broadcast_to(np.eye(5, dtype=np.float32), (3, 5, 5))] * 4

    np.testing.assert_array_equal(rollout(layers), np.eye(5))


def test_rollout_looks_back_from_later_layers() -> None:
    """Layer 0 lets token 1 look at token 0, layer 1 lets token 2 look at token 1."""
    first, second = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
    first[1], second[2] = (1, 0, 0), (0, 1, 0)

    seen = rollout([first[np.newaxis], second[np.newaxis]])

    expected = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5]])
    np.testing.assert_allclose(seen, expected)
    assert rollout([second[np.newaxis], first[np.newaxis]])[2, 0] == 0


def test_mean_counts_every_head_alike() -> None:
    layers = [np.zeros((1, 2, 2), np.float32), np.ones((3, 2, 2), np.float32)]

    np.testing.assert_array_equal(mean(layers), np.full((2, 2), 0.75))


def test_maps_come_by_layer_and_then_by_head() -> None:
    layers = attend([2, 3], 4, 7, 1.0)
    every = explain(layers, choose([2, 3], (), ()), Method.LAYERS_HEADS)
    some = explain(layers, choose([2, 3], [1, 0], [1]), Method.LAYERS_HEADS)

    assert [(one.layer, one.head) for one in every] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    assert [(one.layer, one.head) for one in some] == [(0, 1), (1, 1)]
    np.testing.assert_array_equal(some[1].weights, layers[1][1])


@pytest.mark.parametrize("method", Method)
def test_maps_keep_nothing_of_the_run_alive(method: Method) -> None:
    layers = attend([2, 2], 4, 7, 1.0)

    for one in explain(layers, choose([2, 2], [1], ()), method):
        assert not any(np.shares_memory(one.weights, layer) for layer in layers)


@pytest.mark.parametrize("method", [Method.MEAN, Method.ROLLOUT])
def test_only_what_is_chosen_is_put_together(method: Method) -> None:
    layers = attend([2, 2, 2], 4, 7, 1.0)
    kept = [layers[2][[1]]]

    (one,) = explain(layers, choose([2, 2, 2], [2], [1]), method)

    (expected,) = explain(kept, choose([1], (), ()), method)
    np.testing.assert_array_equal(one.weights, expected.weights)
    assert (one.layer, one.head) == (None, None)


def test_number_of_maps_is_known_beforehand() -> None:
    chosen = choose([2, 3], (), ())

    assert chosen == Chosen((0, 1), ((0, 1), (0, 1, 2)))
    assert [chosen.num_maps(method) for method in Method] == [5, 1, 1]


@pytest.mark.parametrize(
    ("layers", "heads", "hint"),
    [
        ([2], [], "layers names 2; it must lie in 0 to 1"),
        ([], [2], "heads names 2; it must lie in 0 to 1"),
        ([1, 1], [], "layers names one twice"),
        ([1], [0, 0], "heads names one twice"),
    ],
)
def test_what_is_not_there_is_refused(layers: list[int], heads: list[int], hint: str) -> None:
    with pytest.raises(InvalidRequest, match=hint):
        choose([2, 3], layers, heads)


def test_a_head_may_be_in_some_layers_only() -> None:
    assert choose([2, 3], [1], [2]).heads == ((2,),)
