"""The settings of the commands beside train: what each command line may hold, and its help.

Those of train are in schema.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastgan.config.command_line import positional
from fastgan.config.schema import TrainConfig
from fastgan.errors import ConfigError

SortAs = Literal["link", "copy"]


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """What to look at."""

    data: Annotated[Path | None, positional()] = None
    """The folder with your images."""
    json: Path | None = None
    """Write everything to this file as well."""
    force: bool = False
    """Replace the file of --json if it is there."""
    time: bool = True
    """Try a few steps of training, to estimate how long a run takes on this machine."""
    amp: bool = True
    """Whether that run would have --amp."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it would compute."""
    threads: int = 0
    """Its threads of a CPU. 0: one for each processor that this process may use and that others leave free."""
    cache: bool = False
    """List what lies in the cache of decoded images and judges."""
    empty_cache: bool = False
    """Remove it; what is needed is made again."""
    cache_dir: Path | None = None
    """The cache. Left out: $XDG_CACHE_HOME/fastgan or ~/.cache/fastgan."""


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """What to label, and where to write the labels."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    images: Annotated[Path | None, positional()] = None
    """A folder of image files, including its subfolders. A run on youtube-faces crops files named as in a
    YouTube-Faces tree like its training images, and uses others whole. Or a .npz or .npy file of arrays, whose images
    are listed by index. Left out: the run's own training images, by path if they are files, else by index."""
    labels_from_folders: bool = False
    """An image's real class is its first subfolder, of IMAGES or of the folder that the run was trained on: print how
    far Q's classes are these."""
    skip_bad: bool = False
    """Leave out files of IMAGES that are not valid images, and list them; a run trained with this flag does so anyway.
    Otherwise they are an error."""
    out: Path | None = None
    """The table to write, csv. Left out: RUN/assignments.csv, of arrays in a file RUN/assignments-NAME.csv, which is
    renewed where it lists files of the same folder."""
    names: Path | None = None
    """Names of the classes, as downloaded from report.html (names.json): the table gains them, and --sort-into makes
    folders with them. Classes with the same name count as one."""
    force: bool = False
    """Replace a table that is there already, and in --sort-into what was sorted there before."""
    sort_into: Path | None = None
    """A new folder to sort the files into, one subfolder per class; files.csv in it tells which file is which. The
    files themselves stay where they are. With --force it may be one of an earlier call, if nothing was added to it."""
    sort_as: SortAs = "link"
    """link: hard links or, where these are not possible, symbolic links or copies. A hard link takes no space, and is
    the same file: editing one edits the original. copy: copies, which may be edited."""
    data_dir: Path | None = None
    """Where the run's data set is now, if it has moved and IMAGES is left out."""
    cache_dir: Path | None = None
    """Where decoded images are kept. Left out: where the run kept them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    threads: int = 0
    """Threads of a CPU. 0: one for each processor that this process may use and that others leave free."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What to measure."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    labels_from_folders: bool = False
    """For a run on a folder without labels: an image's class is its first subfolder. A judge is trained on them, in a
    minute or two, and kept."""
    data_dir: Path | None = None
    """Where the run's data set is now, if it has moved."""
    cache_dir: Path | None = None
    """Where decoded images and judges are kept. Left out: where the run kept them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    threads: int = 0
    """Threads of a CPU. 0: one for each processor that this process may use and that others leave free."""
    json: Path | None = None
    """Write the figures to this file as well."""
    force: bool = False
    """Replace a file of --json that is there already."""
    beside: Path | None = None
    """Another run on the same data with another seed: print how far both agree on which images belong together."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What to export, and where."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    out: Path | None = None
    """The folder to make. Left out: RUN/export."""
    force: bool = False
    """Replace an existing export."""
    threads: int = 0
    """Threads of a CPU, on which it is exported. 0: one for each processor that this process may use and that others
    leave free."""
    overwrite: bool = False
    """The same as --force."""


@dataclass(frozen=True, kw_only=True)
class PageConfig:
    """Which report to write."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    others: Annotated[tuple[Path, ...], positional()] = ()
    """The folders of more runs on the same images: one page then compares them all, which groups are the same, which
    images moved and, over several K, which K suits."""
    labels_from_folders: bool = False
    """For runs on a folder without labels: an image's class is its first subfolder, and the page shows how far the
    groups are these."""
    beside: Path | None = None
    """The folder of a second run on the same images, with another seed: the report then says which groups it finds too,
    and how far both agree. Nothing else of it is shown; that is what naming several runs is for."""
    data_dir: Path | None = None
    """Where the run's data set is now, if it has moved."""
    cache_dir: Path | None = None
    """Where decoded images are kept. Left out: where the run kept them."""
    out: Path | None = None
    """The file to write. Left out: RUN/report.html, or RUN/compare.html with more runs; either is renewed."""
    force: bool = False
    """Replace a file of --out that is there already."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    threads: int = 0
    """Threads of a CPU. 0: one for each processor that this process may use and that others leave free."""


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """Which runs, and how they are trained."""

    suite: Literal["paper"] = "paper"
    """paper: the paper's variants on imbalanced MNIST. worlds: many data sets, one recipe, and its rivals
    (`--suite worlds --help`)."""
    dataset: Literal["digits", "mnist"] = "mnist"
    """Which images."""
    splits: str = "1-50"
    """Which of the 50 published imbalances: numbers and ranges, such as 1-3,7."""
    methods: str = "all"
    """all, or some of uniform, ground-truth, gumbel-softmax, ground-truth-contrastive, elastic, separated by commas."""
    seeds: str = "0"
    """Which seeds for each: numbers and ranges."""
    epochs: int = 20
    """Passes over the training images; runs are evaluated every five epochs."""
    recipe: Literal["default", "paper"] = "default"
    """paper: everything as in the paper's recipe, including its transform."""
    results: Path = Path("results")
    """Where finished runs are kept, one JSON file each; a run found there is not repeated."""
    keep_checkpoints: bool = False
    """Leave the checkpoints of finished runs (two of 128 MB each for MNIST), so that `python -m fastgan.sample`,
    `cluster` and `page` read them. Left out: only the figures stay."""
    table: bool = False
    """Print the table of the runs in --results, save it there as text, Markdown and a picture, and stop."""
    dry_run: bool = False
    """List the runs that are left, and stop."""

    data_dir: Path | None = None
    """Folder with the data set's files, or to download them into. Left out: ./data."""
    cache_dir: Path | None = None
    """Where the judge is kept. Left out: $XDG_CACHE_HOME/fastgan or ~/.cache/fastgan."""
    amp: bool = False
    """Automatic mixed precision, in bfloat16 where the device has instructions for it, else in float32."""
    compile: bool = False
    """On a CUDA GPU, compile with torch.compile, once for all runs of a method."""
    augment: Literal["auto", "dali", "torchvision"] = "auto"
    """What transforms the images."""
    kernels: Literal["auto", "triton", "reference"] = "auto"
    """Fused Triton kernels, or their references in plain torch."""
    capture: bool = True
    """On a CUDA GPU, replay the training step as a CUDA graph, captured once for all runs of a method."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; under torchrun each rank takes a GPU of its own."""
    threads: int = 0
    """Threads of a CPU, of each run. 0: one for each processor that this process may use and that others leave free."""
    runs_at_once: int = 0
    """How many runs to make at the same time: on a GPU in threads, on a CPU in processes that share its processors.
    0: on a GPU up to four, as memory allows; on a CPU one."""


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What to draw."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    code: int | None = None
    """The code to draw, 0 to K-1. Left out: every code, one row each."""
    count: int | None = None
    """Images per code (left out: 10). With --interpolate, rows per code (left out: 10 for --code, else 1)."""
    interpolate: Literal["code", "noise"] | None = None
    """code: each row goes from --code to --to with its noise fixed. noise: each row goes from one noise to another with
    its code fixed."""
    to: int | None = None
    """The code at which --interpolate code ends."""
    steps: int = 8
    """Images per row under --interpolate, including both ends."""
    out: Path | None = None
    """The picture to write, png. Left out: in RUN/samples, named after what it shows, and renewed."""
    force: bool = False
    """Replace a picture that is there already."""
    singles: Path | None = None
    """A folder to also write each image to, as code-KK-NNNN.png. Existing files are never overwritten."""
    seed: int = 0
    """Another seed draws other images."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    threads: int = 0
    """Threads of a CPU. 0: one for each processor that this process may use and that others leave free."""


@dataclass(frozen=True, kw_only=True)
class WorldsConfig:
    """Which runs on which data sets."""

    suite: Literal["worlds"] = "worlds"
    """paper: the paper's variants on imbalanced MNIST (`--suite paper --help`). worlds: many data sets, one recipe, and
    its rivals."""
    worlds: str = "all"
    """all, or some of mnist, mnist-20, mnist-unknown-k, fmnist-5, fmnist-10, fmnist-unknown-k, cifar-2, lfw, with
    commas."""
    methods: str = "all"
    """all, or some of elastic (the default recipe), kmeans, pca-gmm, spectral, umap-kmeans, umap-gmm, umap-hdbscan,
    with commas. UMAP is an extra: pip install 'fastgan[rivals]'."""
    splits: str = "1-6"
    """Which of the 50 published imbalances of MNIST: numbers and ranges, such as 1-3,7."""
    seeds: str = "0-2"
    """Which seeds of each: numbers and ranges."""
    results: Path = Path("results/worlds")
    """Where finished runs are kept, a folder for each world; a run that is there is not run again."""
    keep_checkpoints: bool = False
    """Leave the checkpoints of finished runs (two of 128 MB each for MNIST), so that `python -m fastgan.sample`,
    `cluster` and `page` read them. Left out: only the figures stay."""
    table: bool = False
    """Print the table of the runs in --results, save it there, and stop."""
    dry_run: bool = False
    """Print which runs are left, and stop."""
    data_dir: Path = Path("data")
    """Folder that holds the data sets, each in its own: mnist, fashion-mnist, cifar2-7-3, lfw-as-ytf (docs/worlds.md
    says where each comes from)."""
    cache_dir: Path | None = None
    """Where judges and decoded images are kept. Left out: $XDG_CACHE_HOME/fastgan or ~/.cache/fastgan."""
    amp: bool = False
    """Automatic mixed precision, in bfloat16 where the device has instructions for it, else in float32."""
    compile: bool = False
    """On a CUDA GPU, compile with torch.compile."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; rivals always use the CPU."""
    threads: int = 0
    """CPU threads of each run. 0: one for each processor that this process may use and that is idle, shared among the
    runs that are made at once."""
    runs_at_once: int = 1
    """Runs of a world to make at the same time, each in a process of its own. On a GPU start NVIDIA's MPS before
    (nvidia-cuda-mps-control -d), or their kernels take turns; each run takes 2 to 3 GB of its memory."""


def check_labels_from_folders(run: Path, config: TrainConfig, more: str = "") -> None:
    """Raise ConfigError, before the work, where the images of a run lie in no folders; `more`: another remedy."""
    if config.dataset != "folder":
        raise ConfigError(
            f"--labels-from-folders: {run} was trained on {config.dataset}, whose images lie in no folders of classes; "
            f"leave the flag out{more}"
        )
