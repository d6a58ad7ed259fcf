"""What the caller's environment must not decide: figures, the Python of the kernel, encodings, where things are."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import REPOSITORY

from hpa_utils.paths import hold
from hpa_utils.running.execution import Indented, NotebookFailed, execute
from hpa_utils.running.kernel import clean_environment

NOTEBOOK = """# %% tags=["parameters"]
place: str = ""

# %%
import os
import sys
import warnings
import matplotlib.pyplot as plt
warnings.warn("few fields")
print(sys.executable, sys.flags.utf8_mode, place)

# %% tags=["cover"]
plt.plot([0, 1])
plt.show()
"""


def write_notebook(folder: Path, text: str = NOTEBOOK) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "01_small.py"
    source.write_text(text, encoding="utf-8")
    return source


def printed(folder: Path) -> str:
    cells = nbformat.read(folder / "01_small.ipynb", as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """An environment as editors, batch systems and other installations leave it; returns a folder with an odd name."""
    specs = tmp_path / "jupyter" / "kernels" / "python3"
    specs.mkdir(parents=True)
    (specs / "kernel.json").write_text('{"argv": ["false"], "display_name": "Python 3", "language": "python"}')
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("import matplotlib.pyplot as plt; plt.switch_backend('agg')")
    (tmp_path / "matplotlibrc").write_text("text.usetex: true")
    long = tmp_path / ("d" * 100)
    long.mkdir()
    own = {"MPLBACKEND": "module://backend_interagg", "JUPYTER_PATH": str(tmp_path / "jupyter"), "TMPDIR": str(long)}
    own |= {"IPYTHONDIR": str(tmp_path / "ipython"), "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "PYTHONUTF8": "0"}
    for name, value in (own | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONWARNINGS": "error"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = tmp_path / "run {x}, lr=0.1, 100%20, µ"
    folder.mkdir()
    return folder


def test_a_hostile_environment_changes_nothing(hostile, tmp_path):
    execute(write_notebook(tmp_path / "source"), {"place": str(hostile)}, hostile)
    lines = sorted(printed(hostile).splitlines())  # two streams, in any order
    assert lines == [f"{sys.executable} 1 {hostile}", "warning: few fields"]
    assert (hostile / "01_small.png").read_bytes().startswith(b"\x89PNG")


def test_a_page_asks_no_other_server_for_anything(tmp_path):
    execute(write_notebook(tmp_path), {}, tmp_path)
    page = (tmp_path / "01_small.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert "<script" not in page and "@import" not in page and 'src="http' not in page


def test_the_command_line_starts_again_in_an_environment_of_its_own(hostile):
    call = [sys.executable, "-W", "ignore", "-m", "hpa_utils", "run", "--data", "/nowhere/µ".encode()]
    done = subprocess.run(call, cwd=REPOSITORY, capture_output=True)
    assert done.returncode == 1 and "/nowhere/µ does not exist" in done.stderr.decode("utf-8")
    assert not {"MPLBACKEND", "PYTHONIOENCODING", "JUPYTER_PATH"} & set(clean_environment())


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("a = 1\n\nraise ValueError('no such\\nfield')", "cell [2] at line 3, `raise ValueError('no such\\nfield')`: "
         "ValueError: no such\n"),
        ("a = = 1", "cell [2], `a = = 1`: SyntaxError: invalid syntax"),
    ],
)  # fmt: skip
def test_a_failure_names_cell_line_and_error(tmp_path, cell, message):
    source = write_notebook(tmp_path, f'# %% tags=["parameters"]\nplace: str = ""\n\n# %%\n{cell}\n')
    with pytest.raises(NotebookFailed) as error:
        execute(source, {}, tmp_path)
    assert str(error.value).startswith(f"01_small failed in {message}")
    assert str(error.value).endswith(f"\nexecuted so far: {tmp_path / '01_small.ipynb'}")


def test_what_a_notebook_prints_is_indented_in_whatever_pieces_it_comes(capsys):
    printed = Indented()
    for text in ("\r  0%", "\r100%\n", "a lin", "e\nanother\n"):
        printed.write(text)
    assert capsys.readouterr().out == "\r      0%\r    100%\n    a line\n    another\n"


def test_a_folder_is_held_by_one_process_and_let_go_of_when_that_is_killed(tmp_path):
    out = tmp_path / "out"
    code = f"from pathlib import Path; from hpa_utils.paths import hold; h = hold(Path({str(out)!r}))"
    code += "; h.__enter__(); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RuntimeError, match=rf"out is being worked on by process {other.pid}: wait for its end"):
            with hold(out):
                pass
        with hold(out / "04_train" / "one"):  # a run in it is another folder
            pass
        other.kill()
        other.wait()
    with hold(out):
        assert (out / ".lock").read_text() == str(os.getpid())
