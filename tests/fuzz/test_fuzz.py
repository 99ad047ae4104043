"""Whatever arrives, the server lives, blames the caller rightly, and does not grow.

`make fuzz CASES=100000` runs more cases than the default set; SEED and FIRST choose which, and
CASE='/package.Service/Method:hex,hex' sends one that was printed once more.
"""

import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bundles
import psutil
import pytest
from fuzz.campaign import Campaign, Offence, author_for
from fuzz.cases import case, cases, methods, replayed
from fuzz.messages import Author
from loopback import Target, serve
from waiting import until

from protos import inference_pb2 as oip
from protos.heed.v1 import text_pb2 as pb

SEED = int(os.environ.get("FUZZ_SEED") or "1")
FIRST = int(os.environ.get("FUZZ_FIRST") or "0")
CASES = int(os.environ.get("FUZZ_CASES") or "3000")
CASE = os.environ.get("FUZZ_CASE", "")
FEWER = 10
"""The share of cases that a server which loads and unloads gets."""
ROUNDS = 5
"""The first warms up; memory is compared between the halves of the others."""
MAX_GROWTH = 0.10
MIN_CASES_FOR_GROWTH = 20_000
"""Fewer do not fill the arenas and pools that a server keeps, which is growth and no leak."""
SHOWN, MAX_SHOWN = 10, 2000
"""Offences in a report, and characters of a case."""

pytestmark = pytest.mark.timeout(120 + CASES / 100)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of every kind."""
    root = tmp_path_factory.mktemp("fuzzed")
    for name, build in vars(bundles).items():
        if name.startswith("build_") and needs_no_more_than_a_place(build):
            build(root)
    bundles.build_rows(root, "pictures", 2)
    return root


def needs_no_more_than_a_place(build: Callable[..., object]) -> bool:
    _, *others = inspect.signature(build).parameters.values()
    return all(one.default is not inspect.Parameter.empty for one in others)


@pytest.fixture(scope="module")
def author(repository: Path) -> Iterator[Author]:
    with serve(repository) as target:
        yield author_for(target)


def fuzz(target: Target, author: Author, count: int, *, unloads: bool) -> None:
    """Send cases in rounds and check what must hold after them."""
    process = psutil.Process(target.process.pid)
    expected = embedding(target)
    resident = []
    campaign = Campaign(target, unloads=unloads)
    try:
        for turn in range(ROUNDS):
            begin, end = (count * edge // ROUNDS for edge in (turn, turn + 1))
            if not CASE:
                campaign.run(cases(author, SEED, FIRST + begin, end - begin))
            elif turn == 0:
                campaign.run([replayed(CASE)])
            if target.process.poll() is not None:
                pytest.fail(report(campaign.tally.offences, "the server died"), pytrace=False)
            resident.append(process.memory_info().rss)
    finally:
        campaign.close()
    print(f"\n{dict(campaign.tally.codes)}; resident: {[size >> 20 for size in resident]} MiB")

    if campaign.tally.offences:
        pytest.fail(report(campaign.tally.offences, "calls ended wrongly"), pytrace=False)
    if unloads:
        load(target)
    assert embedding(target) == expected
    until(lambda: target.metric("heed_inflight_requests") == 0)
    assert "failed inside the server" not in target.log.read_text()
    if count >= MIN_CASES_FOR_GROWTH:
        assert max(resident[3:]) <= max(resident[1:3]) * (1 + MAX_GROWTH)


def report(offences: list[Offence], what: str) -> str:
    lines = [f"{what}: {len(offences)}; seed {SEED}"]
    for offence in offences[:SHOWN]:
        case = offence.case
        lines.append(f"{case.method.path} {offence.code} {offence.detail}")
        lines.append(f"  make fuzz SEED={SEED} FIRST={case.number} CASES=1")
        if len(str(case)) <= MAX_SHOWN:
            lines.append(f"  make fuzz CASE={case}")
    return "\n".join(lines)


def embedding(target: Target) -> list[float]:
    with target.text() as stub:
        answer = stub.Embed(pb.EmbedRequest(model="tiny", texts=["word1 word2"]), timeout=30)
    return list(answer.embeddings[0].values)


def load(target: Target) -> None:
    """Bring back what the cases may have unloaded, where the server has such a call."""
    if not hasattr(oip, "RepositoryModelLoadRequest"):
        return
    with target.channel() as channel:
        call: Any = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
        call(oip.RepositoryModelLoadRequest(model_name="tiny").SerializeToString(), timeout=30)


def test_a_case_depends_on_seed_and_number_alone(author: Author) -> None:
    drawn = [case(author, 3, number) for number in range(200)]

    assert drawn == [case(author, 3, number) for number in range(200)]
    assert replayed(str(drawn[7])).messages == drawn[7].messages


def test_every_call_of_every_service_is_reached(author: Author) -> None:
    reached = {one.method for one in cases(author, 1, 0, 3000)}

    assert reached == set(methods())


def test_no_call_brings_the_server_down(repository: Path, author: Author) -> None:
    with serve(repository) as target:
        fuzz(target, author, CASES, unloads=False)


def test_no_call_brings_down_a_server_whose_doors_are_open(
    repository: Path, author: Author
) -> None:
    options = ("--model-control", "explicit", "--no-probe", "--shared-memory")
    with serve(repository, *options) as target:
        fuzz(target, author, max(1, CASES // FEWER), unloads=True)
