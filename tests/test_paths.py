import pytest

from hpa_utils import manifest, paths


def test_the_demo_is_the_default(monkeypatch):
    for name in ("HPA_DATA", "HPA_OUT", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    assert paths.find_data() == paths.REPOSITORY / "runs" / "demo" / "data"
    assert paths.find_out() == paths.REPOSITORY / "runs" / "demo" / "out"


def test_given_places_come_before_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HPA_DATA", str(tmp_path / "env"))
    assert paths.find_data() == tmp_path / "env"
    assert paths.find_data(tmp_path / "given") == tmp_path / "given"


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("HPA_OUT", "~/env")
    assert str(paths.find_out()) == "/home/someone/env"
    assert str(paths.find_data("~/given")) == "/home/someone/given"


@pytest.mark.parametrize("mount", ["{slug}", "competitions/{slug}"])
def test_the_competition_is_found_in_both_of_kaggles_layouts(monkeypatch, tmp_path, mount):
    folder = tmp_path / "input" / mount.format(slug=paths.COMPETITION)
    folder.mkdir(parents=True)
    monkeypatch.delenv("HPA_DATA", raising=False)
    monkeypatch.setenv("HPA_KAGGLE", str(tmp_path))
    assert paths.find_data() == folder


def test_kaggles_two_folders_lie_where_one_variable_says(monkeypatch, tmp_path):
    monkeypatch.delenv("HPA_OUT", raising=False)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    monkeypatch.setenv("HPA_KAGGLE", str(tmp_path))
    assert paths.find_out() == tmp_path / "working"
    assert paths.kaggle_folder("input") == tmp_path / "input"
    monkeypatch.delenv("HPA_KAGGLE")
    assert str(paths.find_out()) == "/kaggle/working"


@pytest.mark.parametrize("mount", ["hpa-segmentation", "notebooks/someone/hpa-segmentation"])
def test_an_earlier_stage_is_found_in_the_output_root_or_among_kaggles_inputs(monkeypatch, tmp_path, mount):
    attached = tmp_path / "input" / mount / "02_segmentation"
    attached.mkdir(parents=True)
    manifest.finish(attached, {}, {})
    monkeypatch.setenv("HPA_KAGGLE", str(tmp_path))
    assert paths.find_stage(tmp_path / "out", "02_segmentation") == attached
    own = tmp_path / "out" / "02_segmentation"
    own.mkdir(parents=True)
    manifest.finish(own, {}, {})
    assert paths.find_stage(tmp_path / "out", "02_segmentation") == own


def test_a_stage_that_has_not_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished 02_segmentation in .*: run notebook 02 first"):
        paths.find_stage(tmp_path, "02_segmentation")


def test_named_folders_of_the_output_root_come_before_attached_ones(monkeypatch, tmp_path):
    folders = {"own": tmp_path / "out", "first": tmp_path / "input" / "k1", "second": tmp_path / "input" / "k2"}
    for place, names in (("own", "a"), ("first", "ab"), ("second", "bc")):
        for name in names:
            (folders[place] / "04_train" / name).mkdir(parents=True)
            manifest.finish(folders[place] / "04_train" / name, {}, {})
    monkeypatch.setenv("HPA_KAGGLE", str(tmp_path))
    found = paths.find_named(folders["own"], "04_train")
    assert found == {n: folders[p] / "04_train" / n for n, p in (("a", "own"), ("b", "first"), ("c", "second"))}


def test_the_only_crop_set_need_not_be_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing finished in .*03_cell_crops: run notebook 03 first"):
        paths.find_only(tmp_path, "03_cell_crops")
    for name in ("64", "96"):
        (tmp_path / "03_cell_crops" / name).mkdir(parents=True)
        manifest.finish(tmp_path / "03_cell_crops" / name, {}, {})
        if name == "64":
            assert paths.find_only(tmp_path, "03_cell_crops") == "64"
    with pytest.raises(ValueError, match="holds 64, 96: name one of them"):
        paths.find_only(tmp_path, "03_cell_crops")


def test_what_a_killed_run_left_half_written_is_dropped(tmp_path):
    writing = paths.atomic_write(tmp_path / "state" / "best.weights.h5")
    temporary = writing.__enter__()  # and never left
    temporary.write_text("half")
    assert temporary.name.endswith(".weights.h5")  # Keras goes by the extension
    paths.drop_temporaries(tmp_path)
    assert not list((tmp_path / "state").iterdir())
