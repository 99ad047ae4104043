"""Bring the checkpoint's tokenizer into the bundle as one `tokenizer.json`.

A fast tokenizer is copied byte for byte: padding and truncation in the file stay as they are, since
the server sets both itself. A slow one is converted by transformers. The result is opened with the
server's own tokenizer and must not produce ids outside the model's vocabulary.
"""

import json
import shutil
from pathlib import Path

from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from export.errors import CheckpointUnsupported
from server.text.tokenizer import Tokenizer, Truncation

TOKENIZER_NAME = "tokenizer.json"

_SLOW_FILES = ("vocab.txt", "vocab.json", "*.model")
_CASED_TEXT = "Ångström UND Straße: Attention Is All You Need"


def save_tokenizer(directory: Path, target: Path) -> Path:
    """Write `tokenizer.json` into `target` and return its path.

    Raises:
        CheckpointUnsupported: there is no tokenizer, or it has no fast form.
    """
    file = target / TOKENIZER_NAME
    if (directory / TOKENIZER_NAME).is_file():
        shutil.copyfile(directory / TOKENIZER_NAME, file)
    elif any(True for pattern in _SLOW_FILES for _ in directory.glob(pattern)):
        _convert_slow(directory, file)
    else:
        raise CheckpointUnsupported(
            f"{directory.name} has no tokenizer; put its {TOKENIZER_NAME} beside config.json"
        )
    return file


def mask_id(directory: Path) -> int | None:
    """Return the id of the mask token that the tokenizer's settings name, if any."""
    token = None
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = directory / name
        stated = json.loads(file.read_bytes()).get("mask_token") if file.is_file() else None
        token = token or (stated.get("content") if isinstance(stated, dict) else stated)
    file = directory / TOKENIZER_NAME
    if token is None or not file.is_file():
        return None
    content = json.loads(file.read_bytes())
    for added in content["added_tokens"]:
        if added["content"] == token:
            return int(added["id"])
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, list):
        vocabulary = {piece[0]: index for index, piece in enumerate(vocabulary)}
    found = vocabulary.get(token)
    return None if found is None else int(found)


def check_tokenizer(file: Path, *, vocabulary: int, max_tokens: int, lowercases: bool) -> None:
    """Check that a tokenizer belongs to a model.

    Raises:
        BundleCorrupt: the server could not read it.
        CheckpointUnsupported: it produces ids that the model does not know, or keeps case where
            the checkpoint lower-cases.
    """
    served = Tokenizer(file, max_tokens)
    try:
        upper, lower = served.encode_now([_CASED_TEXT, _CASED_TEXT.lower()], Truncation.KEEP_START)
    finally:
        served.close()
    if lowercases and upper.ids != lower.ids:
        raise CheckpointUnsupported(
            "sentence_bert_config.json sets do_lower_case, but the tokenizer keeps case; "
            "save the tokenizer with a lower-casing normalizer"
        )
    largest = _largest_id(file)
    if largest >= vocabulary:
        raise CheckpointUnsupported(
            f"{TOKENIZER_NAME} produces ids up to {largest}, the model knows {vocabulary}; "
            "the two do not belong together"
        )


class Encoder:
    """A checkpoint's tokenizer for the proof's own texts: one or two at a time, cut to a limit."""

    def __init__(self, file: Path, max_tokens: int) -> None:
        self._tokenizer = FastTokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def __call__(self, first: str, second: str | None = None) -> Encoding:
        """Encode a text or a pair, special tokens included."""
        return self._tokenizer.encode(first, second)


def _convert_slow(directory: Path, file: Path) -> None:
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except (ValueError, OSError, ImportError) as error:
        raise CheckpointUnsupported(f"the tokenizer cannot be loaded: {error}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise CheckpointUnsupported(
            f"{type(tokenizer).__name__} has no fast form; provide a {TOKENIZER_NAME}"
        )
    tokenizer.backend_tokenizer.save(str(file))


def _largest_id(file: Path) -> int:
    content = json.loads(file.read_bytes())
    vocabulary = content["model"]["vocab"]
    # Unigram models list their pieces in order of id; the others map piece to id.
    ids = range(len(vocabulary)) if isinstance(vocabulary, list) else vocabulary.values()
    added = (token["id"] for token in content["added_tokens"])
    return max((*ids, *added), default=0)
