"""Kaggle's command line, called with patience: what will pass is tried again, what is not there is told apart."""

import re
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# the client prints a hint for each of these, and the HTTP status only if the service said nothing else; when it could
# not have its token checked, it ends in a traceback
PASSING = re.compile(
    "rate limited|problem on Kaggle's side|(408|429|5..) [A-Z][a-z]+ Error|timed out|Connection ?(Error|aborted|re)"
    "|Max retries exceeded|_introspect_token"
)
NOT_THERE = re.compile("don't have access to this resource|resource was not found|Cannot access kernel|40[34] Client")


class NotThere(RuntimeError):
    """Kaggle has nothing of this name, or nothing that this account may see."""


class NoAnswer(RuntimeError):
    """Kaggle was too busy, broken or out of reach: later it may answer."""


@dataclass(frozen=True)
class Client:
    """The command ``kaggle``; all that it prints is kept in the file `log`."""

    log: Path
    patience: float = 7200.0  # s
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time

    def once(self, *words: str) -> str:
        """What a command prints; NotThere, NoAnswer or another RuntimeError if it fails."""
        try:
            limit = 300 if "status" in words else None  # s; an upload takes as long as it takes
            done = subprocess.run(["kaggle", *words], capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            done = subprocess.CompletedProcess(words, 1, "", "timed out")
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"$ kaggle {shlex.join(words)}\n{done.stdout}{done.stderr}\n")
        if not done.returncode:
            return done.stdout.strip()
        said = f"{done.stderr}{done.stdout}".strip() or "no reason given"
        line = said.splitlines()[-1 if re.match("Traceback|usage", said) else 0]
        kind = NotThere if NOT_THERE.search(said) else NoAnswer if PASSING.search(said) else RuntimeError
        raise kind(f"`kaggle {shlex.join(words)}` failed: {line} ({self.log})")

    def patiently(self, attempt: Callable[[], str]) -> str:
        """What `attempt` returns, which is tried again, at growing intervals, while it raises NoAnswer."""
        pause, end = 15.0, self.clock() + self.patience
        while True:
            try:
                return attempt()
            except NoAnswer as error:
                if self.clock() >= end:
                    raise
                print(f"{error}; again in {pause:.0f} s", flush=True)
            self.sleep(pause)
            pause = min(2 * pause, 300.0)

    def status(self, kind: str, identity: str) -> tuple[str, str]:
        """Of one of the ``datasets`` or ``kernels``: status, such as ready, and why it failed; empty: not there."""
        try:
            said = self.patiently(lambda: self.once(kind, "status", identity))
        except NotThere:
            return "", "it is not there"
        status = re.search(r'has status "(?:\w+\.)?(\w+)"', said) or re.search(r"(\w+)\W*$", said or "unknown")
        why = re.search(r'Failure message: "(.*)"', said)
        return status[1].lower(), why[1] if why else "no reason given"
