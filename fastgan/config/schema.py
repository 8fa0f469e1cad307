"""Every setting of a run, in frozen dataclasses that the command line builds and everything below it reads.

A setting's range stands beside it; rules over several settings are in validation.py, each data set's defaults in
presets.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Annotated, Literal

from fastgan.config import imbalance as imbalances
from fastgan.config.limits import Limit, above, at_least, at_most, between

PAPER_ROTATION = 25  # degrees; a little above 30 the crop of the authors' library has no height left
MAX_CODES = 65_536  # of either head of Q
GROUNDS = "black|white|grey|#[0-9a-fA-F]{6}"
ZOOM_LIMIT = Limit("0 < low <= high <= 4", lambda zoom: 0 < zoom[0] <= zoom[1] <= 4)
Dataset = Literal[
    "digits",
    "mnist",
    "fashion-mnist",
    "kmnist",
    "emnist",
    "usps",
    "cifar10",
    "svhn",
    "folder",
    "npz",
    "hf",
    "youtube-faces",
]
EmnistSplit = Literal["letters", "digits", "balanced"]
EMNIST_CLASSES: dict[str, int] = {"letters": 26, "digits": 10, "balanced": 47}
IntensityRange = Literal["auto", "type"] | tuple[float, float]
RANGE_LIMIT = Limit(
    "auto, type or two numbers, the lower first",
    lambda value: isinstance(value, str) or -inf < value[0] < value[1] < inf,
)
GROUND_LIMIT = Limit("black, white, grey or #rrggbb", lambda value: re.fullmatch(GROUNDS, value) is not None)
OWN_FILES = ("folder", "youtube-faces")  # data sets of image files in --data-dir
OWN_IMAGES = (*OWN_FILES, "npz", "hf")  # data sets that are the user's own
ARRAYS = (".npz", ".npy")  # endings of files of arrays
OPEN_FORM = ("npz", "hf")  # whose side and channels may be left to the images
CHANNELS = {"cifar10": 3, "svhn": 3}  # of the published data sets that are not grey
IMBALANCE_OF = {"deepdpm": ("mnist", "fashion-mnist"), "fmnist-5": ("fashion-mnist",)}  # for these data sets only
# Flags that only some data sets accept.
FLAGS_OF = {
    "channels": OWN_IMAGES,
    "skip_bad": (*OWN_FILES, "hf"),
    "ground": (*OWN_FILES, "hf"),
    "intensity_range": OWN_FILES,
    "labels_from_folders": ("folder",),
    "identities": ("youtube-faces",),
    "frame_stride": ("youtube-faces",),
    "emnist_split": ("emnist",),
}


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Widths of the networks; their depths follow from the image size (models/networks.py)."""

    noise: Annotated[int, at_least(1)] = 62
    """Length of the generator's noise vector z."""
    width: Annotated[int, at_least(1)] = 64
    """Channels of the first convolution; each further one doubles them, up to 512."""
    hidden: Annotated[int, at_least(1)] = 1024
    """Units of the generator's and the front end's wide linear layer."""
    embedding: Annotated[int, at_least(1)] = 128
    """Length of Q's embedding, which the contrastive loss compares."""
    feature_norm: Literal["batch", "layer"] = "batch"
    """How the front end's last layer is normalised. batch: over the batch, as in the paper. layer: each image by
    itself, for photographs. Generated images form a separate batch, so batch normalisation hides from the
    discriminator how far their mean is off: at 64x64x3 the generator learned nothing. Digits on black do not need it
    and were clustered better with batch (accuracy 0.886 against 0.768, one run each)."""


@dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """The identity-preserving transform of a real image (augment/transform.py)."""

    kind: Literal["auto", "default", "paper", "whole"] = "default"
    """auto: chosen from the images before training, with all settings below but those of --transform.keep
    (augment/suited.py). default: real-valued angles, cropped to the inscribed square. paper: whole degrees and the
    narrower crop of the authors' library. whole: no crop, the corners are filled with black, for objects on black."""
    keep: tuple[str, ...] = ()
    """With kind auto: settings that stay as given, such as flip. Left out: those that the command line sets."""
    rotation: Annotated[float, between(0, 180, " degrees")] = 20.0
    """Largest rotation, degrees; each image draws its own from +/- this."""
    zoom: Annotated[tuple[float, float], ZOOM_LIMIT] = (0.9, 1.1)
    """Smallest and largest zoom about the centre, as a factor."""
    shift: Annotated[float, between(0, 0.5)] = 0.0
    """Largest shift along each axis, as a fraction of the image's side."""
    shear: Annotated[float, between(0, 60, " degrees")] = 0.0
    """Largest shear, degrees; each image draws its own from +/- this."""
    stretch: Annotated[float, between(0, 3)] = 0.0
    """Largest stretch of the width against the height: each image draws its factor from 1 / (1 + this) to 1 + this."""
    flip: Annotated[float, between(0, 1)] = 0.0
    """Fraction of the images that are mirrored left to right; 0 mirrors none."""
    brightness: Annotated[float, between(0, 1)] = 0.0
    """Largest change of brightness: each image draws its factor from 1 +/- this; 0 changes nothing."""
    contrast: Annotated[float, between(0, 1)] = 0.0
    """Largest change of contrast about mid-grey: each image draws its factor from 1 +/- this; 0 changes nothing."""
    saturation: Annotated[float, between(0, 1)] = 0.0
    """Largest change of saturation, as a factor from 1 +/- this; 0 changes nothing, and grey images have none."""
    hue: Annotated[float, between(0, 180, " degrees")] = 0.0
    """Largest shift of the hue, degrees, from +/- this; 0 changes nothing, and grey images have none."""
    interpolation: Literal["auto", "bicubic", "bilinear"] = "auto"
    """How the warped image is sampled. auto: bicubic, except with DALI, which has none."""


@dataclass(frozen=True, kw_only=True)
class GroupingConfig:
    """Groups of real images by nearest neighbours in Q's embedding: pseudo-labels for Q (training/pseudo_labels.py)."""

    at: tuple[int, ...] = ()
    """Epochs, counted from 0, before which the images are grouped again; empty for never. 0 alone, for your own images:
    chosen by their number (config/schedule.py)."""
    weight: Annotated[float, at_least(0)] = 1.0
    """Weight of Q's cross-entropy on the groups, from the first grouping on."""
    landmarks: int = 5_000
    """Largest number of images that are clustered; the others join the groups of their nearest neighbours."""
    neighbours: Annotated[int, at_least(1)] = 10
    """Number of nearest neighbours per image."""
    samples: Annotated[int, at_least(1)] = 1
    """How many samples of landmarks are clustered, each at fifteen resolutions; all groupings are compared."""
    stability: Annotated[float, between(0, 1)] = 0.0
    """An image that is in the same group in fewer of these groupings than is usual for its group, by this factor, gets
    no pseudo-label; 0 labels all."""
    pixel_vote: Annotated[float, between(0, 1)] = 0.0
    """An image without a pseudo-label gets that of its ten nearest labelled images, compared by pixels instead of Q's
    embedding, if at least this share of them has the same. Parts of a group that hardly touch the rest of it are asked
    as a whole. 0 leaves both as they are."""
    pixel_views: Annotated[int, at_least(0)] = 0
    """Pixels also have a say in which parts are one group: images are compared by so many views of each, the image
    itself and transforms of it. 0: Q's embedding alone decides."""
    linkage: Annotated[float, between(0, 1)] = 1.0
    """Which parts are merged first: those with the most affinity, divided by the product of their sizes to this power.
    1 is average linkage, which merges a rare class into its neighbour before two halves of a frequent one; 0.5 divides
    by the geometric mean of the sizes."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training run. The defaults are the paper's recipe; presets.py changes what a data set needs."""

    dataset: Dataset = "digits"
    """Which images: digits (scikit-learn's 8x8 digits, shipped with it), mnist, fashion-mnist; kmnist, emnist, usps,
    cifar10, svhn (their training parts); folder (your own: every image file in the folder --data-dir and below it), npz
    (arrays in the .npz or .npy file --data-dir), hf (a Hugging Face data set: the folder --data-dir of save_to_disk, or
    of parquet files or WebDataset's .tar files, or one of these files), or youtube-faces (that data set's frames, laid
    out as it is published; the central 110 x 110 pixels of each). docs/data.md lists them all."""
    recipe: Literal["default", "paper"] = "default"
    """default: Q and the front end also learn that an image and its transform have the same code, and which real images
    belong together, from groups of nearest neighbours found before chosen epochs. The prior is pulled towards the code
    frequencies that Q finds on real images, in addition to its gradient through the Gumbel-Softmax sample. Transforms
    are stronger, and samples come from an averaged generator. paper: the data set's settings without all of this.
    Other flags override either."""
    data_dir: Path | None = None
    """Folder that holds the data set's files or that they are downloaded to. Left out: ./data; --dataset folder, npz,
    hf and youtube-faces need it. For youtube-faces it holds aligned_images_DB or frame_images_DB (with both, the first
    is used), or is one of the two. For npz it is the file itself."""
    cache_dir: Path | None = None
    """Cache of decoded images and evaluation classifiers. It may be emptied at any time. Left out:
    $XDG_CACHE_HOME/fastgan or ~/.cache/fastgan."""
    labels_from_folders: bool = False
    """With --dataset folder: an image's class is its first subfolder, used for evaluation only."""
    skip_bad: bool = False
    """With --dataset folder, hf or youtube-faces: skip images that cannot be decoded, and list them, instead of
    stopping."""
    ground: Annotated[str, GROUND_LIMIT] = "black"
    """With --dataset folder, hf or youtube-faces: the colour on which transparent images are laid: black, white, grey
    or #rrggbb. Black ink on transparent paper needs white."""
    intensity_range: Annotated[IntensityRange, RANGE_LIMIT] = "type"
    """With --dataset folder or youtube-faces: which values of grey images of more than 8 bits become black and white.
    auto: one range for the folder, from the fewest bits that hold its highest value (0 to 4095 for a camera of 12
    bits). LOW HIGH: these two values. type: 0 to 65535, whatever the images hold; floating point is refused."""
    identities: Annotated[int, at_least(2)] = 40
    """With --dataset youtube-faces: number of people, the first by name that have frames. Who a frame shows is used
    for evaluation only."""
    frame_stride: Annotated[int, at_least(1, " (every frame)")] = 1
    """With --dataset youtube-faces: keep every n-th frame of a video; 1 keeps all."""
    emnist_split: EmnistSplit = "letters"
    """With --dataset emnist: letters (26 classes, capitals and small ones together), digits (10), or balanced (47:
    digits, capitals, and the small letters that look unlike theirs)."""
    split: Annotated[int, between(1, 50)] = 1
    """Which of the 50 published random class frequencies to use, 1 to 50."""
    imbalance: Annotated[str, imbalances.LIMIT] = "split"
    """Which labelled images to keep; the seed draws them. split: subsample ten classes to the frequencies of --split.
    none: keep every image. long-tailed:R: class i of K keeps a share R^(-i/(K-1)) of class 0's images, so that the
    first class has R times those of the last. counts:A,B,...: so many images of each class. deepdpm: the class counts
    with which DeepDPM imbalanced MNIST and FashionMNIST (arXiv 2203.14309). fmnist-5: FashionMNIST's 60,000 training
    images, its ten classes merged into five of unequal size (arXiv 2106.05319)."""
    image_size: int = 28
    """Side of the square training images, pixels. 0, with npz or hf: the images' own shorter side, or the next below it
    that the networks can draw, but at most 64."""
    channels: Annotated[Literal[0, 1, 3], Limit("1 (grey) or 3 (RGB)", lambda channels: channels in (0, 1, 3))] = 1
    """Channels of the training images: 1 grey, 3 RGB. Published data sets have their own. 0, with npz or hf: as the
    images have."""

    classes: Annotated[int, at_least(2), at_most(MAX_CODES)] = 10
    """K, the number of codes. Left out with --dataset youtube-faces: as many as --identities; with emnist: as many as
    --emnist-split has classes."""
    prior: Literal["learned", "uniform", "true"] = "learned"
    """The class prior: learned through Gumbel-Softmax, fixed uniform, or fixed to the true frequencies."""
    contrastive_weight: Annotated[float, at_least(0)] = 10.0
    """Weight of the contrastive loss (NT-Xent) between an image and its transform; 0 switches it off."""
    temperature: Annotated[float, above(0)] = 0.1
    """Gumbel-Softmax temperature."""
    contrastive_temperature: Annotated[float, above(0)] = 1.0
    """NT-Xent temperature."""

    agreement_weight: Annotated[float, at_least(0)] = 0.0
    """Weight of the mutual information between Q's codes for an image and for its transform; 0 switches it off."""
    finer_codes: Annotated[int, between(0, MAX_CODES)] = 0
    """Codes of a second, overclustering head of Q, which learns by agreement alone and shapes the features; 0 for none.
    Left out with the default recipe: four per class, at least 40."""
    front_end_learns: bool = False
    """Let the losses on real images train the front end as well as Q."""
    real_averages: bool = False
    """Update BatchNorm's running averages, which Q uses on real images, from real images only."""
    prior_pull: Annotated[float, at_least(0)] = 0.0
    """Weight of the loss that pulls the learned prior towards Q's mean code probabilities on real images, in addition
    to the gradient through the Gumbel-Softmax sample."""
    prior_learning_rate: Annotated[float | None, above(0)] = None
    """Adam's learning rate for the prior. Left out: --learning-rate."""

    epochs: int = 20
    """Passes over the training images. 0, for your own images: enough to show 320,000 images, and at least 20."""
    pretrain_epochs: Annotated[int, at_least(-1)] = 0
    """Epochs, the run's first, in which the front end and Q learn from real images and nothing is generated; each takes
    less than half the time. -1: until the first grouping, and at most half of the run."""
    pretrain_learning_rate: Annotated[float, above(0)] = 6e-4
    """Adam's learning rate in these epochs."""
    batch_size: Annotated[int, at_least(2, " (BatchNorm and NT-Xent need a pair)")] = 64
    """Real images per step, on each rank under torchrun; an epoch's last, smaller batch is dropped."""
    sync_batchnorm: bool = True
    """Under torchrun: BatchNorm's statistics are over the images of all ranks, as in one process. Without it each rank
    normalises its own images, and the model that is saved and evaluated has the mean of the ranks' running averages."""
    learning_rate: Annotated[float, above(0)] = 2e-4
    """Adam's learning rate, for the generator, Q and, left alone, all others."""
    discriminator_learning_rate: Annotated[float | None, above(0)] = None
    """Adam's learning rate for the discriminator and the front end (two time scales, arXiv 1706.08500). Left out:
    --learning-rate."""
    final_rate: Annotated[float, above(0), at_most(1)] = 1.0
    """Adam's learning rates at the end of the run, as a share of those at its start: they fall linearly, in 50 steps,
    from the end of pretraining on. 1: they stay."""
    average_decay: Annotated[float, Limit("0 or more and below 1", lambda decay: 0 <= decay < 1)] = 0.0
    """Decay per step of the averaged generator, used for samples and evaluation; 0 uses the generator itself."""
    seed: Annotated[int, at_least(0)] = 0
    """Seed of the initial weights and of every random draw."""

    amp: bool = False
    """Automatic mixed precision: matrix products in --amp-dtype, losses and codes in float32."""
    amp_dtype: Literal["auto", "bfloat16", "float16"] = "auto"
    """Precision under --amp. auto: bfloat16 where the device has instructions for it, else float32, which is many times
    faster there. float16 uses loss scaling."""
    compile: bool = False
    """On a CUDA GPU, compile networks and random numbers with torch.compile; if that fails, the run continues without
    it. On a CPU it is not faster, and nothing is compiled."""
    kernels: Literal["auto", "triton", "reference"] = "auto"
    """Compute random draws, contrastive loss and Adam with fused Triton kernels or with their references in plain
    torch. auto: Triton on a CUDA GPU."""
    augment: Literal["auto", "dali", "torchvision"] = "auto"
    """Backend of the image transforms: NVIDIA DALI, or batched tensor operations. auto: DALI on a CUDA GPU if it is
    installed."""
    capture: bool = True
    """On a CUDA GPU, replay the training step as a CUDA graph; no effect elsewhere."""
    deterministic: bool = False
    """On a CUDA GPU, use deterministic algorithms, so that a resumed run ends with the same weights bit for bit; they
    may be slower. A CPU is always deterministic."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. auto: a CUDA GPU if there is one."""
    threads: int = 0
    """CPU threads. 0: one for each processor that this process may use (affinity and cgroup quota) and that is idle at
    the start; a resumed run uses as many as before, since only then it ends with the same weights bit for bit."""

    run_dir: Path | None = None
    """The run's folder. Left out: a new name under runs/."""
    resume: bool = False
    """Continue the run in --run-dir from its newest intact checkpoint."""
    eval_every: int = 5
    """Epochs between evaluations (there is always one at the end). 0, for your own images: four per run."""
    save_every: int = 1
    """Epochs between checkpoints (there is always one at the end). 0, for your own images: one per 32,000 images."""
    save_share: Annotated[float, Limit("above 0 and at most 1", lambda share: 0 < share <= 1)] = 1.0
    """Largest fraction of the time that checkpoints may take: one that is due too soon after another is skipped, but
    never a run's last. 1: none is skipped. Where an epoch takes a tenth of a second, saving would take longer."""
    log_every: Annotated[int, at_least(1)] = 6400
    """Images between lines of metrics.jsonl."""
    rank_timeout: Annotated[float, above(0, " seconds")] = 600.0
    """Under torchrun: seconds after which a rank that does not respond counts as lost, and the job ends. A rank whose
    process has ended is noticed at once. While rank 0 reads the data, evaluates or saves, and responds, the others wait
    for up to two hours."""
    resume_on_other_ranks: bool = False
    """With --resume: allow another number of ranks than before. Weights, optimisers, groups and the number of images
    shown are kept; order, noise and transforms differ from those of the uninterrupted run. The job's batch is
    --batch-size times the new number, and it continues at the next whole batch."""
    dry_run: bool = False
    """Print the settings and stop. With --dataset folder, also what the folder holds and what the run would take."""

    grouping: GroupingConfig = field(default_factory=GroupingConfig)
    transform: TransformConfig = field(default_factory=TransformConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    @property
    def own_images(self) -> bool:
        """Whether the images are the user's own, in --data-dir."""
        return self.dataset in OWN_IMAGES

    @property
    def learns_from_real(self) -> bool:
        """Whether Q, or the prior through Q, has a loss on real images and their transforms."""
        return max(self.contrastive_weight, self.agreement_weight, self.prior_pull) > 0 or bool(self.grouping.at)


def num_downsamples(image_size: int) -> int:
    """How often the networks halve the image: at least twice, and until its side is at most 8 pixels."""
    count = 2
    while image_size / 2**count > 8:
        count += 1
    return count
