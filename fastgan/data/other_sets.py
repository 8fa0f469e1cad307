"""Recognising the files of other data sets, and of other forms of the one that is wanted."""

from __future__ import annotations

from pathlib import Path

# Glob below a folder -> (what such a file is, the data set that reads it), the first that fits.
FILES = {
    "kmnist-*.npz": ("KMNIST in NumPy's form; its idx files are read", ""),
    "dataset_dict.json": ("a Hugging Face data set", "hf"),
    "dataset_info.json": ("a Hugging Face data set", "hf"),
    "*.parquet": ("a Hugging Face data set", "hf"),
    "data/*.parquet": ("a Hugging Face data set", "hf"),
    "*-[0-9]*.tar": ("a WebDataset, or an archive to unpack", "hf"),
    "*.npz": ("arrays in a file, which --data-dir must name", "npz"),
    "cifar-10-batches-py": ("CIFAR-10", "cifar10"),
    "cifar-10-python.tar.gz": ("CIFAR-10", "cifar10"),
    "data_batch_1": ("CIFAR-10", "cifar10"),
    "cifar-10-batches-bin": ("CIFAR-10 in its binary form; its Python form is read", ""),
    "cifar-10-binary.tar.gz": ("CIFAR-10 in its binary form; its Python form is read", ""),
    "cifar-10-batches-mat": ("CIFAR-10 in its MATLAB form; its Python form is read", ""),
    "cifar-10-matlab.tar.gz": ("CIFAR-10 in its MATLAB form; its Python form is read", ""),
    "cifar-100-*": ("CIFAR-100, which is read as images only; write them out for --dataset folder", ""),
    "*_32x32.mat": ("SVHN", "svhn"),
    "digitStruct.mat": ("SVHN's whole house numbers; its cropped digits are read", ""),
    "usps*.bz2": ("USPS", "usps"),
    "usps.h5": ("USPS in another form; LIBSVM's is read", ""),
    "zip.train*": ("USPS in another form; LIBSVM's is read", ""),
    "emnist-*-ubyte*": ("EMNIST", "emnist"),
    "EMNIST/raw/emnist-*-ubyte*": ("EMNIST", "emnist"),
    "gzip/emnist-*-ubyte*": ("EMNIST", "emnist"),
    "gzip.zip": ("EMNIST, packed; unpack it", ""),
    "emnist-*.mat": ("EMNIST in its MATLAB form; its gzip form is read", ""),
    "KMNIST/raw/*-ubyte*": ("KMNIST", "kmnist"),
    "FashionMNIST/raw/*-ubyte*": ("FashionMNIST", "fashion-mnist"),
    "MNIST/raw/*-ubyte*": ("MNIST", "mnist"),
    "*-idx3-ubyte*": ("MNIST, FashionMNIST or KMNIST", "mnist, fashion-mnist or kmnist"),
}


def found_instead(folder: Path, data_set: str) -> str:
    """What lies in `folder` of other data sets than `data_set`, in words; empty where nothing is known."""
    for pattern, (what, name) in FILES.items():
        if name == data_set or data_set in name.replace(",", "").split():
            continue
        try:
            path = next(iter(sorted(folder.glob(pattern))), None)
        except OSError:
            return ""
        if path is not None:
            use = f"; use --dataset {name}, or another --data-dir" if name else ""
            return f"{path} is {what if not name else f'of {what}'}{use}"
    return ""
