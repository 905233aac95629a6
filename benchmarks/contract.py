"""scikit-learn's own suite on the default classifier: every check, its status, the time.

python benchmarks/contract.py
"""

import os
import time
import warnings
from collections import Counter

os.environ["SCIPY_ARRAY_API"] = "1"  # read on import

import torch
from machine import report
from sklearn.utils.estimator_checks import check_estimator

from sksiamese import SiameseOneShotClassifier


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    records = check_estimator(SiameseOneShotClassifier(), on_fail=None, on_skip=None)
    report(
        "contract",
        {
            "checks": Counter(record["status"] for record in records),
            "not_passed": [r["check_name"] for r in records if r["status"] != "passed"],
            "seconds": round(time.perf_counter() - start, 1),
        },
    )


if __name__ == "__main__":
    main()
