"""What can go wrong with a run before it has a verdict. Each text says what to change."""


class RunFailed(Exception):
    """The run could not be done."""
