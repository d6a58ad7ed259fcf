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
# papermill runs them in order, each in a process of its own, as `python -m hpa_utils run` does on a laptop.
#
# - **Reads** the competition's data, and where 04 is not among the notebooks the attached model folders.
# - **Writes** the folder of each notebook, and `submission.csv`. What an attached earlier output already holds is left
#   out, and what was cut goes on from there. In the scoring run all of the test split is done anew.
# - **Takes** what they take.

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
notebooks: str = "01,02,03,04,05"  # which; without 04 only the test split is done, with the attached models
preset: str = ""  # named set of parameters, in notebooks/presets.json
assignments: str = ""  # NAME=VALUE or 04.NAME=VALUE, with a space between them
hours: float = 0.0  # from now, in which 02, 03 and 05 are to be done: one deadline for the three; 0: none

# %%
import time

from hpa_utils import paths
from hpa_utils.running.notebooks import run_notebooks

# %%
out = paths.find_out()
models = [] if "04" in notebooks else paths.find_stages(out, "04_train")
chosen = assignments.split() + ([f"deadline={time.time() + 3600 * hours}"] if hours else [])
call = {"notebooks": notebooks, "preset": preset, "assignments": tuple(chosen)}
print("results:", run_notebooks(out=str(out), model=",".join(map(str, models)), **call))
