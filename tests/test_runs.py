"""Which runs a preset and the command line make, and when one is finished, changed or in the way."""

import pytest

from hpa_utils import manifest
from hpa_utils.dataset import open_dataset
from hpa_utils.running.runs import Run, check_parameters, devices, is_finished, plan_runs, signature, write_plan

CROPS = {"name": "", "size": 128}
TRAIN = {"name": "", "crops": "", "backbone": "lite0", "fold": 0, "n_folds": 3, "training_round": 1, "epochs": 20,
         "teacher": ""}  # fmt: skip
B0 = {"name": "b0", "backbone": "b0", "crops": "128", "folds": [0, 2], "rounds": 2, "epochs": 9}


def plan(layers=({},), **options):
    return plan_runs({"03_cell_crops": CROPS, "04_train": TRAIN}, list(layers), **options)


def names(runs):
    return [str(run) for run in runs]


def test_without_a_list_there_is_one_crop_set_and_one_model_of_fold_0():
    runs = plan()
    assert names(runs) == ["03_cell_crops/128", "04_train/lite0-128-r1-f0"]
    assert runs[1].parameters["crops"] == "128" and runs[1].parameters["name"] == "lite0-128"


def test_a_member_has_a_run_for_each_fold_and_all_folds_in_rounds_before_the_last():
    runs = plan(members=[B0])
    assert names(runs)[1:] == [f"04_train/b0-{tail}" for tail in ("r1-f0", "r1-f1", "r1-f2", "r2-f0", "r2-f2")]
    assert {run.parameters["epochs"] for run in runs[1:]} == {9}


def test_folds_and_rounds_of_the_command_line_replace_a_members_own():
    assert names(plan(members=[B0], folds=[1], rounds=1))[1:] == ["04_train/b0-r1-f1"]
    assert names(plan(members=[B0], folds=[-1]))[1:] == [
        f"04_train/b0-{t}" for t in ("r1-f0", "r1-f1", "r1-f2", "r2-all")
    ]
    with pytest.raises(ValueError, match="fold 3 of b0: expected 0…2, or -1 for all fields"):
        plan(members=[B0], folds=[3])


def test_an_assignment_comes_before_the_list_and_the_list_before_the_presets_other_values():
    runs = plan([{"04.epochs": 5, "04.backbone": "b1"}, {"epochs": "7"}], members=[{"backbone": "b3"}])
    assert (runs[1].parameters["epochs"], runs[1].parameters["backbone"]) == (7, "b3")


def test_rounds_of_all_members_follow_each_other():
    runs = plan(members=[B0, B0 | {"name": "b3"}], folds=[0])
    assert [run.training_round for run in runs[1:]] == [1] * 6 + [2] * 2


def test_several_crop_sets_lie_side_by_side_and_a_member_must_name_its_own():
    runs = plan(crop_sets=[{"size": 64}, {"name": "large", "size": 256}], members=[{"crops": "large"}])
    assert names(runs) == ["03_cell_crops/64", "03_cell_crops/large", "04_train/lite0-large-r1-f0"]
    assert plan_runs({"04_train": TRAIN}, [{}], there=["96"])[0].parameters["crops"] == "96"


def test_a_member_may_learn_from_another_ones_models_and_begins_in_the_second_round():
    pupil = {"name": "b3", "crops": "128", "folds": [1], "training_round": 2, "teacher": "b0"}
    runs = plan(members=[B0, pupil])
    assert names(runs)[-1] == "04_train/b3-r2-f1" and runs[-1].parameters["teacher"] == "b0"
    assert not [name for name in names(runs) if "b3-r1" in name]


def test_two_runs_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two runs are called 04_train/b0-r1-f0"):
        plan(members=[B0, B0])


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "a,b"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(ValueError, match="is no name for a run"):
        plan(members=[B0 | {"name": name}], rounds=1)


@pytest.mark.parametrize("wrong", [{"folds": "0,1"}, {"folds": ["0"]}, {"folds": 1}, {"rounds": "2"}, {"rounds": True}])
def test_folds_and_rounds_of_a_preset_are_numbers(wrong):
    with pytest.raises(ValueError, match="a preset's folds are .* its rounds .* expected such as"):
        plan(members=[B0 | wrong])


def test_the_plan_of_models_grows(tmp_path):
    write_plan(tmp_path, plan(members=[B0], folds=[1], rounds=1))
    write_plan(tmp_path, plan(members=[{"name": "x"}]))
    write_plan(tmp_path, plan(members=[B0], folds=[0], rounds=1))
    assert manifest.read_json(tmp_path / "04_train" / "plan.json") == {"models": ["b0-r1-f0", "b0-r1-f1", "x-r1-f0"]}


@pytest.fixture
def finished(tiny_dataset, tmp_path):
    """A finished run of 02, its signature, the data set and its folder."""
    source, out = tmp_path / "02.py", tmp_path / "out"
    source.write_text("source")
    run = Run("02_segmentation", "", {"segmenter": "watershed", "masks": "", "shown": 6, "workers": 0})
    folder = run.folder(out)
    dataset = open_dataset(tiny_dataset)
    manifest.begin(folder)
    manifest.finish(folder, {}, {})
    signed = signature(run, source, dataset, out)
    manifest.write_json(folder / "manifest.json", manifest.read_manifest(folder) | {"run": signed})
    (folder / "02_segmentation.html").write_text("page")
    return run, source, dataset, out


def check(finished, **changes):
    run, source, dataset, out = finished
    run = Run(run.notebook, run.name, run.parameters | changes)
    return is_finished(run, signature(run, source, dataset, out), dataset, run.folder(out))


def test_a_finished_run_is_recognised_wherever_its_workers_ran(finished):
    assert check(finished) and check(finished, workers=8)


def test_other_parameters_are_told_and_never_written_over(finished):
    run, source, dataset, out = finished
    changed = Run(run.notebook, run.name, run.parameters | {"shown": 9})
    message = r"02_segmentation is finished .* \(shown was 6, is 9\): take another output root, or .* --force"
    with pytest.raises(ValueError, match=message):
        check_parameters(changed, run.folder(out))
    assert not check(finished, shown=9)
    source.write_text("other")
    (dataset.root / "test" / "test-0_red.png").unlink()  # nor if what it was made from has changed as well
    with pytest.raises(ValueError, match=message):
        check_parameters(changed, run.folder(out))


def test_a_parameter_that_a_newer_notebook_has_is_no_difference(finished):
    run, source, dataset, out = finished
    check_parameters(Run(run.notebook, run.name, run.parameters | {"new": 1}), run.folder(out))


def test_another_source_or_input_is_worked_on_anew(finished):
    run, source, dataset, out = finished
    source.write_text("other")
    assert not check(finished)
    source.write_text("source")
    assert check(finished)
    (dataset.root / "test" / "test-0_red.png").unlink()
    assert not check((run, source, open_dataset(dataset.root), out))


def test_a_paused_run_is_not_finished(finished):
    run, _, _, out = finished
    manifest.pause(run.folder(out), "stopped after epoch 3, before the deadline")
    assert not check(finished)


@pytest.mark.parametrize(("text", "expected"), [("2", ["0", "1"]), ("3,5", ["3", "5"]), ("1", ["0"])])
def test_devices_are_a_number_or_names(monkeypatch, text, expected):
    monkeypatch.setenv("HPA_DEVICES", text)
    assert devices() == expected


def test_each_gpu_that_the_driver_lists_is_a_device(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: Tesla T4 (UUID: GPU-1)'\necho 'GPU 1: Tesla T4 (UUID: GPU-2)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("HPA_DEVICES", raising=False)
    assert devices() == ["0", "1"]
