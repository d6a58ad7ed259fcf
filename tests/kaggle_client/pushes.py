"""Makes pushes where the stand-in of Kaggle answers: a request a line, as JSON, and a line with what came of it.

Pauses are counted in full and slept for half a second at the most, since the stand-in's kernels run in real time;
``interrupt`` is the number of the pause in which Ctrl-C is pressed.
"""

import contextlib
import dataclasses
import io
import json
import os
import sys
import time
import urllib.request
from pathlib import Path

from hpa_utils.running.kaggle import push, read_plan
from hpa_utils.running.kaggle.pushing import Client

PLAN = dataclasses.replace(read_plan(), owner="owner", push=("hpa-02-segmentation", "hpa-03-cell-crops"))


class Clock:
    """Seconds that pass in pauses only."""

    def __init__(self, interrupt: int):
        self.now, self.pauses, self.interrupt = 1000.0, [], interrupt

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        time.sleep(min(seconds, 0.5))
        self.pauses.append(seconds)
        if len(self.pauses) == self.interrupt:
            raise KeyboardInterrupt
        if len(self.pauses) > 80:
            sys.exit("it waits for ever")


def answer(request: dict) -> dict:
    """Push as the request says; returns what was printed, the error, and the pauses."""
    if request.get("reset"):
        urllib.request.urlopen(urllib.request.Request("http://127.0.0.1/reset", data=b"{}"))
    clock, out = Clock(request.get("interrupt", 0)), Path(request["out"])
    plan = dataclasses.replace(PLAN, **request.get("plan", {}))
    client = Client(out / "kaggle.log", request.get("patience", 7200.0), clock.sleep, lambda: clock.now)
    printed, error = io.StringIO(), ""
    with contextlib.redirect_stdout(printed):
        try:
            push(plan, out, **request.get("options", {}), client=client)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
    return {"printed": printed.getvalue(), "error": error, "pauses": clock.pauses}


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=replies, flush=True)
