"""Runs the real supervisor with fake children and short times.

launch.py FILE RUN_DIR SETTINGS [ONLY]
"""

import json
import sys
from pathlib import Path

from fastvrrp.supervisor import main as supervisor
from fastvrrp.supervisor import process, start
from fastvrrp.supervisor.destinations import Destinations
from fastvrrp.supervisor.reading import Wanted
from fastvrrp.supervisor.roles import ROLES
from fastvrrp.supervisor.spawn import Settings

supervisor.ORPHAN_SWEEP_S = 0.1
process.Orphans.__init__.__kwdefaults__["grace_s"] = 0.3

FAKE = Path(__file__).with_name("fake_child.py")

run_dir = Path(sys.argv[2])
raise SystemExit(
    start.run(
        start.Options(
            wanted=Wanted(Path(sys.argv[1]), only=sys.argv[4] if len(sys.argv) > 4 else None),
            run_dir=run_dir,
            log=Destinations(level="debug"),
            children=[
                Settings(
                    run_dir=run_dir,
                    role=role._replace(argv=(sys.executable, "-P", str(FAKE), role.name)),
                    **{
                        "ask_s": 0.25,
                        "hang_limit_s": 1.0,
                        "call_timeout_s": 0.5,
                        "backoff_s": (0.0, 0.2, 0.4),
                    }
                    | json.loads(sys.argv[3]),
                )
                for role in ROLES
            ],
        )
    )
)
