"""A session on CPU: stopping, freeing, and what becomes of denormal numbers."""

import platform
from pathlib import Path
from threading import Thread

import numpy as np
import onnx
import onnx.parser
import pytest
from bundles import SLOW_ID, build_encoder
from numpy.typing import NDArray

from server.errors import Cancelled, RunFailed
from server.runtime import denormals
from server.runtime.binding import Binding
from server.runtime.session import Session, SessionConfig, Stop

TINY = np.float32(1e-20)
"""Its square is a denormal number."""
can_flush = pytest.mark.skipif(
    denormals._libm is None,  # noqa: SLF001  (what the platform offers)
    reason=f"not done on {platform.machine()} with {platform.libc_ver()[0] or 'this libc'}",
)

Feeds = dict[str, NDArray[np.int64]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder(tmp_path_factory.mktemp("models")) / "model.onnx"


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = '<ir_version: 10, opset_import: ["": 20]> g (float[n] x) => (float[n] y) {y = Mul(x,x)}'
    path = tmp_path_factory.mktemp("squares") / "model.onnx"
    onnx.save(onnx.parser.parse_model(graph), path)
    return path


def feeds(ids: list[int]) -> Feeds:
    positions = np.arange(len(ids), dtype=np.int64)[np.newaxis]
    return {
        "input_ids": np.array([ids], np.int64),
        "segment_ids": np.ones((1, len(ids)), np.int64),
        "position_ids": positions,
    }


def test_run_under_way_is_stopped_from_another_thread(model: Path) -> None:
    session, stop = Session(model, SessionConfig()), Stop()
    stopper = Thread(target=stop.now)

    # Seconds of work: whether the stop comes first or in the middle, the run ends.
    stopper.start()
    with pytest.raises(Cancelled):
        session.run(feeds([SLOW_ID] * 32), stop=stop)

    stopper.join()


def test_run_that_begins_after_the_stop_is_cancelled(model: Path) -> None:
    stop = Stop()
    stop.now()

    with pytest.raises(Cancelled):
        Session(model, SessionConfig()).run(feeds([5, 6]), stop=stop)


def test_run_with_a_stop_that_is_never_used_answers(model: Path) -> None:
    session = Session(model, SessionConfig())

    (stopped,) = session.run(feeds([5, 6]), stop=Stop())

    np.testing.assert_array_equal(stopped, session.run(feeds([5, 6]))[0])


def test_failure_without_a_stop_stays_a_failure(model: Path) -> None:
    with pytest.raises(RunFailed):
        Session(model, SessionConfig()).run(feeds([63]), stop=Stop())


def test_session_closes_more_than_once(model: Path) -> None:
    session = Session(model, SessionConfig())

    session.close()
    session.close()


def test_run_far_larger_than_usual_answers_the_same(model: Path) -> None:
    usual = Session(model, SessionConfig(usual_values=2))
    many = feeds([5, 6, 7] * 8)

    (found,) = usual.run(many, stop=Stop())

    np.testing.assert_array_equal(found, Session(model, SessionConfig()).run(many)[0])
    np.testing.assert_array_equal(found, usual.run(many)[0])


@can_flush
@pytest.mark.parametrize("threads", [1, 2])
def test_denormal_numbers_are_zero_in_runs(squares: Path, threads: int) -> None:
    session = Session(squares, SessionConfig(intra_op_threads=threads))

    (found,) = session.run({"x": np.full(100_000, TINY)})

    assert not found.any()


@can_flush
def test_denormal_numbers_are_as_they_were_after_opening_and_running(squares: Path) -> None:
    session = Session(squares, SessionConfig(intra_op_threads=2))
    session.run({"x": np.full(8, TINY)})

    assert TINY * TINY > 0


def test_binding_answers_as_a_plain_run(model: Path) -> None:
    session = Session(model, SessionConfig())
    binding = Binding(session._session, "cpu")  # noqa: SLF001  (the seam below)

    for ids in ([5, 6, 7], [8, 9, 10], [5], [11, 12, 13]):
        (bound,) = binding.run(feeds(ids), list(session.output_names), None)
        np.testing.assert_array_equal(bound, session.run(feeds(ids))[0])


def test_binding_keeps_a_buffer_for_each_shape_and_leaves_the_caller_s_arrays(model: Path) -> None:
    session = Session(model, SessionConfig())
    binding = Binding(session._session, "cpu")  # noqa: SLF001  (as above)
    first = feeds([5, 6, 7])

    binding.run(first, list(session.output_names), None)
    for _ in range(3):
        binding.run(feeds([8, 9, 10]), list(session.output_names), None)

    assert binding.num_bytes == 3 * 3 * 8
    np.testing.assert_array_equal(first["input_ids"], [[5, 6, 7]])


def test_binding_gives_up_its_oldest_buffers(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.runtime.binding.MAX_BUFFER_BYTES", 200)
    session = Session(model, SessionConfig())
    binding = Binding(session._session, "cpu")  # noqa: SLF001  (as above)

    for length in (1, 2, 3, 4, 30, 2):
        ids = [5] * length
        (bound,) = binding.run(feeds(ids), list(session.output_names), None)
        np.testing.assert_array_equal(bound, session.run(feeds(ids))[0])
        assert binding.num_bytes <= 200
