"""What the models are asked for the sake of an evaluation file: every text or pair once."""

from dataclasses import dataclass

from tokenizers import Encoding

from export.evaluation.tokenizer import Tokenizer
from export.proof.batches import TokenIds
from export.quality.examples import EvalFile


@dataclass(frozen=True, slots=True)
class Input:
    """One sequence and the line of the file that it stands on first."""

    line: int
    tokens: TokenIds


class Inputs:
    """Collects the inputs of a file."""

    def __init__(self, file: EvalFile, tokenizer: Tokenizer) -> None:
        self._file = file
        self._tokenizer = tokenizer
        self._collected: list[Input] = []
        self._places: dict[tuple[str, str | None], int] = {}
        self._num_cut = 0

    def place(self, row: int, first: str, second: str | None = None) -> int:
        """Return where the answer to a text or pair of an example will be.

        Raises:
            EvalFileInvalid: the tokenizer makes nothing of it.
        """
        key = first, second
        if key not in self._places:
            encoding = self._tokenizer.text(first, second)
            self._num_cut += bool(encoding.overflowing)
            self._places[key] = self.add(row, encoding)
        return self._places[key]

    def add(self, row: int, encoding: Encoding) -> int:
        """Add an input of an example and return where its answer will be.

        Raises:
            EvalFileInvalid: there are no tokens.
        """
        if not encoding.ids:
            raise self._file.invalid(row, "the tokenizer makes no tokens of this text")
        line = self._file.lines[row]
        self._collected.append(Input(line, self._tokenizer.ids(encoding)))
        return len(self._collected) - 1

    def tokens(self, place: int) -> TokenIds:
        """Return what is asked at a place."""
        return self._collected[place].tokens

    @property
    def collected(self) -> tuple[Input, ...]:
        """All inputs so far, by place."""
        return tuple(self._collected)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the figures should know."""
        if not self._num_cut:
            return ()
        note = (
            f"{self._num_cut} of the {len(self._collected)} texts of {self._file.path.name} were "
            f"cut to {self._tokenizer.max_tokens} tokens"
        )
        return (note,)
