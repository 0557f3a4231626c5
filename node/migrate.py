"""``python -m node.migrate URL DATA_DIR``: the migration as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from node import jobs, schema
from node.database import connect


def main(url: str, data_dir: str) -> None:
    """Bring the database at ``url`` up to date."""
    schema.migrate(connect(url), Path(data_dir), jobs.migrate)


if __name__ == "__main__":
    main(*sys.argv[1:])
