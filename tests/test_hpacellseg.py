"""hpacellseg's networks: what is loaded, what is refused, what the networks see, and what comes back."""

import hashlib
import pickle
import sys

import numpy as np
import pytest
from conftest import write_field

from hpa_utils import tables
from hpa_utils.dataset import open_dataset
from hpa_utils.segmentation import HPACellSegmenter, plan_segmentation, segment_part
from hpa_utils.segmentation.hpacellseg import net_inputs


def test_missing_weights_are_named_with_where_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="nuclei.pth.*4665863.*rdizzl3/hpacellseg"):
        HPACellSegmenter.from_files(tmp_path / "nuclei.pth", tmp_path / "cells.pth")


def test_without_torch_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "net.pth").write_bytes(b"anything")
    with pytest.raises(ImportError, match="pip install torch.*pytorch_zoo.*requirements-hpacellseg.txt"):
        HPACellSegmenter.from_files(tmp_path / "net.pth", tmp_path / "net.pth")
    with pytest.raises(ImportError, match="pip install torch"):
        HPACellSegmenter(None, None)(np.zeros((64, 64, 4), np.uint8))


def conv_net():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    return torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))


def threshold_net(channel):
    """A network of one layer: body where this channel of its input is bright, else background."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = conv_net()
    with torch.no_grad():
        net[0].weight[:] = 0
        net[0].bias[:] = torch.tensor([0.0, -30.0, 0.0])
        net[0].weight[2, channel] = 10
    return net


def test_plain_layers_load_without_a_hash(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.save(conv_net(), tmp_path / "net.pth")
    segmenter = HPACellSegmenter.from_files(tmp_path / "net.pth", tmp_path / "net.pth")
    assert isinstance(segmenter.cell_net, torch.nn.Sequential)
    assert len(segmenter.weights) == 2 and len(segmenter.weights[0]) == 64  # cells of other weights are other cells


class Foreign:
    """Stands for anything whose unpickling runs code that is not PyTorch's."""

    unpickled = 0

    def __setstate__(self, state):
        Foreign.unpickled += 1


@pytest.fixture
def foreign(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = conv_net()
    net.extra, foreign = Foreign(), tmp_path / "net.pth"
    net.extra.value = 1
    torch.save(net, foreign)
    Foreign.unpickled = 0
    return foreign


@pytest.mark.parametrize("given", [None, {"net.pth": "0" * 64}, {"other.pth": "0" * 64}, ("0" * 64,) * 2])
def test_foreign_code_is_never_unpickled_without_the_right_hash(foreign, given):
    digest = hashlib.sha256(foreign.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f'sha256={{"net.pth": "{digest}"}}'):
        HPACellSegmenter.from_files(foreign, foreign, sha256=given)
    assert Foreign.unpickled == 0


@pytest.mark.parametrize("as_pair", [False, True])
def test_foreign_code_is_unpickled_with_the_right_hash_and_says_so(foreign, as_pair, capsys):
    digest = hashlib.sha256(foreign.read_bytes()).hexdigest()
    sha256 = (digest, digest.upper()) if as_pair else {"net.pth": digest}
    HPACellSegmenter.from_files(foreign, str(foreign), sha256=sha256)
    assert Foreign.unpickled == 2
    assert "net.pth: unpickled, since its SHA-256 is the one given" in capsys.readouterr().out


def test_a_file_that_is_no_network_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.save(conv_net().state_dict(), tmp_path / "net.pth")
    with pytest.raises(TypeError, match="OrderedDict"):
        HPACellSegmenter.from_files(tmp_path / "net.pth", tmp_path / "net.pth")


def test_a_network_of_a_missing_package_names_the_package(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    data = pickle.dumps(0, 2).replace(b"K\x00", b"cpytorch_zoo.unet\nDPNUnet\n")
    (tmp_path / "net.pth").write_bytes(data)
    monkeypatch.setitem(sys.modules, "pytorch_zoo", None)
    with pytest.raises(ImportError, match=r"pytorch_zoo.*git\+https"):
        sha256 = hashlib.sha256(data).hexdigest()
        HPACellSegmenter.from_files(tmp_path / "net.pth", tmp_path / "net.pth", sha256=(sha256, sha256))


def two_cells(height, width):
    """Two cells side by side; the second input of the nuclei network and microtubules show them."""
    field = np.zeros((height, width, 4), np.uint8)
    for x in (width // 4, 3 * width // 4):
        field[height // 2 - 100 : height // 2 + 100, x - 100 : x + 100, 0] = 255
        field[height // 2 - 40 : height // 2 + 40, x - 40 : x + 40, 2] = 255
    return field


def test_two_cells_come_back_where_they_are_in_a_field_that_is_not_square():
    field = two_cells(400, 700)
    segmenter = HPACellSegmenter(threshold_net(0), threshold_net(0), device="cpu")
    nuclei, cells = segmenter.segment(field)
    assert cells.shape == (400, 700) and cells.dtype == np.uint16 and cells.max() == 2
    assert (((cells > 0) == (field[..., 0] > 0)).mean()) > 0.97
    assert (((nuclei > 0) == (field[..., 2] > 0)).mean()) > 0.97
    assert set(nuclei[nuclei > 0]) == {1, 2}


def test_map_gives_what_calling_gives_for_fields_of_any_size():
    segmenter = HPACellSegmenter(threshold_net(0), threshold_net(0), device="cpu")
    fields = [two_cells(400, 700), two_cells(512, 512), np.zeros((64, 64, 4), np.uint8)]
    for field, cells in zip(fields, segmenter.map(iter(fields)), strict=True):
        assert cells.shape == field.shape[:2]
        np.testing.assert_array_equal(cells, segmenter(field))


def test_the_networks_see_a_micrometre_as_the_same_number_of_pixels():
    mean, spread = np.array([124, 117, 104]) / 255, 1 / (0.0167 * 255)
    for side, pixel_size in ((512, 0.08), (128, 0.32), (256, 0.16)):
        field = np.full((side, side, 4), (10, 20, 30, 40), np.uint8)
        inputs, size = net_inputs(field, pixel_size)
        assert size == (128, 128)
        for planes, levels in zip(inputs, ([30, 30, 30], [10, 40, 30]), strict=True):
            assert planes.shape == (3, 192, 192)  # 128 px, and 32 on each side
            np.testing.assert_allclose(planes[:, 50, 50], (np.array(levels) / 255 - mean) / spread, rtol=1e-4)


@pytest.mark.parametrize("side", [1728, 2048, 3072])
def test_every_competition_field_is_scaled_by_a_quarter_whatever_its_side(side):
    (_, planes), size = net_inputs(np.zeros((side, side, 4), np.uint8), 0.08)
    assert size == (side // 4, side // 4)
    assert all(length % 32 == 0 for length in planes.shape[1:])


def test_a_layer_pickled_by_an_old_pytorch_still_works():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = torch.nn.Sequential(torch.nn.MaxPool2d(2), torch.nn.Upsample(scale_factor=2))
    del net[1].recompute_scale_factor  # unknown before PyTorch 1.11
    assert HPACellSegmenter(net, net, device="cpu")(np.zeros((64, 64, 4), np.uint8)).shape == (64, 64)


def test_in_a_part_an_unreadable_field_is_set_aside_alone(tmp_path):
    for number in range(5):
        write_field(tmp_path, str(number), two_cells(400, 700))
    (tmp_path / "2_yellow.png").unlink()
    segmenter = HPACellSegmenter(threshold_net(0), threshold_net(0), device="cpu")
    part = plan_segmentation(open_dataset(tmp_path), ["test"], segmenter, tmp_path / "out")[0]
    assert segment_part(part) == {"fields": 5, "reused": 0}
    fields = tables.read_part(tmp_path / "out" / "fields" / part.name)
    assert fields["image_id"].tolist() == ["0", "1", "2", "3", "4"]
    assert fields["n_cells"].tolist() == [2, 2, 0, 2, 2]
    assert ["yellow" in error for error in fields["error"]] == [False, False, True, False, False]
    cells = tables.read_part(tmp_path / "out" / "cells" / part.name)
    assert (cells["nucleus_area"] > 0).all() and len(cells) == 8
