import numpy as np
import pandas as pd
import pytest

from hpa_utils.inference import CELL_COLUMNS, FIELD_COLUMNS, blend, load_models


def test_confidence_is_the_product_of_cell_and_field_but_negative_is_the_cells_own():
    cells = np.linspace(0.1, 0.9, 19, dtype=np.float32)
    fields = np.full(19, 0.5, np.float32)
    table = pd.DataFrame([np.r_[cells, fields]], columns=CELL_COLUMNS + FIELD_COLUMNS)
    confidences = blend(table)
    assert confidences.dtype == np.float32 and confidences.shape == (1, 19)
    np.testing.assert_allclose(confidences[0, :18], cells[:18] / 2, rtol=1e-6)
    assert confidences[0, 18] == cells[18]


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model.keras"):
        load_models(tmp_path)
