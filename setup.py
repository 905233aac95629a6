"""Packaging of sksiamese."""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = next(
    line.split('"')[1]
    for line in (here / "sksiamese/__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

plot = ["matplotlib>=3.7"]
# scikit-learn's own progress bar, which Python 3.10 is too old for
progress = ["rich>=13", "scikit-learn>=1.9; python_version >= '3.11'"]

setup(
    name="sksiamese",
    version=version,
    description="One-shot classification with a twin network, as a scikit-learn estimator",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    packages=find_packages(include=["sksiamese", "sksiamese.*"]),
    package_data={
        "sksiamese.datasets": ["data/*"],
        "sksiamese.weights": ["*.safetensors", "*.md"],
    },
    install_requires=[
        "numpy>=1.24",
        "scipy>=1.10",
        "scikit-learn>=1.6",
        "torch>=2.4",
        "skorch>=1.1",
        "safetensors>=0.4",
        "pillow>=9.4",
        "pooch>=1.6",
    ],
    entry_points={"console_scripts": ["sksiamese = sksiamese._cli:main"]},
    extras_require={
        "timm": ["timm>=0.9"],
        "plot": plot,
        "progress": progress,
        "test": [
            "pytest>=7.4",
            "hypothesis>=6.80",
            "pandas>=2.0",
            "skops>=0.11",
            *plot,
            *progress,
        ],
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
