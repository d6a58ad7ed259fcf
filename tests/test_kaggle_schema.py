"""``kaggle-metadata.json``: what it may say, and that each rule is an error that names the key."""

import copy
import dataclasses
import json

import pytest

from hpa_utils.running.commands import main
from hpa_utils.running.kaggle import read_plan
from hpa_utils.running.kaggle.schema import MANIFEST, kernel_parameters, slugify
from hpa_utils.running.notebooks import DEFAULT, NOTEBOOKS, READS
from hpa_utils.running.parameters import read_preset

CONTENT = json.loads(MANIFEST.read_text())
PRESETS = NOTEBOOKS / "presets.json"
LATER = "hpa-05-inference"
MISSING = object()


def refused(tmp_path, content) -> str:
    """What `read_plan` says against this content."""
    path = tmp_path / MANIFEST.name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=MANIFEST.name) as error:
        read_plan(path)
    return str(error.value)


def edited(place: str, value) -> dict:
    """The repository's manifest with one value changed, or without it; a kernel is called by its slug."""
    content = copy.deepcopy(CONTENT)
    inner = content
    *outer, name = place.split(".")
    for key in outer:
        inner = next(kernel for kernel in inner if kernel["slug"] == key) if isinstance(inner, list) else inner[key]
    inner[name] = value
    if value is MISSING:
        del inner[name]
    return content


def test_there_are_a_kernel_a_notebook_one_for_all_and_one_to_submit():
    plan = read_plan()
    assert [kernel.stages for kernel in plan.kernels[:5]] == [(name,) for name in DEFAULT]
    assert plan.kernel("run-all").stages == DEFAULT
    assert plan.kernel("submit").stages == ("02_segmentation", "03_cell_crops", "05_inference")
    assert plan.push[-1] == "submit"


def test_each_chained_kernel_reads_the_kernels_whose_stages_its_notebook_reads():
    plan = read_plan()
    for kernel in plan.kernels[:5]:
        assert tuple(plan.kernel(source).notebook for source in kernel.kernels) == READS[kernel.notebook]


def test_a_kernel_gets_the_preset_and_over_it_its_own_parameters():
    plan = read_plan()
    train = dataclasses.replace(plan.kernel("hpa-04-train"), parameters={"seed": 3})
    preset = {name[3:]: value for name, value in read_preset(PRESETS, "kaggle").items() if name.startswith("04.")}
    assert kernel_parameters(plan, train) == preset | {"seed": 3} and "backbone" in preset
    submit = kernel_parameters(plan, plan.kernel("submit"))
    assert submit["preset"] == "kaggle" and submit["notebooks"] == "02,03,05" and submit["hours"] == 8


@pytest.mark.parametrize(
    "title, slug",
    [
        ("hpa 04 train", "hpa-04-train"),
        ("HPA: 04 – Train!", "hpa-04-train"),
        ("run_all", "run-all"),
        ("Zürich cells", "zurich-cells"),
    ],
)
def test_a_title_becomes_a_slug_as_kaggle_makes_it(title, slug):
    assert slugify(title) == slug


@pytest.mark.parametrize(
    "place, value, said",
    [
        ("owner", "Jane Doe", "owner is 'Jane Doe'"),
        ("owner", 7, "owner is 7; expected text"),
        ("competition", "", "competition is ''"),
        ("colour", "red", "colour is unknown; there are"),
        ("preset", "fast", "preset 'fast' is unknown"),
        ("library.title", "hpa", "library.title is 'hpa'; a data set needs 6 to 50 characters"),
        ("library.title", "hpa tools", "Kaggle makes 'hpa-tools', not the slug 'hpa-utils'"),
        ("library.packages", ["stardist"], "'stardist', which requirements.txt does not"),
        ("library.packages", "stardist", "expected a list"),
        ("kernels", [], "kernels: expected a list of one or more"),
        ("kernels", ["hpa"], "kernels.0: expected an object, found str"),
        ("kernels.submit.title", "Submission", "Kaggle makes 'submission', not the slug 'submit'"),
        ("kernels.submit.title", "s" * 51, "a kernel needs 5 to 50 characters"),
        ("kernels.submit.slug", "send", "'send'; a kernel needs 5 to 50 characters"),
        ("kernels.submit.gpu", "true", "kernels.submit.gpu is 'true'; expected true or false"),
        ("kernels.submit.internet", True, "kernels.submit.internet is unknown"),
        ("kernels.submit.notebook", "07_more", "kernels.submit.notebook is '07_more'; there are 01_eda"),
        ("kernels.submit.kernels", ["hpa-06"], "kernels.submit reads 'hpa-06'; there are hpa-01-eda"),
        ("kernels.submit.kernels", [], "05_inference reads 04_train, which none writes"),
        ("kernels.submit.kernels", [4], "expected a list of texts"),
        ("kernels.submit.datasets", ["a/b/c"], "datasets has 'a/b/c'; expected owner/slug or slug"),
        ("kernels.submit.parameters.hour", 8, "kernels.submit.parameters: no selected notebook has a parameter"),
        ("kernels.submit.parameters", {"notebooks": "07"}, "expected numbers such as 02,03,05"),
        ("kernels.submit.parameters.assignments", "epochs=2", "no selected notebook has a parameter 'epochs'"),
        ("kernels.submit.resume_from", "hpa-01-eda", "submit.resume_from: hpa-01-eda runs other notebooks"),
        ("kernels.hpa-04-train.parameters", {"epochs": "many"}, "parameter epochs=many: expected int"),
        ("kernels.hpa-04-train.kernels", ["hpa-02-segmentation"], "04_train reads 03_cell_crops, which none writes"),
        ("kernels.hpa-02-segmentation.kernels", [LATER], "kernels: a circle, each reads the one before"),
        ("kernels.hpa-02-segmentation.kernels", ["hpa-02-segmentation"], "kernels: a circle"),
        ("push", ["submit", "hpa-04-train"], "push: submit reads hpa-04-train, which comes later"),
        ("push", ["submit", "submit"], "push has 'submit'"),
        ("push", ["hpa-06"], "push has 'hpa-06'"),
    ],
)
def test_what_kaggle_would_refuse_is_an_error_that_names_the_key(tmp_path, place, value, said):
    assert said in refused(tmp_path, edited(place, value))


@pytest.mark.parametrize("place", ["owner", "library.packages", "kernels.submit.resume_from"])
def test_a_missing_key_is_named(tmp_path, place):
    assert f"{place} is missing" in refused(tmp_path, edited(place, MISSING))


def test_a_slug_or_a_key_that_stands_twice_is_an_error(tmp_path):
    assert "stands there twice" in refused(tmp_path, {**CONTENT, "kernels": CONTENT["kernels"] * 2})
    assert "owner stands twice" in refused(tmp_path, '{"owner": "jane", "owner": "joe"}')
    assert "expected an object, found list" in refused(tmp_path, [])


def test_a_kernel_may_go_on_from_its_own_last_output(tmp_path):
    path = tmp_path / MANIFEST.name
    path.write_text(json.dumps(edited("kernels.hpa-04-train.resume_from", "hpa-04-train")))
    assert read_plan(path).kernel("hpa-04-train").resume_from == "hpa-04-train"


def test_a_bad_manifest_is_an_error_before_anything_is_written(tmp_path, monkeypatch, capsys):
    path = tmp_path / MANIFEST.name
    path.write_text(json.dumps(edited("owner", "?")))
    monkeypatch.setattr("hpa_utils.running.kaggle.read_plan", lambda: read_plan(path))
    assert main(["kaggle-stage", "--out", str(tmp_path / "staged")]) == 1
    assert "owner is '?'" in capsys.readouterr().err and not (tmp_path / "staged").exists()
