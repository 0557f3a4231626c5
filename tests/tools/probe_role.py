"""Runs ``ainode`` with the given arguments until the role is ready, then says on standard output what it has loaded.

``python -m tests.tools.probe_role DATABASE_URL run --role clerk --config FILE``
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from tests.tools.roles import ready_pids
from tests.tools.waiting import wait_until


def main() -> None:
    url = sys.argv.pop(1)

    def probe() -> None:
        try:
            wait_until(lambda: os.getpid() in ready_pids(url), 60)
            print(*sorted({name.partition(".")[0] for name in sys.modules}), flush=True)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=probe, daemon=True).start()
    from node.__main__ import main as ainode

    ainode()


if __name__ == "__main__":
    main()
