"""The largest values of each row, as text."""

import numpy as np
import pytest

from server.errors import InvalidRequest
from server.repository.manifest import TensorSpec
from server.rpc.classification import classified, require_classes
from server.tensor import DTYPES, Tensor


def texts(tensor: Tensor) -> list[list[str]]:
    return [[text.decode() for text in row] for row in tensor.array.tolist()]


def test_largest_values_come_first_with_their_labels() -> None:
    tensor = Tensor("logits", "FP32", np.array([[0.5, -1, 2], [3, 2, 1]], np.float32))

    result = classified(tensor, 2, ("a", "b", "c"))

    assert (result.datatype, result.array.shape) == ("BYTES", (2, 2))
    assert texts(result) == [["2.000000:2:c", "0.500000:0:a"], ["3.000000:0:a", "2.000000:1:b"]]


@pytest.mark.parametrize("labels", [(), ("a",), ("a", "b", "c")])
def test_labels_that_are_not_one_for_each_class_are_left_out(labels: tuple[str, ...]) -> None:
    tensor = Tensor("logits", "FP64", np.array([[1.0, 2.0]]))

    assert texts(classified(tensor, 1, labels)) == [["2.000000:1"]]


def test_equal_values_come_in_order_and_no_number_last() -> None:
    tensor = Tensor("logits", "FP32", np.array([[np.nan, 1, np.inf, 1]], np.float32))

    assert texts(classified(tensor, 4, ())) == [
        ["inf:2", "1.000000:1", "1.000000:3", "nan:0"],
    ]


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_every_datatype_has_numbers(datatype: str) -> None:
    # 0x3F80 is 1.0 in BF16.
    one = 0x3F80 if datatype == "BF16" else 1
    tensor = Tensor("x", datatype, np.array([[0, one]], DTYPES[datatype]))

    ((best,),) = texts(classified(tensor, 1, ()))

    assert best in {"1.000000:1", "1:1"}


def test_no_rows_give_no_classes() -> None:
    assert classified(Tensor("x", "FP32", np.zeros((0, 3))), 2, ()).array.shape == (0, 2)


@pytest.mark.parametrize(
    ("shape", "hint"), [((-1, -1, 3), "needs rows and classes"), ((-1, 3), "1 to 3")]
)
def test_classification_that_cannot_be_is_refused_before_a_run(
    shape: tuple[int, ...], hint: str
) -> None:
    with pytest.raises(InvalidRequest, match=hint):
        require_classes(4, TensorSpec("x", "FP32", shape))


def test_free_number_of_classes_is_checked_after_the_run() -> None:
    require_classes(4, TensorSpec("x", "FP32", (-1, -1)))
    with pytest.raises(InvalidRequest, match="1 to 3"):
        classified(Tensor("x", "FP32", np.zeros((2, 3))), 4, ())
