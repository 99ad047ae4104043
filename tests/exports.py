"""Run the exporter as a user does, and what it exported as a server does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from export.cli import main
from server.repository.bundle import Bundle
from server.runtime.session import Session, SessionConfig

TOLERANCE = 1e-5
"""Tighter than the export's own: FP32 sums in another order on vectors of length 1."""

Rows = Sequence[Sequence[Sequence[int]]]


def export_to(out: Path, model: Path, *options: str) -> int:
    """Run `heed-export MODEL --task embed --out OUT`, unmeasured, and return its exit code."""
    words = [str(model), "--task", "embed", "--out", str(out), "--no-measure", *options]
    return main(words)


def open_session(bundle: Bundle) -> Session:
    """Open the graph as the CPU provider serves it."""
    options = bundle.manifest.sessions["cpu"]
    config = SessionConfig(disabled_optimizers=options.disabled_optimizers)
    return Session(bundle.model_path, config)


def packed_feeds(bundle: Bundle, rows: Rows) -> dict[str, NDArray[np.generic]]:
    """Lay out rows of one or more sequences each, padded on the right."""
    length = max(sum(map(len, row)) for row in rows)
    text = bundle.manifest.text
    assert text is not None
    input_ids = np.full((len(rows), length), text.pad_id, np.int64)
    segment_ids = np.zeros_like(input_ids)
    position_ids = np.zeros_like(input_ids)
    for row, sequences in enumerate(rows):
        start = 0
        for segment, ids in enumerate(sequences, start=1):
            place = slice(start, start + len(ids))
            input_ids[row, place] = ids
            segment_ids[row, place] = segment
            position_ids[row, place] = text.position_offset + np.arange(len(ids))
            start += len(ids)
    return {"input_ids": input_ids, "segment_ids": segment_ids, "position_ids": position_ids}


def embed(session: Session, bundle: Bundle, rows: Rows) -> NDArray[np.float32]:
    """Run rows of one or more sequences each."""
    (vectors,) = session.run(packed_feeds(bundle, rows))
    return vectors.astype(np.float32)


def embed_in_torch(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], *, normalize: bool = True
) -> NDArray[np.float32]:
    """Mean pooling over each sequence alone, as sentence-transformers defines it."""
    vectors = []
    with torch.inference_mode():
        for ids in sequences:
            states = model(input_ids=torch.tensor([ids])).last_hidden_state
            vector = states.mean(dim=1)
            vectors.append(torch.nn.functional.normalize(vector) if normalize else vector)
    result: NDArray[np.float32] = torch.cat(vectors).numpy()
    return result
