# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Several notebooks in one Kaggle kernel
#
# papermill runs them in order, each in a kernel of its own, as `python -m hpa_utils run` does on a laptop. Two models
# of 04 are trained side by side, one on each T4.
#
# - **Reads** the competition's data and the attached outputs. Runs that they hold finished are left out, runs that
#   were cut go on. With 05 but without 04, all attached models predict the test split.
# - **Writes** the folders of the runs, and `submission.csv`. In the scoring run all of the test split is done anew.
# - **Takes** what they take.

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
notebooks: str = "01,02,03,04,05"  # which
preset: str = ""  # named set of parameters, in notebooks/presets.json
folds: str = ""  # folds of 04, such as 0,1; empty: the preset's
rounds: int = 0  # rounds of 04; 0: the preset's
runs: str = ""  # only the runs of these names, such as b0-128-r1-f0,b0-field-*; empty: all
assignments: dict = {}  # {"NAME": value} or {"04.NAME": value}, over the preset's
hours: float = 0.0  # from now, after which no work is begun; 0: no deadline

# %%
import time

from hpa_utils.paths import find_out
from hpa_utils.running.notebooks import numbered, run_notebooks

# %%
chosen, end = numbered(notebooks), time.time() + 3600 * hours
model = "attached" if "05_inference" in chosen and "04_train" not in chosen else ""
given = {"deadline": end} if hours else {}
if hours and {"04_train", "05_inference"} <= set(chosen):
    given["04.deadline"] = end - 3600  # 05 needs time, too
given = tuple(f"{name}={value}" for name, value in (given | assignments).items())
options = {"preset": preset, "model": model, "folds": folds, "rounds": rounds, "runs": runs}
print("results:", run_notebooks(out=str(find_out()), notebooks=notebooks, assignments=given, **options))
