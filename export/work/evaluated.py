"""An answered evaluation as bytes, and back without trusting them.

Evaluations are objects of many classes that hold a tokenizer and arrays, so they are pickled. A
pickle may name any function to call; this reader knows the classes of evaluations and what arrays,
paths and tokenizers are made with.
"""

import io
import pickle

from export.evaluation.prepared import Prepared

_PACKAGES = ("export.evaluation.", "export.quality.", "export.proof.", "server.repository.")
_NAMES = frozenset(
    {
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("pathlib", "PosixPath"),
        ("pathlib._local", "PosixPath"),
        ("tokenizers", "Tokenizer"),
    }
)


class Untrusted(ValueError):
    """The bytes name something that is no part of an evaluation."""


def encode(evaluation: Prepared | None) -> bytes:
    """Return an evaluation as bytes."""
    return pickle.dumps(evaluation, protocol=5)


def decode(data: bytes) -> Prepared | None:
    """Return the evaluation that was encoded.

    Raises:
        Untrusted: the bytes are not what `encode` wrote.
    """
    try:
        found = _Reader(io.BytesIO(data)).load()
    except Untrusted:
        raise
    # Damaged bytes raise whatever the damage leads to.
    except Exception as error:
        raise Untrusted(f"not an evaluation: {error}") from error
    if not isinstance(found, Prepared | None):
        raise Untrusted(f"not an evaluation but {type(found).__name__}")
    return found


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _NAMES:
            return super().find_class(module, name)
        if module.startswith(_PACKAGES):
            found = super().find_class(module, name)
            # Of its own: a module also holds what it imports.
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise Untrusted(f"{module}.{name} is no part of an evaluation")
