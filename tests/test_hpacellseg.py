"""hpacellseg's networks: what is loaded, what is refused, what the networks see, and what comes back."""

import hashlib
import pickle
import sys

import numpy as np
import pytest

from hpa_utils.segmentation import HPACellSegmenter


def test_missing_weights_are_named_with_where_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="nuclei.pth.*4665863.*rdizzl3/hpacellseg"):
        HPACellSegmenter.from_files(tmp_path / "nuclei.pth", tmp_path / "cells.pth")


def test_without_torch_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "net.pth").write_bytes(b"anything")
    with pytest.raises(ImportError, match="pip install torch.*pytorch_zoo.*HPA-Cell-Segmentation"):
        HPACellSegmenter.from_files(tmp_path / "net.pth", tmp_path / "net.pth")
    with pytest.raises(ImportError, match="pip install torch"):
        HPACellSegmenter(None, None)(np.zeros((64, 64, 4), np.uint8))


def conv_net():
    torch = pytest.importorskip("torch")
    return torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))


def threshold_net(channel):
    """A network of one layer: body where this channel of its input is bright, else background."""
    torch = pytest.importorskip("torch")
    net = conv_net()
    with torch.no_grad():
        net[0].weight[:] = 0
        net[0].bias[:] = torch.tensor([0.0, -30.0, 0.0])
        net[0].weight[2, channel] = 10
    return net


def test_plain_layers_load_without_a_hash(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(conv_net(), tmp_path / "net.pth")
    segmenter = HPACellSegmenter.from_files(tmp_path / "net.pth", tmp_path / "net.pth")
    assert isinstance(segmenter.cell_net, torch.nn.Sequential)


class Foreign:
    """Stands for anything whose unpickling runs code that is not PyTorch's."""

    unpickled = 0

    def __setstate__(self, state):
        Foreign.unpickled += 1


@pytest.fixture
def foreign(tmp_path):
    torch = pytest.importorskip("torch")
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
    torch = pytest.importorskip("torch")
    torch.save(conv_net().state_dict(), tmp_path / "net.pth")
    with pytest.raises(TypeError, match="OrderedDict"):
        HPACellSegmenter.from_files(tmp_path / "net.pth", tmp_path / "net.pth")


def test_a_network_of_a_missing_package_names_the_package(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    data = pickle.dumps(0, 2).replace(b"K\x00", b"cpytorch_zoo.unet\nDPNUnet\n")
    (tmp_path / "net.pth").write_bytes(data)
    monkeypatch.setitem(sys.modules, "pytorch_zoo", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
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
    for mapped in segmenter.map([field]):
        np.testing.assert_array_equal(mapped, cells)


def test_the_networks_see_a_micrometre_as_the_same_number_of_pixels():
    torch = pytest.importorskip("torch")
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, batch):
            seen.append(batch)
            return batch

    for side, pixel_size in ((512, 0.08), (128, 0.32), (256, 0.16)):
        field = np.zeros((side, side, 4), np.uint8)
        field[...] = (10, 20, 30, 40)
        HPACellSegmenter(Spy(), Spy(), device="cpu", pixel_size=pixel_size).predict(field)
    assert {tuple(batch.shape) for batch in seen} == {(1, 3, 192, 192)}  # 128 px, 32 or more on each side
    mean, spread = np.array([124, 117, 104]) / 255, 1 / (0.0167 * 255)
    for batch, planes in zip(seen, ([30, 30, 30], [10, 40, 30]) * 3, strict=True):
        expected = (np.array(planes) / 255 - mean) / spread
        np.testing.assert_allclose(batch[0, :, 50, 50].numpy(), expected, rtol=1e-4)
