"""Pushing with Kaggle's real command line, against a stand-in of the service whose scenario says what goes wrong."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY

STAND_IN = REPOSITORY.parent / "shared" / "tools" / "fake_kaggle" / "run.sh"
CLIENT = Path(tempfile.gettempdir()) / "hpa-kaggle-client-2.2.5"  # kept from one run of the tests to the next
HERE = Path(__file__).parent / "kaggle_client"
PUBLIC = ["rdizzl3/hpacellsegmentatormodelweights", "owner/pytorch-zoo"]
SEGMENTATION, CROPS = "owner/hpa-02-segmentation", "owner/hpa-03-cell-crops"


class Service:
    """The stand-in and a process beside it that pushes."""

    def __init__(self, folder: Path):
        self.folder, self.fresh = folder, True
        folder.mkdir()
        script = folder / "script.sh"
        lines = [
            f"export READY={folder}/ready.socket PATH={HERE}:$PATH",
            f"{CLIENT}/bin/python {HERE}/ready.py & ready=$!",
        ]
        lines += ["while ! test -e $READY; do sleep 0.1; done"]
        lines += [f"PYTHONPATH={REPOSITORY} {sys.executable} {HERE}/pushes.py; kill $ready"]
        script.write_text("\n".join(lines))
        self.happens()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(["bash", str(STAND_IN), str(folder), str(script)], **pipes)

    def happens(self, **scenario) -> None:
        """What goes wrong from now on."""
        content = {"public": PUBLIC, "kernel_seconds": 0, "dataset_seconds": 0, **scenario}
        (self.folder / "scenario.json").write_text(json.dumps(content))

    def push(self, out: Path, **request) -> dict:
        """Push what is staged in `out`; a test's first push finds the service empty."""
        print(json.dumps({"out": str(out), "reset": self.fresh, **request}), file=self.process.stdin, flush=True)
        self.fresh = False
        return json.loads(self.process.stdout.readline())

    def sent(self) -> list[str]:
        """Slugs of what was created there, in order; of all pushes of a test."""
        lines = (self.folder / "requests.jsonl").read_text().splitlines()
        calls = [call for call in map(json.loads, lines) if "answer" not in call]
        kinds = ("CreateDataset", "CreateDatasetVersion", "SaveKernel")
        sent = [call["req"] for call in calls if call.get("call") in kinds]
        return [request.get("datasetSlug") or request["slug"].split("/")[-1] for request in sent]


@pytest.fixture(scope="module")
def stand_in(made_once, tmp_path_factory):
    """The service; skips where it, its client or namespaces are not to be had."""
    if not STAND_IN.is_file():
        pytest.skip("shared/tools/fake_kaggle is not there")
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("namespaces are not allowed here")

    def install(ready):
        ready.mkdir()
        if not (CLIENT / "bin" / "kaggle").is_file():
            subprocess.run([sys.executable, "-m", "venv", CLIENT], check=True)
            pip = [CLIENT / "bin" / "python", "-m", "pip", "install", "--quiet", "kaggle==2.2.5", "six"]
            subprocess.run(pip, check=True, capture_output=True)

    try:
        made_once("kaggle_client", install)
    except subprocess.CalledProcessError:
        pytest.skip("Kaggle's client cannot be installed here")
    service = Service(tmp_path_factory.mktemp("kaggle") / "service")
    yield service
    service.process.stdin.close()
    service.process.wait(timeout=20)


@pytest.fixture
def service(stand_in):
    stand_in.fresh = True
    stand_in.happens()
    return stand_in


@pytest.fixture
def out(tmp_path):
    """A staged folder with a library of one file and two kernels, the second of which reads the first."""
    out = tmp_path / "staged"
    told = {"title": "hpa utils", "id": "owner/hpa-utils", "licenses": [{"name": "MIT"}]}
    write(out / "hpa-utils" / "dataset-metadata.json", told)
    (out / "hpa-utils" / "code.py").write_text("1")
    for identity, sources in ((SEGMENTATION, []), (CROPS, [SEGMENTATION])):
        slug = identity.split("/")[1]
        told = {"id": identity, "title": slug.replace("-", " "), "code_file": "one.ipynb", "language": "python"}
        told |= {"kernel_type": "notebook", "dataset_sources": ["owner/hpa-utils"], "kernel_sources": sources}
        write(out / slug / "kernel-metadata.json", told)
        write(out / slug / "one.ipynb", {"cells": []})
    return out


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_second_push_leaves_alone_what_is_complete_and_unchanged(service, out):
    service.happens(fail={"ListDataFiles": [{"times": 9, "code": 200}]})
    done = service.push(out)
    assert not done["error"] and service.sent() == ["hpa-utils", "hpa-02-segmentation", "hpa-03-cell-crops"]
    outputs = out / "outputs" / "hpa-02-segmentation"
    assert (outputs / "submission.csv").is_file() and (outputs / "hpa-02-segmentation.log").read_text() == "hello\n"
    again = service.push(out)
    assert not again["error"] and len(service.sent()) == 3 and not again["pauses"]
    assert f"{CROPS}: unchanged and complete, left alone" in again["printed"]


def test_what_changed_is_pushed_again_with_what_reads_it(service, out):
    service.push(out)
    write(out / "hpa-02-segmentation" / "one.ipynb", {"cells": [], "changed": True})
    service.push(out)
    assert service.sent()[3:] == ["hpa-02-segmentation", "hpa-03-cell-crops"]
    (out / "hpa-utils" / "code.py").write_text("2")
    service.push(out)
    assert service.sent()[5:] == ["hpa-utils"]  # kernels that ran well with the library before are not run again
    service.push(out, options={"start": "hpa-03-cell-crops"})
    assert service.sent()[6:] == ["hpa-03-cell-crops"]  # named


def test_after_a_failure_the_push_goes_on_there(service, out):
    service.happens(end={"hpa-03-cell-crops": "ERROR"})
    failed = service.push(out)
    assert "owner/hpa-03-cell-crops ended as error: Your notebook tried to allocate more memory" in failed["error"]
    service.happens()
    assert not service.push(out)["error"]
    assert service.sent()[3:] == ["hpa-03-cell-crops"]


def test_busy_moments_are_waited_out_and_not_taken_for_an_answer(service, out):
    busy = [{"after": 0, "times": 2, "code": 429}, {"after": 2, "times": 1, "code": 503}]
    calls = ("GetDatasetStatus", "SaveKernel", "GetKernelSessionStatus")
    service.happens(fail={call: busy for call in calls})
    done = service.push(out)
    assert not done["error"] and service.sent() == ["hpa-utils", "hpa-02-segmentation", "hpa-03-cell-crops"]
    assert done["pauses"][:2] == [15, 30] and "again in 15 s" in done["printed"]


def test_patience_ends_and_a_refusal_is_not_repeated(service, out):
    service.happens(fail={"GetDatasetStatus": [{"times": 99, "code": 500}]})
    done = service.push(out, patience=40.0)
    assert done["error"].startswith("NoAnswer") and done["pauses"] == [15, 30]
    service.happens(push_error={"hpa-02-segmentation": "Maximum weekly GPU quota of 30.00 hours reached"})
    done = service.push(out)
    assert "was not sent as it should be: Kernel push error: Maximum weekly GPU quota" in done["error"]
    assert "hpa-03-cell-crops" not in service.sent()


def test_a_library_whose_processing_failed_is_an_error(service, out):
    service.happens(dataset_end="FAILED", public=PUBLIC)
    done = service.push(out)
    assert "owner/hpa-utils ended as failed" in done["error"] and service.sent() == ["hpa-utils"]


def test_the_end_of_the_version_before_is_not_taken_for_this_ones(service, out):
    service.push(out)
    write(out / "hpa-02-segmentation" / "one.ipynb", {"cells": [], "changed": True})
    service.happens(stale=True, kernel_seconds=2, end={"hpa-02-segmentation": "ERROR"})
    time.sleep(3)  # the version before is over by then, by the new duration, too
    done = service.push(out, options={"wait": 5})
    assert "owner/hpa-02-segmentation ended as error" in done["error"]
    assert service.sent()[3:] == ["hpa-02-segmentation"]


def test_ctrl_c_says_what_runs_and_the_next_push_waits_for_it(service, out):
    service.happens(kernel_seconds=20)
    stopped = service.push(out, interrupt=2, options={"only": ["hpa-02-segmentation"]})
    assert f"{SEGMENTATION} still runs there, and only its page can stop it (https://www.kag" in stopped["error"]
    assert f"`kaggle-stage --out {out} --push --only hpa-02-segmentation` goes on" in stopped["error"]
    service.happens(kernel_seconds=8)
    done = service.push(out, options={"only": ["hpa-02-segmentation"]})
    assert not done["error"] and service.sent() == ["hpa-utils", "hpa-02-segmentation"]
    assert "sent before, its end is waited for" in done["printed"]


def test_other_content_is_not_run_beside_a_session(service, out):
    service.happens(kernel_seconds=60)
    service.push(out, interrupt=2)
    write(out / "hpa-02-segmentation" / "one.ipynb", {"cells": [], "changed": True})
    refused = service.push(out)
    assert f"{SEGMENTATION} runs there, with other content" in refused["error"] and len(service.sent()) == 2


def test_what_is_lacking_is_listed_before_anything_is_pushed(service, out):
    service.happens(public=PUBLIC[1:], fail={"ListDataFiles": [{"times": 9, "code": 403}]})
    error = service.push(out, options={"only": ["hpa-02-segmentation", "hpa-04-train"]})["error"]
    assert "rdizzl3/hpacellsegmentatormodelweights (dataset) is not there" in error
    assert "hpa-03-cell-crops (kernel) is not there" in error and "efficientnet-weights (dataset)" in error
    assert "accept its rules" in error and "pytorch-zoo" not in error and service.sent() == []
    assert "but the token is that of 'owner'" in service.push(out, plan={"owner": "jane"})["error"]
    assert "owner is still the sample" in service.push(out, plan={"owner": "your-kaggle-name"})["error"]
    assert "no kernel 'x' to push; there are hpa-02" in service.push(out, options={"start": "x"})["error"]


def test_without_a_run_the_kernels_are_saved_and_nothing_is_waited_for(service, out):
    done = service.push(out, options={"run": False})
    assert not done["error"] and "successfully saved without running" in done["printed"]
    assert service.sent() == ["hpa-utils", "hpa-02-segmentation", "hpa-03-cell-crops"]
