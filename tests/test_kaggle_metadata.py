import json

from conftest import REPOSITORY

from hpa_utils.running.notebooks import DEFAULT, NOTEBOOKS, READS

METADATA = json.loads((REPOSITORY / "kaggle-metadata.json").read_text())


def test_there_is_a_kernel_a_notebook_in_order():
    assert [kernel["notebook"] for kernel in METADATA["kernels"]] == list(DEFAULT)


def test_titles_slugify_to_their_slugs_as_kaggle_wants():
    for kernel in [*METADATA["kernels"], METADATA["library"]]:
        assert kernel["title"].lower().replace(" ", "-") == kernel["slug"] and 6 <= len(kernel["title"]) <= 50


def test_each_kernel_reads_the_kernels_whose_stages_its_notebook_reads():
    slugs = {kernel["notebook"]: kernel["slug"] for kernel in METADATA["kernels"]}
    for kernel in METADATA["kernels"]:
        assert kernel["kernel_sources"] == [slugs[stage] for stage in READS[kernel["notebook"]]]


def test_the_preset_exists():
    assert METADATA["preset"] in json.loads((NOTEBOOKS / "presets.json").read_text())
