"""Run scikit-learn's own checks on the default classifier, and count their results.

python benchmarks/contract.py
"""

import os
import time
import warnings
from collections import Counter

os.environ["SCIPY_ARRAY_API"] = "1"  # scipy reads it when it is imported

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
