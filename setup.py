"""Packaging for fastgan: `pip install -e .` gives the packages `fastgan` and `kernels`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
LINUX = 'platform_system == "Linux"'
# Where the sources can be read. While this is empty, the README of the package index has no pictures, and its links to
# pages of docs/ are plain words: there they would lead nowhere.
ADDRESS = ""


def version() -> str:
    """The version, which stands in fastgan/__init__.py alone and is read without importing it."""
    source = (HERE / "fastgan" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', source, flags=re.MULTILINE).group(1)


def readme() -> str:
    """README.md for the package index, where paths of this folder mean nothing."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    if ADDRESS:
        text = re.sub(r"(!\[[^\]]*\])\((?!https?:)([^)]+)\)", rf"\1({ADDRESS}/raw/main/\2)", text)
        return re.sub(r"(?<!!)(\[[^\]]*\])\((?!https?:|#)([^)]+)\)", rf"\1({ADDRESS}/blob/main/\2)", text)
    text = re.sub(r"^!\[[^\]]*\]\((?!https?:)[^)]+\)\n\n?", "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)]+\)", r"\1", text)


setup(
    name="fastgan",
    version=version(),
    description="A fast, tested trainer for Elastic-InfoGAN: classes and their frequencies from unlabelled images",
    long_description=readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["clustering", "GAN", "InfoGAN", "imbalanced data", "unsupervised learning", "Triton", "NT-Xent"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["fastgan", "fastgan.*", "kernels", "kernels.*"]),
    package_data={
        "fastgan": ["py.typed"],
        "kernels": ["py.typed"],
        "fastgan.data": ["*.csv"],
        "fastgan.inference": ["templates/*.j2"],
        "fastgan.reporting": ["templates/*.j2", "templates/*.css", "templates/*.js"],
    },
    entry_points={"console_scripts": ["fastgan = fastgan.__main__:main"]},
    python_requires=">=3.11",
    # Lower bounds are the oldest releases that the tests pass with (`make lowest`); what a run cannot do without.
    install_requires=[
        "torch>=2.11",
        "torchvision>=0.26",
        "numpy>=2.0",
        "scipy>=1.13",
        "scikit-learn>=1.6",
        "threadpoolctl>=3.5",
        "joblib>=1.3",
        "filelock>=4.0",
        "tyro>=0.9",
        "tqdm>=4.66",
        "safetensors>=0.5",
        "matplotlib>=3.9",
        "jinja2>=3.1",
        "pillow>=12.3",
    ],
    extras_require={
        # Without these a run uses the plain kernels and transforms by tensor operations, as on any CPU.
        "gpu": [f"triton>=3.6; {LINUX}", f"nvidia-dali-cuda130>=2.4; {LINUX}"],
        # Where it is installed, a run writes its figures for it too.
        "tensorboard": ["tensorboard>=2.21"],
        # Data sets and models of the Hugging Face hub.
        "hub": ["datasets>=5", "huggingface-hub>=0.30"],
        # Exported programs as ONNX too, and the runtime that checks them.
        "onnx": ["onnx>=1.17", "onnxscript>=0.3", "onnxruntime>=1.20"],
        # What is measured beside us: losses by `pytest bench/`, clusterings by `python -m fastgan.reproduce --suite
        # worlds`.
        "rivals": ["lightly", "pytorch-metric-learning", "inf-cl", "umap-learn>=0.5.12"],
        "dev": [
            # Tests without a GPU interpret the kernels, which Triton 3.6 cannot under NumPy 2.4 (ranges at run time).
            "numpy<2.4",
            "pytest>=8",
            "pytest-benchmark>=5",
            "pytest-xdist>=3.6",
            "hypothesis>=6",
            "ruff>=0.9",
            "mypy>=1.14",
            "pre-commit>=4",
            "setuptools>=77",
            "wheel",
            "pyyaml>=6",
        ],
    },
)
