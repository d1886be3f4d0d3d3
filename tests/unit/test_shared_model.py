"""What goes to a shared model, and what comes back, as far as JSON changes it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from omegaml.config import load
from omegaml.errors import InvalidInput
from omegaml.omega import Omega
from omegaml.runtime.shared import _array, _values


def test_numbers_that_are_none_come_back_as_nan() -> None:
    for result in ([1, None], [1.5, None], [[1.0, None], [None, 2.0]]):
        found = _array(result, "predict")
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, np.array(result, dtype=float))


def test_what_are_no_numbers_comes_back_as_it_is() -> None:
    for result in (["a", None], [True, None], [None, None]):
        found = _array(result, "predict")
        assert found.dtype == object and found.tolist() == result
    assert _array([1, 2], "predict").dtype == np.int64
    assert _array(0.5, "score") == 0.5


def test_a_frame_without_columns_is_refused_rather_than_losing_its_rows() -> None:
    with pytest.raises(InvalidInput, match="without columns"):
        _values(pd.DataFrame(index=range(3)))


def test_what_only_a_model_of_ones_own_does_is_refused_by_name() -> None:
    model = Omega(config=load()).runtime.model("@bob/m")
    with pytest.raises(InvalidInput, match="map of shared model '@bob/m'"):
        model.map("predict", [[1], [2]])
    with pytest.raises(InvalidInput, match="fit of shared model '@bob/m': only its owner"):
        model.fit([[1]], [1])
