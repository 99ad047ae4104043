"""Our histogram exposes what the client library's would."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client import Histogram as Reference

from server.histogram import Histogram

BOUNDS = (0.001, 0.5, 1.0, 16.0)
VALUES = st.floats(0, 100) | st.sampled_from(BOUNDS)


@given(observed=st.lists(st.tuples(st.sampled_from("ab"), VALUES)))
def test_exposition_equals_the_client_librarys(observed: list[tuple[str, float]]) -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]  # has no annotations
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("x_seconds", "Text.", ("kind",), buckets=BOUNDS, registry=ours)
    reference = Reference("x_seconds", "Text.", ("kind",), buckets=BOUNDS, registry=theirs)
    for kind, value in observed:
        histogram.labels(kind).observe(value)
        reference.labels(kind).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)


def test_removed_labels_are_gone() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("x_seconds", "Text.", ("kind",), buckets=BOUNDS, registry=registry)
    histogram.labels("a").observe(1.0)
    histogram.remove("a")
    assert b"x_seconds_count" not in generate_latest(registry)
