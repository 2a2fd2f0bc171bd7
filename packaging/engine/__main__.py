"""``python3 packaging/engine``: see ``--help``."""

import sys
from pathlib import Path

if not __package__:  # started by its path: make the package importable by name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from engine.install import main  # the path above has to come first

if __name__ == "__main__":
    sys.exit(main())
