"""hpacellseg's networks: what is loaded, what is refused, what the networks see, and what comes back."""

import hashlib
import itertools
import pickle
import sys
import threading

import cv2
import numpy as np
import pytest

from hpa_utils import tables
from hpa_utils.dataset import open_dataset
from hpa_utils.segmentation import HPACellSegmenter, plan_segmentation, segment_part


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


def test_the_networks_see_a_micrometre_as_the_same_number_of_pixels():
    mean, spread = np.array([124, 117, 104]) / 255, 1 / (0.0167 * 255)
    for side, pixel_size in ((512, 0.08), (128, 0.32), (256, 0.16)):
        field = np.full((side, side, 4), (10, 20, 30, 40), np.uint8)
        found = HPACellSegmenter(None, None, pixel_size=pixel_size).net_input(field)
        for planes, levels in ((found.nuclei, [30, 30, 30]), (found.cells, [10, 40, 30])):
            assert planes.shape == (3, 192, 192)  # 128 px, and 32 on each side
            np.testing.assert_allclose(planes[:, 50, 50], (np.array(levels) / 255 - mean) / spread, rtol=1e-4)


@pytest.mark.parametrize("side", [1728, 2048, 3072])
def test_every_competition_field_is_scaled_by_a_quarter_whatever_its_side(side):
    found = HPACellSegmenter(None, None).net_input(np.zeros((side, side, 4), np.uint8))
    assert found.small == (side // 4, side // 4)
    assert all(length % 32 == 0 for length in found.cells.shape[1:])


def test_a_layer_pickled_by_an_old_pytorch_still_works():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = torch.nn.Sequential(torch.nn.MaxPool2d(2), torch.nn.Upsample(scale_factor=2))
    del net[1].recompute_scale_factor  # unknown before PyTorch 1.11
    assert HPACellSegmenter(net, net, device="cpu")(np.zeros((64, 64, 4), np.uint8)).shape == (64, 64)


def recorder(limit=99):
    """A network that notes the shapes of its batches, and runs out of memory above `limit` fields."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    class Recorder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.seen, self.moves, self.net = [], 0, threshold_net(0)

        def to(self, device):
            self.moves += 1
            return super().to(device)

        def forward(self, batch):
            self.seen.append(tuple(batch.shape))
            if len(batch) > limit:
                raise torch.cuda.OutOfMemoryError("out of memory")
            return self.net(batch)

    return Recorder()


def some_fields():
    """Fields of two sizes, mixed, and each another."""
    shapes = [(400, 700), (512, 512), (400, 700), (400, 700), (512, 512), (400, 700), (400, 700)]
    return [np.roll(two_cells(*shape), 10 * number, axis=1) for number, shape in enumerate(shapes)]


def test_fields_go_through_in_batches_of_one_size_and_come_back_in_order():
    net = recorder()
    segmenter = HPACellSegmenter(net, net, device="cpu", batch=3)
    mapped = list(segmenter.map(iter(some_fields())))
    assert sorted(shape[0] for shape in net.seen[::2]) == [2, 2, 3]
    assert net.moves == 2  # once as the nuclei network, once as the cell network
    for cells, field in zip(mapped, some_fields(), strict=True):
        np.testing.assert_array_equal(cells, segmenter(field))
        assert cells.max() == 2


def test_out_of_gpu_memory_the_batch_is_halved_and_stays_so(capsys):
    net, fields = recorder(limit=1), [two_cells(400, 700)] * 9
    segmenter = HPACellSegmenter(threshold_net(0), net, device="cpu", batch=4)
    assert [cells.max() for cells in segmenter.map(fields)] == [2] * 9
    assert [shape[0] for shape in net.seen] == [4, 2] + [1] * 9
    assert "out of memory with 4 fields: going on with 2" in capsys.readouterr().out


def test_a_field_too_large_for_the_gpu_says_so():
    segmenter = HPACellSegmenter(recorder(limit=0), recorder(), device="cpu")
    with pytest.raises(RuntimeError, match="CUDA out of memory with a single field of 160 × 224 px"):
        segmenter(two_cells(400, 700))


def test_the_next_fields_are_read_while_the_networks_work():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    read, wanted = [], threading.Event()

    def fields():
        for number in range(4):
            read.append(number)
            if number == 3:
                wanted.set()
            yield two_cells(256, 256)

    class Waiting(torch.nn.Module):
        def forward(self, batch):
            assert wanted.wait(20), "the fourth field was not read while the first was in the network"
            return batch

    assert len(list(HPACellSegmenter(Waiting(), Waiting(), device="cpu", batch=1).map(fields()))) == 4


def test_a_field_that_fails_does_not_stop_the_others():
    segmenter = HPACellSegmenter(threshold_net(0), threshold_net(0), device="cpu", batch=2)
    unreadable = FileNotFoundError("no yellow channel")
    fields = [two_cells(400, 700), unreadable, np.zeros((64, 64), np.uint8), two_cells(400, 700)]
    found = list(segmenter.stream(fields))
    assert found[1] is unreadable and isinstance(found[2], Exception)
    assert found[0][1].max() == found[3][1].max() == 2


def test_fields_of_a_part_are_streamed_and_an_unreadable_one_is_set_aside_alone(tmp_path):
    for number, channel in itertools.product(range(5), range(4)):
        name = f"{number}_{('red', 'green', 'blue', 'yellow')[channel]}.png"
        if number != 2 or channel != 3:
            cv2.imwrite(str(tmp_path / name), np.ascontiguousarray(two_cells(400, 700)[..., channel]))
    net = recorder()
    segmenter = HPACellSegmenter(threshold_net(0), net, device="cpu", batch=4)
    part = plan_segmentation(open_dataset(tmp_path), ["test"], segmenter, tmp_path / "out")[0]
    assert segment_part(part) == {"fields": 5, "reused": 0}
    assert [shape[0] for shape in net.seen] == [4]
    fields = tables.read_part(tmp_path / "out" / "fields" / part.name)
    assert fields["n_cells"].tolist() == [2, 2, 0, 2, 2]
    assert ["yellow" in error for error in fields["error"]] == [False, False, True, False, False]
    cells = tables.read_part(tmp_path / "out" / "cells" / part.name)
    assert (cells["nucleus_area"] > 0).all() and len(cells) == 8
