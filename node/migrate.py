"""``python -m node.migrate DATA_DIR``: the migration as a process of its own.

The URL of the database comes by standard input: everybody on the machine may read the arguments of a
process, and a URL may hold a password.
"""

from __future__ import annotations

import sys
from pathlib import Path

from node import jobs, schema
from node.database import connect


def main(data_dir: str) -> None:
    """Bring the database up to date whose URL standard input tells."""
    schema.migrate(connect(sys.stdin.read().strip()), Path(data_dir), jobs.migrate)


if __name__ == "__main__":
    main(*sys.argv[1:])
