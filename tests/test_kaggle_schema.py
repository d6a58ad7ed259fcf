"""``kaggle-metadata.json``: what it may say, and that each rule is an error that names the key."""

import copy
import json

import pytest

from hpa_utils.running.commands import main
from hpa_utils.running.kaggle import make_plan, read_plan
from hpa_utils.running.kaggle.schema import MANIFEST, kernel_runs, slugify

CONTENT = json.loads(MANIFEST.read_text())
MISSING = object()


def edited(place: str, value) -> dict:
    """The repository's manifest with one value changed, or without it; a kernel is named by its slug."""
    content = copy.deepcopy(CONTENT)
    inner = content
    *outer, name = place.split(".")
    for key in outer:
        inner = next(kernel for kernel in inner if kernel["slug"] == key) if isinstance(inner, list) else inner[key]
    inner[name] = value
    if value is MISSING:
        del inner[name]
    return content


def runs(plan, slug: str) -> list[str]:
    return [str(run) for run in kernel_runs(plan, plan.kernel(slug))[0]]


def test_there_are_a_kernel_for_each_notebook_one_for_all_and_one_to_submit():
    plan = read_plan()
    b0, whole, b3 = "04_train/b0-128", "04_train/b0-field", "04_train/b3-256"
    first, second = [f"{b0}-r1-f{fold}" for fold in range(5)], [f"{b0}-r2-f{fold}" for fold in range(5)]
    crops = ["03_cell_crops/128", "03_cell_crops/256", "03_cell_crops/field"]
    assert {slug: runs(plan, slug) for slug in plan.push} == {
        "hpa-01-eda": ["01_eda"],
        "hpa-02-segmentation": ["02_segmentation"],
        "hpa-03-cell-crops": [crops[0], crops[2]],
        "hpa-03-large-1": crops[1:2],
        "hpa-03-large-2": crops[1:2],
        "hpa-04-train": [*first, f"{whole}-r1-f0", f"{whole}-r1-f1", *second],
        "hpa-04-large": [f"{b3}-r2-f0", f"{b3}-r2-f1"],
        "hpa-05-inference": ["05_inference"],
        "submit": ["02_segmentation", *crops, "05_inference"],
    }
    assert runs(plan, "run-all") == ["02_segmentation", crops[0], *first[:2], "05_inference"]


def test_a_kernel_gets_the_preset_and_over_it_its_own_parameters():
    plan = make_plan(edited("kernels.hpa-05-inference.parameters", {"tta": 2}))
    assert kernel_runs(plan, plan.kernel("hpa-05-inference"))[1] == {"tta": 2}
    submit = kernel_runs(plan, plan.kernel("submit"))[1]
    assert submit["preset"] == "kaggle" and submit["notebooks"] == "02,03,05" and submit["hours"] == 8


def test_kernels_of_a_second_round_read_all_models_of_the_first():
    like = next(one for one in CONTENT["kernels"] if one["slug"] == "hpa-04-train")
    first = [
        {
            **like,
            "slug": f"first-{number}",
            "title": f"first {number}",
            "parameters": {"notebooks": "04", "runs": f"b0-128-r1-f[{folds}]"},
        }
        for number, folds in enumerate(("01", "23", "4"))
    ]
    sources = [*like["kernels"], *(one["slug"] for one in first)]
    names = ["b0-128-r2-f0", "b0-128-r2-f1"]
    second = {"notebooks": "04", "runs": "b0-128-r2-f[01]"}
    last = {**like, "slug": "second", "title": "second", "parameters": second, "kernels": sources}
    plan = make_plan({**CONTENT, "kernels": [*CONTENT["kernels"], *first, last]})
    assert runs(plan, "second") == [f"04_train/{name}" for name in names]
    last["kernels"] = sources[:-1]
    with pytest.raises(ValueError, match="kernels.second.kernels: .*r2-f0 learns from b0-128-r1-f4, which none"):
        make_plan({**CONTENT, "kernels": [*CONTENT["kernels"], *first, last]})


def test_a_member_that_learns_from_another_needs_all_of_its_models():
    content = edited("kernels.hpa-04-large.kernels", ["hpa-02-segmentation", "hpa-03-large-1", "hpa-03-large-2"])
    with pytest.raises(ValueError, match="hpa-04-large.kernels: .*b3-256-r2-f0 learns from b0-128-r1-f0, which none"):
        make_plan(content)


def test_models_may_come_from_a_data_set_instead_of_a_kernel():
    content = edited("kernels.submit.kernels", [])
    content["models"] = "my-models"
    with pytest.raises(ValueError, match="05_inference reads 04_train, which none of them makes"):
        make_plan(content)
    content["kernels"][-1]["datasets"] = [*content["kernels"][-1]["datasets"], "my-models"]
    assert make_plan(content).kernel("submit").sources == []


@pytest.mark.parametrize(
    ("title", "slug"), [("HPA: 04 – Train!", "hpa-04-train"), ("run_all", "run-all"), ("Zürich cells", "zurich-cells")]
)
def test_a_title_becomes_a_slug_as_kaggle_makes_it(title, slug):
    assert slugify(title) == slug


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("owner", "Jane Doe", "owner is 'Jane Doe'; expected three or more"),
        ("owner", 7, "owner is 7; expected text"),
        ("colour", "red", "colour is unknown; there are owner, competition"),
        ("owner", MISSING, "owner is missing"),
        ("public", "no", "public is 'no'; expected true or false"),
        ("kernels.submit.resume_from", MISSING, "kernels.submit.resume_from is missing"),
        ("kernels.submit.internet", True, "kernels.submit.internet is unknown"),
        ("preset", "fast", "fast"),
        ("library.title", "hpa", "library.title is 'hpa'; Kaggle needs 6 to 50 characters"),
        ("library.title", "hpa tools", "Kaggle makes 'hpa-tools', not the slug 'hpa-utils'"),
        ("library.packages", ["stardist"], "'stardist', which requirements.txt does not"),
        ("kernels", ["hpa"], "kernels.0: expected an object, found str"),
        ("kernels", CONTENT["kernels"] * 2, "kernels.hpa-01-eda: two have this slug"),
        ("kernels.submit.title", "s" * 51, "Kaggle needs 5 to 50 characters"),
        ("kernels.submit.gpu", "true", "kernels.submit.gpu is 'true'; expected true or false"),
        ("kernels.submit.notebook", "07_more", "kernels.submit.notebook is '07_more'; there are 01_eda"),
        ("kernels.submit.kernels", ["hpa-06"], "kernels.submit reads 'hpa-06'; there are hpa-01-eda"),
        ("kernels.submit.kernels", [], "kernels.submit.kernels: 05_inference reads 04_train, which none of them makes"),
        ("kernels.submit.kernels", [4], "kernels.submit.kernels.0 is 4; expected text"),
        ("kernels.submit.datasets", ["a/b/c"], "datasets has 'a/b/c'; expected owner/slug or slug"),
        ("kernels.submit.parameters.hour", 8, "kernels.submit.parameters: no selected notebook has a parameter"),
        ("kernels.submit.parameters.notebooks", "07", "kernels.submit.parameters: no notebook"),
        ("kernels.submit.parameters.assignments", {"epochs": 2}, "no selected notebook has a parameter 'epochs'"),
        ("kernels.hpa-04-train.parameters.runs", "b0-128-r1-f7", "kernels.hpa-04-train.parameters: no run is called"),
        ("kernels.hpa-05-inference.parameters", {"tta": "many"}, "parameter tta=many: expected"),
        ("kernels.hpa-03-cell-crops.kernels", [], "03_cell_crops/128 reads 02_segmentation, which none of them makes"),
        ("kernels.hpa-02-segmentation.kernels", ["hpa-05-inference"], "kernels: a cycle, each reads the one before"),
        ("push", ["submit", "hpa-04-train"], "push: submit reads hpa-04-train, which comes later"),
        ("push", ["submit", "submit"], "push has 'submit'; expected each of"),
    ],
)
def test_what_kaggle_would_refuse_is_an_error_that_names_the_key(place, value, said):
    with pytest.raises(ValueError) as error:
        make_plan(edited(place, value))
    assert said in str(error.value)


def test_a_bad_manifest_is_an_error_before_anything_is_written(tmp_path, monkeypatch, capsys):
    path = tmp_path / MANIFEST.name
    path.write_text(json.dumps(edited("owner", "?")))
    monkeypatch.setattr("hpa_utils.running.kaggle.read_plan", lambda: read_plan(path))
    assert main(["kaggle-stage", "--out", str(tmp_path / "staged")]) == 1
    assert "kaggle-metadata.json: owner is '?'" in capsys.readouterr().err and not (tmp_path / "staged").exists()
