"""Text to token ids with the tokenizer of the bundle.

Never pads, and never cuts a text unless asked to. Little is encoded on the spot, much on a worker
thread, for which the event loop only waits.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

# One call is one task on one worker; a second thread pool inside would fight the runs for cores.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Encoding
from tokenizers import Tokenizer as NativeTokenizer

from server.errors import BundleCorrupt, InvalidRequest, TooLong
from server.text.tokenized import TokenizedText
from server.text.words import Words

Text = str | tuple[str, str]
"""A text, or two that the model reads together."""
Named = Callable[[int], str]
"""Index of a text -> what the caller calls it."""
R = TypeVar("R")

DIRECT_CHARS = 2_000
"""A call with no more is encoded on the event loop: a thread and back costs 0.15 ms, a text of 34
tokens 0.06 ms."""
MAX_TOKEN_CHARS = 256
"""No token is longer as text; vocabularies hold runs of up to 128 spaces or dashes."""
CHARS_PER_TEXT = 16
"""What a text costs by itself, however short, in characters."""


class Truncation(Enum):
    """What to do with a text that is too long."""

    REFUSE = "refuse"
    KEEP_START = "keep_start"
    KEEP_END = "keep_end"


def in_texts(index: int) -> str:
    """Name a text as most requests do."""
    return f"texts[{index}]"


@dataclass(frozen=True, slots=True)
class _Job:
    """Work of one call and who waits for it."""

    work: Callable[[], Any]
    done: asyncio.Future[Any]


class Tokenizer:
    """The tokenizer of one bundle and its worker thread.

    Calls that arrive while the worker is busy go to it together: waking a thread costs as much as
    a short text.
    """

    def __init__(self, path: Path, max_tokens: int) -> None:
        """Read `tokenizer.json`.

        Raises:
            BundleCorrupt: the tokenizers library refuses the file.
        """
        self.max_tokens = max_tokens
        self.native = _open(path)
        self._words = Words.of(self.native)
        model = self.native.model
        self.marks_continuation = bool(getattr(model, "continuing_subword_prefix", None))
        """Pieces that continue a word are written with a prefix, as in WordPiece."""
        unknown = getattr(model, "unk_token", None)
        self.unknown: str | None = unknown if isinstance(unknown, str) else None
        """The piece that stands for words that cannot be written otherwise, where there is one."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._waiting: list[_Job] = []
        self._is_busy = False

    async def encode(
        self,
        texts: Sequence[Text],
        truncation: Truncation,
        *,
        offsets: bool = False,
        named: Named = in_texts,
    ) -> list[TokenizedText]:
        """Tokenise, on the worker thread where it takes longer than going there.

        Args:
            texts: what to tokenise, in order.
            truncation: what to do beyond `max_tokens`. Of pairs only the second text is cut.
            offsets: also compute character offsets, which costs a third more.
            named: what errors call a text.

        Raises:
            InvalidRequest: a text that the tokenizer cannot take.
            TooLong: a text beyond the limit while truncation is refused, or the first of a pair
                that leaves no room for the second.
        """
        if sum(map(num_chars, texts)) <= DIRECT_CHARS:
            return self.encode_now(texts, truncation, offsets=offsets, named=named)
        return await self.on_worker(
            partial(self.encode_now, texts, truncation, offsets=offsets, named=named)
        )

    def encode_now(
        self,
        texts: Sequence[Text],
        truncation: Truncation,
        *,
        offsets: bool = False,
        named: Named = in_texts,
    ) -> list[TokenizedText]:
        """Tokenise on the calling thread; see `encode`."""
        found = {} if offsets else self._by_words(texts)
        left = [index for index in range(len(texts)) if index not in found]
        if left:
            encode = self.native.encode_batch if offsets else self.native.encode_batch_fast
            encodings: list[Encoding] = encode([texts[index] for index in left])
            for index, encoding in zip(left, encodings, strict=True):
                found[index] = (
                    TokenizedText(encoding)
                    if 0 < len(encoding) <= self.max_tokens
                    else self._limit(named(index), texts[index], encoding, truncation)
                )
        return [found[index] for index in range(len(texts))]

    def _by_words(self, texts: Sequence[Text]) -> dict[int, TokenizedText]:
        """Return the texts whose words say what their tokens are, and that fit."""
        found: dict[int, TokenizedText] = {}
        for index, text in enumerate(texts):
            if self._words is None or not isinstance(text, str):
                continue
            tokenized = self._words.tokenized(text)
            if tokenized is not None and 0 < len(tokenized) <= self.max_tokens:
                found[index] = tokenized
        return found

    def _limit(
        self, name: str, text: Text, encoding: Encoding, truncation: Truncation
    ) -> TokenizedText:
        surplus = len(encoding) - self.max_tokens
        if not len(encoding):
            raise InvalidRequest(f"{name} has no tokens; leave it out")
        if truncation is Truncation.REFUSE:
            raise TooLong(
                f"{name} has {len(encoding)} tokens, the model takes at most "
                f"{self.max_tokens}; shorten it or ask for truncation"
            )
        places = places_of(encoding, 0 if isinstance(text, str) else 1)
        if surplus >= len(places):
            raise TooLong(
                f"{name}: the first text leaves no room for the second within "
                f"{self.max_tokens} tokens; shorten it"
            )
        dropped = set(
            places[-surplus:] if truncation is Truncation.KEEP_START else places[:surplus]
        )
        return TokenizedText(
            encoding, [place for place in range(len(encoding)) if place not in dropped]
        )

    def token_of(self, text: str) -> int | None:
        """Return the id of what is one token, as the vocabulary writes it or as text."""
        token: int | None = self.native.token_to_id(text)
        if token is not None:
            return token
        if len(text) > MAX_TOKEN_CHARS:
            return None
        encoding = self.native.encode(text, add_special_tokens=False)
        is_known = len(encoding) == 1 and encoding.tokens[0] != self.unknown
        return int(encoding.ids[0]) if is_known else None

    async def on_worker(self, work: Callable[[], R]) -> R:
        """Call a function on the worker thread and return what it returns."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(work, done))
        if not self._is_busy:
            self._start()
        return await done

    def _start(self) -> None:
        jobs = [job for job in self._waiting if not job.done.done()]
        self._waiting = []
        self._is_busy = bool(jobs)
        if jobs:
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._executor, _work, jobs)
            running.add_done_callback(partial(self._finish, jobs))

    def _finish(self, jobs: Sequence[_Job], running: asyncio.Future[list[Any | Exception]]) -> None:
        self._start()
        failure = running.exception()
        results = [failure] * len(jobs) if failure else running.result()
        for job, result in zip(jobs, results, strict=True):
            if job.done.done():
                continue  # the caller went away meanwhile
            if isinstance(result, BaseException):
                job.done.set_exception(result)
            else:
                job.done.set_result(result)

    def close(self) -> None:
        """End the worker thread."""
        self._executor.shutdown(wait=True)


def _work(jobs: Sequence[_Job]) -> list[Any | Exception]:
    results: list[Any | Exception] = []
    for job in jobs:
        try:
            results.append(job.work())
        # The library raises bare Exception for texts that it cannot take: this caller's alone.
        except Exception as error:  # noqa: BLE001
            results.append(error)
    return results


def num_chars(text: Text) -> int:
    """Return what a text costs to encode, in characters."""
    chars = len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
    return chars + CHARS_PER_TEXT


def places_of(encoding: Encoding, part: int) -> list[int]:
    """Return the places of the tokens of the first text, 0, or of the second, 1."""
    return [place for place, of in enumerate(encoding.sequence_ids) if of == part]


def _open(path: Path) -> NativeTokenizer:
    try:
        tokenizer = NativeTokenizer.from_file(str(path))
    # The library raises bare Exception for every kind of bad file.
    except Exception as error:
        raise BundleCorrupt(f"{path.name}: the tokenizer cannot be read: {error}") from error
    # Many published files carry settings of whoever saved them last.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
