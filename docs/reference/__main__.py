"""Write the reference of all RPCs: `python -m docs.reference FILE`."""

import sys
from pathlib import Path

from docs.reference.reference import reference

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
