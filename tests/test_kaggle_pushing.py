"""Pushing, with a `kaggle` command in front of the path that answers as the real one does, version 2.2."""

import dataclasses
import stat

import pytest

from hpa_utils.running.kaggle import push, read_plan

COMMAND = """#!/bin/sh
echo "$@" >> "$FAKE/calls"
case "$1 $2" in
    "datasets status") [ -f "$FAKE/uploaded" ] && echo ready || { echo "403 Client Error: Forbidden"; exit 1; } ;;
    "datasets create" | "datasets version")
        touch "$FAKE/uploaded"; echo "Your private Dataset is being created. Please check progress at …" ;;
    "kernels push") [ -f "$FAKE/says" ] && cat "$FAKE/says"
        echo "Kernel version 3 successfully pushed.  Please check progress at https://www.kaggle.com/code/jane/x" ;;
    "kernels status")
        if [ -f "$FAKE/asked-$(basename $3)" ]
        then echo "$3 has status \\"KernelWorkerStatus.$(cat "$FAKE/end")\\""
        else touch "$FAKE/asked-$(basename $3)"; echo "$3 has status \\"KernelWorkerStatus.RUNNING\\""; fi ;;
    "kernels logs") echo "what $3 printed" ;;
esac
"""


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """Folder that steers the command and keeps its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "kaggle"
    command.write_text(COMMAND)
    command.chmod(command.stat().st_mode | stat.S_IEXEC)
    (folder / "end").write_text("COMPLETE")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("FAKE", str(folder))
    return folder


@pytest.fixture
def plan():
    return dataclasses.replace(read_plan(), owner="jane", push=("hpa-02-segmentation", "hpa-03-cell-crops"))


def calls(kaggle) -> list[str]:
    return (kaggle / "calls").read_text().splitlines()


def test_each_kernel_is_pushed_when_the_one_before_is_complete(kaggle, plan, tmp_path):
    push(plan, tmp_path / "out", wait=0)
    out = tmp_path / "out"
    assert calls(kaggle) == [
        "datasets status jane/hpa-utils",
        f"datasets create -p {out}/hpa-utils -r zip",
        "datasets status jane/hpa-utils",
        f"kernels push -p {out}/hpa-02-segmentation",
        "kernels status jane/hpa-02-segmentation",
        "kernels status jane/hpa-02-segmentation",
        "kernels logs jane/hpa-02-segmentation",
        f"kernels push -p {out}/hpa-03-cell-crops",
        "kernels status jane/hpa-03-cell-crops",
        "kernels status jane/hpa-03-cell-crops",
        "kernels logs jane/hpa-03-cell-crops",
    ]
    log = (out / "logs" / "hpa-02-segmentation.log").read_text()
    assert "successfully pushed" in log and "what jane/hpa-02-segmentation printed" in log


def test_a_library_that_is_there_gets_a_new_version(kaggle, plan, tmp_path):
    (kaggle / "uploaded").touch()
    push(plan, tmp_path, wait=0)
    assert calls(kaggle)[1] == f"datasets version -p {tmp_path}/hpa-utils -r zip -m staged"


def test_a_kernel_that_fails_stops_the_rest_and_names_its_log(kaggle, plan, tmp_path):
    (kaggle / "end").write_text("ERROR")
    with pytest.raises(RuntimeError, match=r"jane/hpa-02-segmentation ended as .*error.*02-segmentation\.log"):
        push(plan, tmp_path, wait=0)
    assert not any("hpa-03" in call for call in calls(kaggle))
    assert "what jane/hpa-02-segmentation printed" in (tmp_path / "logs" / "hpa-02-segmentation.log").read_text()


def test_a_source_that_kaggle_leaves_out_is_an_error_though_the_command_ends_well(kaggle, plan, tmp_path):
    said = "The following are not valid dataset sources and could not be added to the kernel: ['jane/pytorch-zoo']"
    (kaggle / "says").write_text(f"{said}\n")
    with pytest.raises(RuntimeError, match="was not pushed as it should be: The following are not valid"):
        push(plan, tmp_path, wait=0)


def test_without_owner_or_command_nothing_is_uploaded(kaggle, plan, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='put your Kaggle name into "owner"'):
        push(dataclasses.replace(plan, owner="your-kaggle-name"), tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="pip install kaggle"):
        push(plan, tmp_path)
    assert not (kaggle / "calls").exists()
