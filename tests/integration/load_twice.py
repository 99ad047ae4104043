"""Several runs on one fabric: `python load_twice.py TARGET WORKERS` prints what each came to."""

import json
import sys
from dataclasses import replace
from typing import Any

from loadtest.errors import RunFailed
from loadtest.fabric.run import Fabric, Finished, Plan
from loadtest.scenario.files import Overrides, load


def main(target: str, workers: int) -> None:
    scenario = load("server", Overrides(rate=100, duration_s=1, warmup_s=0))
    plan = Plan(name="server", scenario=scenario, target=target, model="stub", workers=workers)
    other = load("offline", Overrides(calls=40, warmup_s=0))
    found: list[Any] = []
    with Fabric(plan) as fabric:
        found += [told(fabric.run(plan)), told(fabric.run(plan))]
        try:
            fabric.run(replace(plan, model="none"))
        except RunFailed as error:
            found.append(str(error))
        found.append(told(fabric.run(replace(plan, scenario=other))))
    print(json.dumps(found))


def told(finished: Finished) -> dict[str, Any]:
    return {
        "calls": len(finished.calls),
        "workers": len(finished.shares),
        "disturbances": finished.disturbances,
    }


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
