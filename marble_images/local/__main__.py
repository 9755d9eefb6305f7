"""``python -m marble_images.local FOLDER PARENT_PID``: the child process of a local stack."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from marble_images.local.stand_ins import run

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    status = run(Path(sys.argv[1]), int(sys.argv[2]))
    # Threads may still serve requests that hang on purpose.
    os._exit(status)
