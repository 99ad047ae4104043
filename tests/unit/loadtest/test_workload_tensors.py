from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from loadtest.errors import RunFailed
from loadtest.scenario.requests import Tensor
from loadtest.workload import values
from loadtest.workload.asking import Model
from loadtest.workload.payload import Promise
from loadtest.workload.tensors import Inputs
from loadtest.workload.texts import Draws
from protos import inference_pb2 as pb

Described = tuple[str, str, Sequence[int]]
"""Name, datatype, shape."""

HEED = [(name, "INT64", [-1, -1]) for name in ("input_ids", "segment_ids", "position_ids")]
BERT = [(name, "INT64", [-1, -1]) for name in ("input_ids", "attention_mask", "token_type_ids")]
SKLEARN = [("foo", "FP32", [-1, 4])]
IMAGES = [("pixel_values", "FP32", [-1, 3, 8, 8])]


def inputs(
    described: Sequence[Described],
    outputs: Sequence[Described] = (),
    per: dict[str, str] | None = None,
    **tensors: Tensor,
) -> Inputs:
    tensor = pb.ModelMetadataResponse.TensorMetadata

    def metadata(model: str) -> pb.ModelMetadataResponse:
        return pb.ModelMetadataResponse(
            name=model,
            platform="onnxruntime_onnx" if per else "sklearn",
            inputs=[tensor(name=n, datatype=d, shape=s) for n, d, s in described],
            outputs=[tensor(name=n, datatype=d, shape=s) for n, d, s in outputs],
        )

    def ask(method: str, request: bytes) -> bytes:
        assert method == "/inference.GRPCInferenceService/ModelConfig"
        assert pb.ModelConfigRequest.FromString(request).name == "m"
        answer = pb.ModelConfigResponse()
        for name, value in (per or {}).items():
            answer.config.parameters[f"per.{name}"].string_value = value
        return answer.SerializeToString()

    return Inputs(Model("m", metadata, ask), tensors)


def sent(made: Inputs, lengths: Sequence[int], seed: int = 1) -> pb.ModelInferRequest:
    return pb.ModelInferRequest.FromString(made.message(lengths, Draws(seed, 0)))


def arrays(made: Inputs, lengths: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Return what a call sends, by name; each input's bytes are exactly its shape's."""
    request = sent(made, lengths)
    assert not any(one.HasField("contents") for one in request.inputs)
    return {
        one.name: np.frombuffer(raw, values.DTYPES[one.datatype]).reshape(tuple(one.shape))
        for one, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def one(datatype: str, shape: Sequence[int] = (200,), **bounds: float) -> NDArray[Any]:
    asked = Tensor(low=bounds.get("low"), high=bounds.get("high"))
    return arrays(inputs([("x", datatype, shape)], x=asked), [1])["x"]


def test_a_heed_bundle_gets_rows_of_their_own_lengths() -> None:
    found = arrays(inputs(HEED), [5, 3])

    assert found["segment_ids"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert found["position_ids"].tolist() == [[0, 1, 2, 3, 4]] * 2
    ids = found["input_ids"]
    assert ids.shape == (2, 5)
    assert ids.min() >= 0
    assert ids.max() < 100
    assert len(np.unique(ids)) > 5


def test_a_bert_gets_masks_and_types_that_agree_with_its_ids() -> None:
    found = arrays(inputs(BERT), [4, 60])

    assert {array.shape for array in found.values()} == {(2, 60)}
    assert found["attention_mask"].sum(axis=1).tolist() == [4, 60]
    assert set(np.unique(found["token_type_ids"])) == {0, 1}


def test_a_mask_of_a_fixed_length_covers_it() -> None:
    found = arrays(inputs([("input_ids", "INT32", [-1, 6]), ("input_mask", "INT32", [-1, 6])]), [4])

    assert found["input_mask"].tolist() == [[1] * 6]


@pytest.mark.parametrize("datatype", ["BOOL", "FP32", "INT32"])
def test_masks_of_every_type_cover_the_length(datatype: str) -> None:
    found = arrays(inputs([("mask", datatype, [-1, 1, -1])]), [2, 3])

    assert found["mask"].astype(int).tolist() == [[[1, 1, 0]], [[1, 1, 1]]]


def test_a_table_gets_values_of_its_shape() -> None:
    found = arrays(inputs(SKLEARN), [9, 9, 9])["foo"]

    assert found.shape == (3, 4)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() < 1
    assert len(np.unique(found)) == 12


def test_an_image_keeps_its_fixed_extents() -> None:
    assert arrays(inputs(IMAGES), [231])["pixel_values"].shape == (1, 3, 8, 8)


def test_a_model_without_free_rows_gets_one_call_at_a_time() -> None:
    made = inputs([("x", "FP32", [1, 4])])

    assert arrays(made, [7])["x"].shape == (1, 4)
    assert made.rows([7]) == 1
    with pytest.raises(RunFailed, match="set texts_per_call to 1"):
        made.message([7, 7], Draws(1, 0))


def test_fixed_rows_are_counted() -> None:
    assert inputs([("x", "FP32", [8, 4])]).rows([7]) == 8
    assert inputs([("x", "FP32", [])]).rows([7]) == 1


def test_a_scalar_is_one_value() -> None:
    assert one("FP64", ()).shape == ()
    assert one("INT8", ()).shape == ()


@pytest.mark.parametrize("datatype", values.DTYPES)
def test_every_number_type_is_filled(datatype: str) -> None:
    found = one(datatype)

    assert found.dtype == values.DTYPES[datatype]
    assert len(np.unique(found)) >= 2


def test_bf16_is_the_upper_half_of_fp32() -> None:
    made = inputs([("x", "BF16", [500])], x=Tensor(low=-2, high=3))

    (raw,) = sent(made, [1]).raw_input_contents

    assert len(raw) == 1000
    found = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    assert found.min() >= -2
    assert found.max() <= 3
    assert found.mean() == pytest.approx(0.5, abs=0.3)


@pytest.mark.parametrize("shape", [[-1], [-1, 1]])
def test_strings_of_rows_are_texts_of_the_drawn_lengths(shape: list[int]) -> None:
    request = sent(inputs([("text", "BYTES", shape)]), [5, 3])

    assert list(request.inputs[0].shape) == [2, *shape[1:]]
    first, second = strings(request.raw_input_contents[0])
    assert (len(first.split()), len(second.split())) == (3, 1)


def test_several_strings_a_row_are_words() -> None:
    request = sent(inputs([("words", "BYTES", [-1, 3])]), [5, 3])

    found = strings(request.raw_input_contents[0])
    assert [len(word.split()) for word in found] == [1] * 6


def strings(raw: bytes) -> list[str]:
    found = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        assert len(raw) >= 4 + size
        found.append(raw[4 : 4 + size].decode())
        raw = raw[4 + size :]
    return found


def test_asked_for_bounds_and_shapes_win() -> None:
    made = inputs(
        HEED,
        input_ids=Tensor(low=1000, high=1002),
        segment_ids=Tensor(shape=(-1, 2), low=1, high=2),
        position_ids=Tensor(shape=(3, -1)),
    )

    found = arrays(made, [4, 4])

    assert set(np.unique(found["input_ids"])) == {1000, 1001}
    assert found["segment_ids"].tolist() == [[1, 1]] * 2
    assert found["position_ids"].tolist() == [[0, 1, 2, 3]] * 3


def test_one_bound_keeps_the_other_as_usual() -> None:
    assert set(np.unique(one("INT16", high=3))) == {0, 1, 2}
    assert set(np.unique(one("INT16", low=98))) == {98, 99}


def test_whole_numbers_lie_within_broken_bounds() -> None:
    assert set(np.unique(one("INT32", low=-1.5, high=1.5))) == {-1, 0, 1}


@pytest.mark.parametrize(
    ("datatype", "low", "high"),
    [("INT8", -128, 128), ("UINT64", 2.0**63, 2.0**64), ("INT64", -(2.0**63), 2.0**63)],
)
def test_bounds_may_be_all_of_a_type(datatype: str, low: float, high: float) -> None:
    found = one(datatype, low=low, high=high).astype(np.float64)

    assert found.min() >= low
    assert found.max() <= high
    assert found.max() - found.min() > (high - low) / 2


@pytest.mark.parametrize(
    ("datatype", "bounds", "problem"),
    [
        ("FP32", {"low": 1, "high": 1}, "low below high"),
        ("FP32", {"low": 2}, "low below high"),
        ("INT32", {"low": float("nan"), "high": 1}, "finite"),
        ("INT32", {"high": float("inf")}, "finite"),
        ("INT32", {"low": 0.2, "high": 0.8}, "no whole number"),
        ("UINT8", {"low": -1, "high": 5}, "not within UINT8"),
        ("UINT8", {"high": 257}, "not within UINT8"),
        ("BOOL", {"high": 3}, "not within BOOL"),
        ("FP16", {"high": 1e6}, "not within FP16"),
        ("FP32", {"high": 1e300}, "not within FP32"),
        ("BF16", {"low": -1e39, "high": 0}, "not within BF16"),
        ("BYTES", {"low": 0}, "BYTES have no low and high"),
    ],
)
def test_bounds_without_values_are_refused(
    datatype: str, bounds: dict[str, float], problem: str
) -> None:
    with pytest.raises(RunFailed, match=problem) as caught:
        one(datatype, (200,), **bounds)

    assert "requests.tensors.x" in str(caught.value)


def test_unknown_inputs_are_refused_with_those_there_are() -> None:
    with pytest.raises(RunFailed, match="m has no such input; it has input_ids, segment_ids"):
        inputs(HEED, ids=Tensor())


def test_a_model_that_names_no_inputs_is_refused() -> None:
    with pytest.raises(RunFailed, match="names no inputs"):
        inputs([])


@pytest.mark.parametrize("datatype", ["", "FP8", "TYPE_FP32"])
def test_unknown_datatypes_are_refused(datatype: str) -> None:
    with pytest.raises(RunFailed, match=r"input x is .* none of BOOL, INT8"):
        inputs([("x", datatype, [-1])])


@pytest.mark.parametrize("shape", [(1 << 20, 1 << 20), (1 << 40,), (-1, 1 << 24)])
def test_tensors_that_no_message_holds_are_refused(shape: tuple[int, ...]) -> None:
    made = inputs([("x", "INT64", [-1])], x=Tensor(shape=shape))

    with pytest.raises(RunFailed, match=r"requests\.tensors\.x\.shape"):
        made.message([1], Draws(1, 0))


def test_free_dimensions_of_other_servers_are_free() -> None:
    assert arrays(inputs([("x", "FP32", [-2, -2])]), [3])["x"].shape == (1, 3)


OUTPUTS = [
    ("logits", "FP32", [-1, 2]),
    ("hidden", "FP32", [-1, -1, 8]),
    ("loss", "FP32", [1]),
    ("scale", "FP32", []),
]


def test_free_outputs_of_a_foreign_model_have_a_row_each() -> None:
    found = inputs(SKLEARN, OUTPUTS).promises([1, 1])

    assert found == (
        Promise("logits", 2, is_certain=False),
        Promise("hidden", 2, is_certain=False),
        Promise("loss", -1, is_certain=False),
        Promise("scale", -1, is_certain=False),
    )


def test_outputs_of_a_heed_model_count_what_it_says() -> None:
    found = inputs(HEED, OUTPUTS[:2], {"logits": "mask", "hidden": "token"}).promises([4, 4])

    assert found == (
        Promise("logits", -1, is_certain=True),
        Promise("hidden", 2, is_certain=True),
    )


def test_nothing_is_known_of_rows_where_inputs_disagree() -> None:
    made = inputs([("x", "FP32", [-1, 4]), ("scale", "FP32", [1])], OUTPUTS[:1])

    assert [one.rows for one in made.promises([1, 1])] == [-1]


def test_bodies_are_seeded() -> None:
    made = inputs(BERT)

    assert sent(made, [5, 6]) == sent(made, [5, 6])
    assert sent(made, [5, 6]) != sent(made, [5, 6], seed=2)
