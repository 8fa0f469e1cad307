"""Every setting of a run, in one frozen dataclass that flows from the command line down.

`validate` refuses what cannot work and names the flag; presets.py holds the defaults of each data set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

PAPER_ROTATION = 25  # degrees; the crop of the authors' library loses its height a little above 30
Dataset = Literal["digits", "mnist", "folder", "youtube-faces"]
OWN_IMAGES = ("folder", "youtube-faces")  # data sets of image files in --data-dir
# Flags that only some data sets know; the others leave them at their defaults.
FLAGS_OF = {
    "channels": OWN_IMAGES,
    "skip_bad": OWN_IMAGES,
    "labels_from_folders": ("folder",),
    "identities": ("youtube-faces",),
    "frame_stride": ("youtube-faces",),
}


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Widths of the networks; depths follow from the image size (networks.py)."""

    noise: int = 62
    """Length of the generator's noise vector z."""
    width: int = 64
    """Channels of the first convolution; each further one doubles them, up to 512."""
    hidden: int = 1024
    """Units of the generator's and the front end's wide linear layer."""
    embedding: int = 128
    """Length of Q's embedding, which the contrastive loss compares."""
    feature_norm: Literal["batch", "layer"] = "batch"
    """How the front end's last layer is normalised. batch: over the batch, as in the paper. layer: each image by
    itself, for photographs. Generated images are a batch of their own, and batch normalisation hides from the
    discriminator, and so from the generator, how far they are off on average: at 64x64x3 it learned nothing. Digits
    on black do without, and were grouped better with batch (accuracy 0.886 against 0.768, a run each)."""


@dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """The identity-preserving transform of a real image (augment/transform.py)."""

    kind: Literal["default", "paper", "whole"] = "default"
    """default: real-valued angle, inscribed square kept. paper: whole degrees and the narrower crop of the
    authors' library. whole: nothing is cropped and black comes in at the corners, for objects on black."""
    rotation: float = 20.0
    """Largest angle, degrees; each image draws its own from +/- this."""
    zoom: tuple[float, float] = (0.9, 1.1)
    """Smallest and largest zoom about the centre, as a factor."""
    shift: float = 0.0
    """Largest shift along each axis, as a share of the image's side."""
    shear: float = 0.0
    """Largest slant, degrees; each image draws its own from +/- this."""
    stretch: float = 0.0
    """Largest stretch of the width against the height: each image draws its factor from 1 / (1 + this) to 1 + this."""
    flip: float = 0.0
    """Share of the images that are mirrored left to right; 0 mirrors none."""
    brightness: float = 0.0
    """Largest change of brightness: each image draws its factor from 1 +/- this; 0 leaves it."""
    contrast: float = 0.0
    """Largest change of contrast about mid-grey: each image draws its factor from 1 +/- this; 0 leaves it."""
    saturation: float = 0.0
    """Largest change of saturation, as a factor from 1 +/- this; 0, and any image of one channel, is left."""
    hue: float = 0.0
    """Largest turn of the hue, degrees, from +/- this; 0, and any image of one channel, is left."""
    interpolation: Literal["auto", "bicubic", "bilinear"] = "auto"
    """How the warped image is sampled. auto: bicubic where --augment can, which is everywhere but with DALI."""


@dataclass(frozen=True, kw_only=True)
class GroupingConfig:
    """Grouping of the real images by their nearest neighbours in Q's embedding, which Q learns (pseudo_labels.py)."""

    at: tuple[int, ...] = ()
    """Before which epochs, counted from 0, the images are grouped anew; empty for never. 0 alone, for your own images:
    chosen by their number (schedule.py)."""
    weight: float = 1.0
    """Weight of Q's cross-entropy to the groups, from the first grouping on."""
    landmarks: int = 5_000
    """Images, at most, that the groups are found among; the others join those of their nearest neighbours."""
    neighbours: int = 10
    """Nearest neighbours of an image."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training run. The defaults are the paper's recipe; presets change what a data set needs."""

    dataset: Dataset = "digits"
    """Which images: digits (scikit-learn's 8x8 digits, shipped with it), mnist, folder (your own: every image file in
    the folder --data-dir and below it), or youtube-faces (that data set's frames, laid out as it is published; the
    central 110 x 110 pixels of each)."""
    recipe: Literal["default", "paper"] = "default"
    """default: Q, and the front end with it, also learns that an image and its transform have the same code, and which
    real images belong together, from groups of nearest neighbours found before chosen epochs. The prior is pulled to
    the code frequencies that Q sees on real images, beside its gradient through the Gumbel-Softmax sample. Transforms
    are stronger, and samples come from an averaged generator. paper: the data set's settings without all of this. Each
    flag still changes what it names."""
    data_dir: Path | None = None
    """Folder with the data set's files, or to download them into. Left out: ./data; --dataset folder and youtube-faces
    need it. Of youtube-faces it holds aligned_images_DB or frame_images_DB (the first is taken where both are there),
    or is one of these two."""
    cache_dir: Path | None = None
    """What is made once is kept here: decoded images and judges. It may be emptied at any time. Left out:
    $XDG_CACHE_HOME/fastgan or ~/.cache/fastgan."""
    labels_from_folders: bool = False
    """With --dataset folder: the first subfolder that an image lies in is its class, for evaluation only."""
    skip_bad: bool = False
    """With --dataset folder or youtube-faces: leave out files that are no whole image, and list them, instead of
    stopping."""
    identities: int = 40
    """With --dataset youtube-faces: how many people, the first by name that have frames. Who a frame shows serves
    evaluation only."""
    frame_stride: int = 1
    """With --dataset youtube-faces: of so many successive frames of a video the first is kept; 1 keeps all."""
    split: int = 1
    """Which of the 50 published random class frequencies to use, 1 to 50."""
    imbalance: Literal["split", "none"] = "split"
    """split: classes as frequent as --split says. none: every image is kept."""
    image_size: int = 28
    """Side of the square training images, pixels."""
    channels: Literal[1, 3] = 1
    """Channels of the training images: 1 grey, 3 RGB. digits and mnist are grey."""

    classes: int = 10
    """K, the number of codes the model may use. Left out with --dataset youtube-faces: as many as --identities."""
    prior: Literal["learned", "uniform", "true"] = "learned"
    """The class prior: learned through Gumbel-Softmax, fixed uniform, or fixed to the true frequencies."""
    contrastive_weight: float = 10.0
    """Weight of the contrastive loss between an image and its transform; 0 switches it off."""
    temperature: float = 0.1
    """Gumbel-Softmax temperature."""
    contrastive_temperature: float = 1.0
    """NT-Xent temperature."""

    agreement_weight: float = 0.0
    """Weight of the mutual information between Q's codes for an image and for its transform; 0 switches it off."""
    finer_codes: int = 0
    """Codes of a second, finer head of Q that learns by agreement alone and shapes its features; 0 for none. Left out
    with the default recipe: four a class, at least 40."""
    front_end_learns: bool = False
    """Let the losses on real images train the front end too, not Q alone."""
    real_averages: bool = False
    """Let BatchNorm's running averages, with which Q reads real images, follow real images alone."""
    prior_pull: float = 0.0
    """Weight of the pull of the learned prior towards Q's mean code probabilities on real images, a loss beside the
    gradient through the Gumbel-Softmax sample."""
    prior_learning_rate: float | None = None
    """Adam's step size for the prior. Left out: that of the networks."""

    epochs: int = 20
    """Passes over the training images. 0, for your own images: as many as show 320,000, and 20 at least."""
    batch_size: int = 64
    """Real images a step, of each rank under torchrun; an epoch's last, smaller batch is dropped."""
    sync_batchnorm: bool = True
    """Under torchrun: let BatchNorm take its statistics over all ranks' images, as if one process had them all. Without
    it each rank normalises its own; what is saved and evaluated holds the ranks' mean of the running averages."""
    learning_rate: float = 2e-4
    """Adam's step size, for the discriminator's and the generator's side alike."""
    average_decay: float = 0.0
    """Decay a step of the averaged generator used for samples and evaluation; 0 uses the generator as it is."""
    seed: int = 0
    """Fixes the initial weights and every random draw."""

    amp: bool = False
    """Automatic mixed precision: products in --amp-dtype, losses and codes in float32."""
    amp_dtype: Literal["auto", "bfloat16", "float16"] = "auto"
    """Precision under --amp. auto: bfloat16 where the device has instructions for it, else float32, which is many times
    as fast there. float16 scales its losses."""
    compile: bool = False
    """On a CUDA GPU, compile networks and random numbers with torch.compile; where that fails, the run goes on eagerly.
    On a CPU no step gains by it, and nothing is compiled."""
    kernels: Literal["auto", "triton", "reference"] = "auto"
    """Random draws, contrastive loss and Adam by fused Triton kernels or by their references in plain torch; auto
    takes Triton on a CUDA GPU."""
    augment: Literal["auto", "dali", "torchvision"] = "auto"
    """What transforms the images: NVIDIA DALI, or batched tensor operations; auto takes DALI on a CUDA GPU where it is
    installed."""
    capture: bool = True
    """On a CUDA GPU, replay the training step as a CUDA graph; without effect elsewhere."""
    deterministic: bool = False
    """On a CUDA GPU, take algorithms that sum in one order, which a run that is resumed needs to end with the same
    weights bit for bit; they may be slower. On a CPU sums are always so."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a CUDA GPU when there is one."""
    threads: int = 0
    """Threads of a CPU. 0: one for each processor that this process may use (affinity and cgroup quota) and that others
    leave free as it begins; a resumed run goes on with as many as before, with which alone it ends with the same
    weights bit for bit."""

    run_dir: Path | None = None
    """The run's folder. Left out: a new name under runs/."""
    resume: bool = False
    """Continue the run in --run-dir from its newest good checkpoint."""
    eval_every: int = 5
    """Epochs between evaluations (one always comes at the end). 0, for your own images: four in a run."""
    save_every: int = 1
    """Epochs between checkpoints (one always comes at the end). 0, for your own images: one each 32,000 images."""
    save_share: float = 1.0
    """Largest share of the time that checkpoints may take: one that falls due too soon after another is left out, but
    never a run's last. 1: none is left out. Where an epoch takes a tenth of a second, saving would take longer."""
    log_every: int = 6400
    """Images between two lines of metrics.jsonl."""
    rank_timeout: float = 600.0
    """Under torchrun: seconds after which a rank that does not answer is given up, and the job ends. One whose process
    has ended is noticed at once. For a rank 0 that reads the data, evaluates or saves, and answers, the others wait for
    up to two hours."""
    resume_on_other_ranks: bool = False
    """With --resume: go on with another number of ranks than before. Weights, optimisers and groups are kept, and the
    clock counts images as before; order, noise and transforms are no longer those of the uninterrupted run, the job's
    batch is --batch-size times the new number, and it goes on at the next whole one."""
    dry_run: bool = False
    """Print the settings and stop."""

    grouping: GroupingConfig = field(default_factory=GroupingConfig)
    transform: TransformConfig = field(default_factory=TransformConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    @property
    def own_images(self) -> bool:
        """Whether the images are files in --data-dir that are decoded, and have no published splits."""
        return self.dataset in OWN_IMAGES

    @property
    def learns_from_real(self) -> bool:
        """Whether Q, or the prior through Q, has a loss on real images and their transforms."""
        return max(self.contrastive_weight, self.agreement_weight, self.prior_pull) > 0 or bool(self.grouping.at)


def halvings(image_size: int) -> int:
    """How often the networks halve the image: twice, and on until the side is at most 8 pixels."""
    count = 2
    while image_size / 2**count > 8:
        count += 1
    return count
