"""Two runs on the same data: how far their Qs agree on the real images.

For data without labels, this is one of the few ways to tell whether the classes are in the data or due to chance.

Legend: N images, K codes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from fastgan.config import schedule
from fastgan.config.schema import TrainConfig
from fastgan.data import loading
from fastgan.data.identity import identify
from fastgan.data.image_set import ImageSet
from fastgan.errors import ConfigError
from fastgan.evaluation import diagnosis, metrics
from fastgan.inference import trained_run
from fastgan.inference.labelling import assign
from fastgan.inference.trained_run import TrainedRun
from fastgan.runs import run_folder

SAME = (
    "dataset",
    "image_size",
    "channels",
    "ground",
    "imbalance",
    "split",
    "emnist_split",
)  # settings that the same data share


def load_beside(path: Path, run: TrainedRun, config: TrainConfig, images: ImageSet) -> TrainedRun:
    """Load the run to compare `run` with, which must be on the same data.

    mnist and digits draw the images of a split by the seed: runs of one split count as the same data, although each may
    have seen images that the other has not. Image files must be the same, with the same pixels.

    Args:
        config: of `run`, with the current folder of its data; images: its data.

    Raises:
        ConfigError: if it is the same run, or on other data.
    """
    if path.resolve() == run.run.path.resolve():
        raise ConfigError(f"--beside {path}: is the same run; name another one, with another --seed")
    settings = run_folder.saved_config(path)
    for name in SAME:
        ours, theirs = getattr(config, name), getattr(settings, name)
        if ours != theirs and not (name == "split" and config.imbalance != "split"):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"--beside {path}: is on other data ({flag} {theirs} there, {ours} here); name another run"
            )
    if images.paths is not None:
        _check_files(path, run, config, images, settings)
    return trained_run.load(path, run.device)


def _check_files(path: Path, run: TrainedRun, config: TrainConfig, images: ImageSet, settings: TrainConfig) -> None:
    """Raise ConfigError if the images of a run with `settings` are other files or have other pixels."""
    ours, theirs = loading.data_folder(run.config), loading.data_folder(settings)
    moved = loading.data_folder(config) if theirs.resolve() == ours.resolve() else theirs
    theirs_now = replace(
        settings,
        data_dir=moved,
        cache_dir=config.cache_dir,
        labels_from_folders=config.labels_from_folders,  # labels and bad files do not matter here
        skip_bad=config.skip_bad,
    )
    found = loading.load(theirs_now)
    one_folder = moved.resolve() == loading.data_folder(config).resolve()
    one_folder = one_folder and settings.intensity_range == config.intensity_range
    if found.paths != images.paths or (not one_folder and identify(found).digest != identify(images).digest):
        raise ConfigError(
            f"--beside {path}: is on other images ({len(found.images):,} in {moved}, {len(images.images):,} in "
            f"{loading.data_folder(config)}); name another run"
        )


def doubts(run: TrainedRun, other: TrainedRun, images: ImageSet) -> list[str]:
    """Reasons why the agreement of two runs may say little, one sentence each."""
    found = []
    if run.config.seed == other.config.seed:
        found.append(f"both runs have --seed {run.config.seed}; runs with different seeds say more")
    for each in (run, other):
        path, seen = each.run.path, each.images_seen
        whole = schedule.total_images(each.config, len(images.images), each.ranks())
        if seen < whole:
            found.append(f"{path} is unfinished ({seen:,} of {whole:,} images); continue it with --resume first")
        elif seen < diagnosis.FEW_SHOWN:
            found.append(f"{path} is hardly trained ({seen:,} images shown); its classes say little yet")
    return found


def agreement(codes_N: Tensor, run: TrainedRun, other: TrainedRun, images: ImageSet) -> tuple[dict[str, float], str]:
    """The figures of metrics.agreement on the images, labelled by both Qs, and a sentence on what they mean.

    No figures if a run has collapsed: two runs that give all images one code agree, whatever the images show.

    Args:
        codes_N: the codes that the Q of `run` gives the images, int64 [N] on the CPU.
    """
    theirs_N, _ = assign(other.networks, images.images, other.config, other.device)
    for each, found_N in ((run, codes_N), (other, theirs_N)):
        sizes_K = metrics.cluster_sizes(found_N, each.config.classes)
        if how := diagnosis.collapsed(each.prior.probabilities().detach().cpu(), sizes_K):
            return {}, f"Withheld: {each.run.path} has collapsed and has no classes to agree on. {how}"
    figures = metrics.agreement(codes_N, theirs_N, run.config.classes, other.config.classes)
    for each in (run, other):
        if each.images_seen < diagnosis.FEW_SHOWN:
            return figures, f"This says nothing yet: {each.run.path} is hardly trained."
    return figures, diagnosis.agreement(figures["agreement_ari"])
