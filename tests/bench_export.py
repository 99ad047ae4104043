"""`make bench-export`: MiniLM as heed exports it against what else one could serve.

CPU time of one thread, interleaved in one process, all opened with the server's session settings:
the bundles of heed, torch's own export without fusion, and that of ONNX Runtime's transformer
optimiser, both with its default optimisations. All give normalised means.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from onnxruntime.transformers import optimizer
from rich.console import Console
from transformers import AutoModel, PreTrainedModel

from export import pipeline
from export.locate import locate
from export.progress import Progress
from export.proof import speed
from export.proof.case import Feeds
from export.proof.speed import Candidate, Shape
from server.repository.bundle import Bundle
from server.repository.manifest import Precision

UNFUSED, OPTIMISED = "torch export, unfused", "ONNX Runtime's optimiser"
BUNDLES: tuple[Precision, ...] = ("fp32", "int8")
_VOCABULARY = 30_000


def main() -> int:
    """Export everything, measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="make bench-export", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="to measure (default: 60)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as directory:
        candidates = [*_bundles(Path(directory)), *_others(Path(directory))]
        measured = speed.compare(candidates, _feeds, budget_s=options.seconds)
    sys.stdout.write(_table(measured) + "\n")
    return 0


def _bundles(directory: Path) -> list[Candidate]:
    found = []
    for precision in BUNDLES:
        request = pipeline.Request(
            "minilm", task="embed", name=precision, out=directory, precision=precision
        )
        bundle, report = pipeline.run(request, Progress(Console(stderr=True)))
        Console(stderr=True).print(report.table())
        found.append(_candidate(precision, bundle))
    return found


def _candidate(name: str, bundle: Bundle) -> Candidate:
    disabled = bundle.manifest.sessions["cpu"].disabled_optimizers
    return Candidate(f"heed {name}", bundle.model_path, disabled)


def _others(directory: Path) -> list[Candidate]:
    model: PreTrainedModel = AutoModel.from_pretrained(
        locate("minilm").directory, attn_implementation="eager"
    )
    model.eval()  # type: ignore[no-untyped-call]  # transformers annotates in part
    ids = torch.ones((2, 8), dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": ids.clone(), "token_type_ids": ids - 1}
    unfused = directory / "unfused.onnx"
    rows, length = torch.export.Dim("rows"), torch.export.Dim("length")
    sentences = _Sentences(model)
    torch.onnx.export(
        sentences,
        (),
        str(unfused),
        kwargs=inputs,
        dynamic_shapes={name: {0: rows, 1: length} for name in inputs},
        dynamo=True,
        opset_version=20,
    )
    # The optimiser's patterns fit what the older exporter writes, and only with eager attention.
    scripted = directory / "scripted.onnx"
    torch.onnx.export(
        sentences,
        tuple(inputs.values()),
        str(scripted),
        input_names=list(inputs),
        output_names=["sentence_embedding"],
        dynamic_axes={name: {0: "rows", 1: "length"} for name in inputs},
        dynamo=False,
        opset_version=17,
    )
    config = model.config
    fused = optimizer.optimize_model(
        str(scripted), "bert", config.num_attention_heads, config.hidden_size
    )
    counted = fused.get_fused_operator_statistics()
    if counted["Attention"] + counted["MultiHeadAttention"] != config.num_hidden_layers:
        raise SystemExit(f"ONNX Runtime's optimiser fused only {counted}")
    optimised = directory / "optimised.onnx"
    fused.save_model_to_file(str(optimised))
    return [Candidate(UNFUSED, unfused), Candidate(OPTIMISED, optimised)]


class _Sentences(torch.nn.Module):
    """The model with pooling and norm, and the positional inputs that the older exporter wants."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Return one normalised mean for each row."""
        output = self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        )
        mask = attention_mask.unsqueeze(-1).to(torch.float32)
        sums = (output.last_hidden_state * mask).sum(dim=1)
        return torch.nn.functional.normalize(sums / mask.sum(dim=1).clamp(min=1e-9))


def _feeds(shape: Shape) -> Feeds:
    sizes = (shape.rows, shape.length)
    ones = np.ones(sizes, np.int64)
    return {
        "input_ids": np.random.default_rng(5).integers(1000, _VOCABULARY, sizes, np.int64),
        "segment_ids": ones,
        "attention_mask": ones,
        "token_type_ids": ones - 1,
        "position_ids": np.broadcast_to(np.arange(shape.length), sizes).copy(),
    }


def _table(measured: speed.Measurements) -> str:
    shapes = list(speed.SHAPES)
    lines = [
        "| CPU ms of one run, one thread | " + " | ".join(map(str, shapes)) + " |",
        "|---|" + "---|" * len(shapes),
    ]
    for name in measured.seconds:
        figures = (f"{1e3 * measured.median(name, shape):.2f}" for shape in shapes)
        lines.append(f"| {name} | " + " | ".join(figures) + " |")
    for name, baseline in (
        ("heed fp32", UNFUSED),
        ("heed fp32", OPTIMISED),
        ("heed int8", "heed fp32"),
    ):
        ratios = (f"{measured.speedup(name, baseline, shape):.2f}x" for shape in shapes)
        lines.append(f"| {name} against {baseline} | " + " | ".join(ratios) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
