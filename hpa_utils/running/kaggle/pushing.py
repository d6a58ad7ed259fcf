"""Pushing: the library, then each kernel when the one before is complete; ``pushed.json`` keeps what was done."""

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpa_utils.paths import REPOSITORY, write_json
from hpa_utils.running.kaggle.schema import SAMPLE_OWNER, Plan

# the client prints a hint for each of these, and the HTTP status only if the service said nothing else; when it could
# not have its token checked, it ends in a traceback
PASSING = re.compile(
    "rate limited|problem on Kaggle's side|(408|429|5..) [A-Z][a-z]+ Error|timed out|Connection ?(Error|aborted|re)"
    "|Max retries exceeded|_introspect_token"
)
NOT_THERE = re.compile("don't have access to this resource|resource was not found|Cannot access kernel|40[34] Client")
ENDS = ("complete", "error", "cancel_acknowledged", "ready", "failed", "deleted", "")  # what a status stays at
SETTLED = 60.0  # s after a push, in which an end may be that of the version before
FETCHED = r"\.(csv|json|html|ipynb)$"  # of a kernel's output; the tables of cells and crops are gigabytes


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


def push(
    plan: Plan,
    out: str | Path,
    start: str = "",
    only: tuple[str, ...] = (),
    run: bool = True,
    wait: float = 60.0,
    client: Client | None = None,
) -> None:
    """Upload the library, then push the kernels of ``plan.push``: from `start` on, or `only` these.

    Each waits for the end of the one before, which is looked for every `wait` seconds. What is complete and unchanged
    is left alone, unless named; what runs there already is waited for. Without `run`, kernels are saved for who presses
    Run. Small files of each output come into ``outputs/`` of the staged folder `out`.

    ValueError lists, before anything is uploaded, what is lacking there. RuntimeError: something was refused or failed
    there, or Ctrl-C was pressed; it says what runs there and how to go on.
    """
    if not shutil.which("kaggle"):
        raise FileNotFoundError("there is no `kaggle` command: pip install kaggle")
    rest = [kernel.slug for kernel in plan.kernels] if only else list(plan.push)
    for slug in [*only, *([start] if start else [])]:
        if slug not in rest:
            raise ValueError(f"there is no kernel {slug!r} to push; there are {', '.join(rest)}")
    rest = [slug for slug in rest if slug in only] if only else rest[rest.index(start) if start else 0 :]
    pushing = _Pushing(plan, Path(out), client or Client(Path(out) / "kaggle.log"), wait)
    try:
        check_sources(plan, rest, pushing.client)
        pushing.upload_library()
        while rest:
            pushing.push_kernel(rest[0], bool(start or only), run)
            rest = rest[1:]
    except KeyboardInterrupt:
        named = f" --only {','.join(rest)}" if only else f" --from {rest[0]}" if start else ""
        going_on = f"`kaggle-stage --out {out} --push{named}` goes on, and starts nothing twice"
        left = "nothing runs there"
        if rest and pushing.noted(rest[0])["status"] in ("sending", "sent"):
            page = f"https://www.kaggle.com/code/{plan.owner}/{rest[0]}"
            left = f"{plan.owner}/{rest[0]} still runs there, and only its page can stop it ({page})"
        raise RuntimeError(f"stopped looking; {left}; {going_on}") from None


def check_sources(plan: Plan, slugs: list[str], client: Client) -> None:
    """Ask for everything that the kernels need and that no push makes; ValueError lists what is lacking."""
    if plan.owner == SAMPLE_OWNER:
        raise ValueError('owner is still the sample: put your Kaggle name into "owner" of kaggle-metadata.json')
    user = re.search(r"username: (\S+)", client.patiently(lambda: client.once("config", "view")))
    if user and user[1] not in (plan.owner, "None"):
        raise ValueError(f"owner in kaggle-metadata.json is {plan.owner!r}, but the token is that of {user[1]!r}")
    kernels, lacking = [plan.kernel(slug) for slug in slugs], []
    needed = [("datasets", name) for kernel in kernels for name in kernel.datasets if name != plan.library.slug]
    needed += [("kernels", name) for kernel in kernels for name in kernel.sources if name not in slugs]
    resumed = {kernel.resume_from for kernel in kernels}  # what was cut there may have any status
    for kind, name in dict.fromkeys(needed):
        status, _ = client.status(kind, name if "/" in name else f"{plan.owner}/{name}")
        if status not in ("ready", "complete") and not (status and name in resumed):
            found = f"has the status {status}" if status else "is not there, or not yours to see"
            lacking += [f"{name} ({kind[:-1]}) {found}"]
    for words in (["competitions", "files", plan.competition, "-q", "--page-size", "1"], ["quota"]):
        try:
            said = client.once(*words)
        except NotThere:
            lacking += [f"the competition {plan.competition} is not open to you: accept its rules"]
        except NoAnswer as error:
            print(f"not checked: {error}", flush=True)
        else:
            print(said if words == ["quota"] else f"{plan.competition}: its data are there", flush=True)
            if re.search(r"^GPU +\S+ +0\.00h", said, re.MULTILINE) and any(kernel.gpu for kernel in kernels):
                lacking += ["no GPU hours are left this week"]
    if lacking:
        raise ValueError(f"nothing was pushed: {'; '.join(lacking)} (docs/kaggle.md, steps 2 to 6)")


class _Pushing:
    """A push under way. `state` is of each data set and kernel: digest, status, version, since (Unix time)."""

    def __init__(self, plan: Plan, out: Path, client: Client, wait: float):
        self.plan, self.out, self.client, self.wait = plan, out, client, wait
        self.path = out / "pushed.json"
        self.state = json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {}

    def upload_library(self) -> None:
        slug = self.plan.library.slug
        place = ["-p", str(self.out / slug), "-r", "zip"]  # folders are left out unless zipped
        described = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
        commit = subprocess.run(described, capture_output=True, text=True).stdout.strip() or "staged"
        create = ["create", *place, *(["--public"] if self.plan.public else [])]
        self._bring("datasets", slug, _digest(self.out / slug), "ready", create, ["version", *place, "-m", commit])

    def push_kernel(self, slug: str, again: bool, run: bool) -> None:
        """Push a kernel, unless it runs there or is complete and need not run `again`, and wait for its end."""
        sources = [self.noted(source)["version"] for source in self.plan.kernel(slug).kernels]
        digest = f"{_digest(self.out / slug)} {sources}"  # a source that was pushed anew is a change, too
        words = ["push", "-p", str(self.out / slug)]
        if not run:
            said = self.client.patiently(lambda: self.client.once("kernels", *words, "--no-run"))
            if "successfully saved" not in said:
                raise RuntimeError(f"{slug} was not saved: {said}")
            print(said, flush=True)  # it also says which outputs are to be attached by hand
            self._note(slug, digest=digest, status="saved", version=0)
            return
        self._bring("kernels", slug, digest, "complete", words, words, again)
        if slug == "submit":
            place = f"{self.plan.competition} -k {self.plan.owner}/submit -v {self.noted(slug)['version']}"
            print(f"to the leaderboard: kaggle competitions submit {place} -f submission.csv -m hpa", flush=True)

    def _bring(self, kind: str, slug: str, digest: str, good: str, first: list, later: list, again=False) -> None:
        """Send a data set or kernel by its `first` or a `later` command, unless that was done; wait until `good`."""
        identity = f"{self.plan.owner}/{slug}"

        def send() -> str:
            """What was done; after an answer that was lost it is called again, and finds what came there."""
            noted, (there, _) = self.noted(slug), self.client.status(kind, identity)
            same = bool(there) and noted["digest"] == digest
            if same and there == good == noted["status"] and not again:
                return f"unchanged and {good}, left alone"
            if same and (there not in ENDS or noted["status"] == "sent"):
                self._note(slug, status="sent", version=noted["version"] if noted["status"] == "sent" else 0)
                return "sent before, its end is waited for"
            if kind == "kernels" and there not in ENDS:
                remedy = "wait for its end, or stop it on its page"
                raise RuntimeError(f"{identity} runs there, with other content than what is staged: {remedy}")
            self._note(slug, digest=digest, status="sending", version=0, since=self.client.clock())
            said = self.client.once(kind, *(later if there else first))
            if "session count" in said:  # more GPU sessions than an account may have at once
                raise NoAnswer(said)
            # the command ends well even if it was refused, or a source was left out
            done = re.search(r"Kernel version (\d+) successfully|is being created", said)
            if not done or "not valid" in said:
                self._note(slug, digest="", status="sent" if done else "refused")
                raise RuntimeError(f"{identity} was not sent as it should be: {said} ({self.client.log})")
            self._note(slug, status="sent", version=int(done[1] or 0))
            return said.splitlines()[-1]

        print(f"{identity}: {self.client.patiently(send)}", flush=True)
        if self.noted(slug)["status"] == "sent":
            self._wait_for(kind, slug, good)

    def _wait_for(self, kind: str, slug: str, good: str) -> None:
        identity, noted, seen = f"{self.plan.owner}/{slug}", self.noted(slug), ""
        asked = f"{identity}/{noted['version']}" if noted["version"] else identity
        while True:
            status, why = self.client.status(kind, asked)
            first = noted["version"] == 1 and status  # there is no version before
            if status in ENDS and (seen or first or self.client.clock() - noted["since"] >= SETTLED):
                break
            seen = seen if status in ENDS else status
            self.client.sleep(self.wait)
        print(f"{identity}: {status}", flush=True)
        self._note(slug, status=status)
        if kind == "kernels":
            self._fetch(slug, asked)
        if status != good:
            raise RuntimeError(f"{identity} ended as {status or 'lost'}: {why}; mend it and push again")

    def _fetch(self, slug: str, asked: str) -> None:
        """A kernel's log and the small files of its output; without an answer the push goes on."""
        folder = self.out / "outputs" / slug
        try:
            self.client.once("kernels", "output", asked, "-p", str(folder), "--file-pattern", FETCHED, "-o", "-q")
            log = folder / f"{slug}.log"  # a list of pieces, which nobody can read
            log.write_text("".join(piece["data"] for piece in json.loads(log.read_text(encoding="utf-8"))), "utf-8")
        except (RuntimeError, OSError, ValueError) as error:
            print(f"not fetched: {error}", flush=True)

    def noted(self, slug: str) -> dict:
        nothing = {"digest": "", "status": "", "version": 0, "since": 0.0}
        return nothing | self.state.get(f"{self.plan.owner}/{slug}", {})

    def _note(self, slug: str, **values) -> None:
        self.state[f"{self.plan.owner}/{slug}"] = self.noted(slug) | values
        write_json(self.path, self.state)


def _digest(folder: Path) -> str:
    """Of all files' names and contents, but for wheels, which are there unpacked, too, and hold times."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".whl"):
        total.update(f"{path.relative_to(folder)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
