"""Packaging for fastgan: `pip install -e .` gives the packages `fastgan` and `kernels`."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
LINUX = 'platform_system == "Linux"'

setup(
    name="fastgan",
    version="0.1.0",
    description="A fast, tested trainer for Elastic-InfoGAN: classes and their frequencies from unlabelled images",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["fastgan", "fastgan.*", "kernels", "kernels.*"]),
    package_data={
        "fastgan": ["py.typed"],
        "fastgan.data": ["*.csv"],
        "fastgan.inference": ["templates/*.j2"],
        "fastgan.reporting": ["templates/*.j2"],
    },
    python_requires=">=3.11",
    install_requires=[
        "torch>=2.11",
        "torchvision>=0.26",
        "numpy>=2.0",
        "scipy>=1.13",
        "scikit-learn>=1.5",
        "threadpoolctl>=3.5",
        "joblib>=1.3",
        "filelock>=4.0",
        "tyro>=0.9",
        "tqdm>=4.66",
        "safetensors>=0.5",
        "matplotlib>=3.9",
        "jinja2>=3.1",
        "pillow>=12.3",
        f"triton>=3.6; {LINUX}",
        f"nvidia-dali-cuda130>=2.4; {LINUX}",
    ],
    extras_require={
        # Where it is installed, a run writes its figures for it too; outside the lock.
        "tensorboard": ["tensorboard>=2.21"],
        # For --dataset hf; outside the lock.
        "hf": ["datasets>=5"],
        # What is measured beside us, where it is installed: losses by `pytest bench/`, clusterings by
        # `python -m fastgan.reproduce --suite worlds`; outside the lock.
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
        ],
    },
)
