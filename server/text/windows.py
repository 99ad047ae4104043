"""A question with one part of a long context after the other, in windows that overlap."""

from server.errors import InvalidRequest, TooLong
from server.text.tokenized import TokenizedText
from server.text.tokenizer import Tokenizer, places_of

MAX_WINDOW = 384
"""Longest window of question and context, in tokens, and what two windows share where the caller
does not say: those of SQuAD's models (Devlin et al., 2018)."""
STRIDE = 128


def windows(
    tokenizer: Tokenizer,
    question: str,
    context: str,
    stride: int | None,
    *,
    name: str,
    most: int,
) -> list[TokenizedText]:
    """Encode a question and a context, with offsets, in as many windows as it takes.

    Args:
        tokenizer: of the bundle.
        question: in every window.
        context: cut into parts, the last of which may be shorter.
        stride: tokens that neighbours share; None for 128, or half of the room where that is less.
        name: what errors call the context.
        most: windows that may be made.

    Raises:
        TooLong: the question leaves no room.
        InvalidRequest: a stride that leaves a window nothing new, or too many windows.
    """
    encoding = tokenizer.native.encode(question, context)
    places = places_of(encoding, 1)
    limit = min(tokenizer.max_tokens, MAX_WINDOW)
    room = limit - (len(encoding) - len(places))
    if room < 1:
        raise TooLong(
            f"question leaves no room for {name}: it has {len(encoding) - len(places)} tokens, "
            f"special ones included, and a window takes {limit}; shorten it"
        )
    if stride is None:
        stride = min(STRIDE, room // 2)
    if stride >= room:
        raise InvalidRequest(
            f"stride is {stride}; beside this question a window has room for {room} tokens of "
            f"{name}, so it must be below that"
        )
    starts = range(0, max(1, len(places) - stride), room - stride)
    if len(starts) > most:
        raise InvalidRequest(
            f"windows needed for {name}: {len(starts)}, left of what a call may have: {most}; "
            "split the call or lower stride"
        )
    if len(starts) == 1:
        return [TokenizedText(encoding)]
    before, behind = range(places[0]), range(places[-1] + 1, len(encoding))
    return [
        TokenizedText(encoding, [*before, *places[start : start + room], *behind])
        for start in starts
    ]
