"""Text to token ids on worker threads, with the tokenizer of the bundle.

Never pads, and never cuts a text unless asked to. The event loop only waits.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Literal

# One call is one task on one worker; a second thread pool inside would fight the runs for cores.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Encoding
from tokenizers import Tokenizer as NativeTokenizer

from server.errors import BundleCorrupt, InvalidRequest, TooLong


class Truncation(Enum):
    """What to do with a text that is too long."""

    REFUSE = "refuse"
    KEEP_START = "keep_start"
    KEEP_END = "keep_end"


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as the model will see it, special tokens included."""

    encoding: Encoding
    truncated: bool

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        ids: list[int] = self.encoding.ids
        return ids


@dataclass(frozen=True, slots=True)
class _Job:
    """Texts of one call and who waits for them."""

    texts: Sequence[str]
    truncation: Truncation
    offsets: bool
    done: asyncio.Future[list[TokenizedText]]


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
        self._max_tokens = max_tokens
        self._whole = _open(path)
        self._cutting = {
            Truncation.KEEP_START: _open(path, max_tokens, "right"),
            Truncation.KEEP_END: _open(path, max_tokens, "left"),
        }
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._waiting: list[_Job] = []
        self._is_busy = False

    async def encode(
        self, texts: Sequence[str], truncation: Truncation, *, offsets: bool = False
    ) -> list[TokenizedText]:
        """Tokenise on the worker thread.

        Args:
            texts: what to tokenise, in order.
            truncation: what to do beyond `max_tokens`.
            offsets: also compute character offsets, which costs a third more.

        Raises:
            InvalidRequest: a text that the tokenizer cannot take.
            TooLong: a text beyond the limit while truncation is refused.
        """
        done: asyncio.Future[list[TokenizedText]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(texts, truncation, offsets, done))
        if not self._is_busy:
            self._start()
        return await done

    def _start(self) -> None:
        jobs = [job for job in self._waiting if not job.done.done()]
        self._waiting = []
        self._is_busy = bool(jobs)
        if jobs:
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._executor, self._encode_jobs, jobs)
            running.add_done_callback(partial(self._finish, jobs))

    def _encode_jobs(self, jobs: Sequence[_Job]) -> list[list[TokenizedText] | InvalidRequest]:
        results: list[list[TokenizedText] | InvalidRequest] = []
        for job in jobs:
            try:
                results.append(self.encode_now(job.texts, job.truncation, offsets=job.offsets))
            except InvalidRequest as error:
                results.append(error)
        return results

    def _finish(
        self,
        jobs: Sequence[_Job],
        running: asyncio.Future[list[list[TokenizedText] | InvalidRequest]],
    ) -> None:
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

    def encode_now(
        self, texts: Sequence[str], truncation: Truncation, *, offsets: bool = False
    ) -> list[TokenizedText]:
        """Tokenise on the calling thread; see `encode`."""
        encode = self._whole.encode_batch if offsets else self._whole.encode_batch_fast
        encodings: list[Encoding] = encode(list(texts))
        return [
            self._limit(index, texts[index], encoding, truncation)
            for index, encoding in enumerate(encodings)
        ]

    def _limit(
        self, index: int, text: str, encoding: Encoding, truncation: Truncation
    ) -> TokenizedText:
        if not encoding.ids:
            raise InvalidRequest(f"texts[{index}] has no tokens; leave it out")
        if len(encoding.ids) <= self._max_tokens:
            return TokenizedText(encoding, truncated=False)
        if truncation is Truncation.REFUSE:
            raise TooLong(
                f"texts[{index}] has {len(encoding.ids)} tokens, the model takes at most "
                f"{self._max_tokens}; shorten it or ask for truncation"
            )
        return TokenizedText(self._cutting[truncation].encode(text), truncated=True)

    def close(self) -> None:
        """End the worker threads."""
        self._executor.shutdown(wait=True)


def _open(
    path: Path, max_tokens: int | None = None, direction: Literal["left", "right"] = "right"
) -> NativeTokenizer:
    try:
        tokenizer = NativeTokenizer.from_file(str(path))
    # The library raises bare Exception for every kind of bad file.
    except Exception as error:
        raise BundleCorrupt(f"{path.name}: the tokenizer cannot be read: {error}") from error
    tokenizer.no_padding()
    if max_tokens is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_tokens, direction=direction)
    return tokenizer
