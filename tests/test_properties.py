"""Samples, labels, groups and pairs of every form: as a slow reference, or a documented error.

Short runs of ``tests/long/properties.py``, which says what the properties are.
"""

import pytest
from long import properties


@pytest.mark.parametrize("part", properties.PARTS, ids=lambda part: part.__name__)
def test_estimators_answer_as_the_reference_or_raise(part):
    properties.run(part, round(150 * properties.PARTS[part]), seed=0)
    counts = {what: properties.COUNTS[part.__name__, what] for what in ("results", "errors")}
    assert any(counts.values())
