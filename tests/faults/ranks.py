"""One run shared out over two processes: cases 3r, 20 and 21, and the ranks' part of 22."""

from __future__ import annotations

import atexit
import hashlib
import multiprocessing
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import two_ranks
from ports import free_port
from torch import Tensor

import kernels
from fastgan.augment import transform
from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.runtime.distributed import Communicator
from fastgan.training.engine import Engine
from faults import Result, children, hooks

RANKS = 2
# children.TINY, of which each rank has half of every batch; evaluated once before the end, when a checkpoint is saved.
SHARED = (*children.TINY, "--batch-size", str(children.BATCH // RANKS), "--eval-every", "2")
NOTICED = 10.0  # seconds in which a killed rank must be noticed
TIMEOUT = 12.0  # --rank-timeout: in which a stalled one must be
PAUSE = 0.1  # seconds at most from a step to what happens: far less than is left of the run
DWELL = 6.0  # seconds of an evaluation during which rank 1 is lost
LOST = "another rank has ended or does not answer"


def environments(count: int = RANKS) -> list[dict[str, str]]:
    """What torchrun would set, a rank each."""
    common = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def start(
    argv: Sequence[str], log: Path, *given: Sequence[children.Hook], cwd: Path | None = None
) -> list[children.Child]:
    """The ranks of one run; `given` are each one's hooks."""
    return [
        children.start(
            argv, log.with_suffix(f".{rank}"), *(given[rank] if given else ()), environment=environment, cwd=cwd
        )
        for rank, environment in enumerate(environments())
    ]


def finish(argv: Sequence[str], log: Path, cwd: Path | None = None) -> list[children.Ended]:
    """A run on both ranks, to its end."""
    return [child.wait() for child in start(argv, log, cwd=cwd)]


@cache
def uninterrupted() -> children.Whole:
    """A run on two ranks that nobody disturbed, as children.uninterrupted."""
    place = Path(tempfile.mkdtemp(prefix="fastgan-faults-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    begin = time.monotonic()
    for ended in finish([*SHARED, "--run-dir", str(place / "run")], place / "log"):
        if ended.code != 0:
            raise RuntimeError(f"the uninterrupted run failed: {ended.said}")
    return children.Whole(place / "run", children.fingerprint(place / "run"), time.monotonic() - begin)


def complaints(ended: Sequence[children.Ended], code: int, *words: str) -> str:
    """What is wrong where rank 0 should say `words`, and the others end with the same code and say nothing."""
    first, *others = ended
    wrong = [first.complaint(code, *words)]
    wrong += [
        other.complaint(code) or (other.said and f"rank {1 + i} says: {other.said}") for i, other in enumerate(others)
    ]
    return "; ".join(filter(None, wrong))


# --- case 3, over ranks ---


def told_to_stop(count: int, folder: Path) -> Result:
    """SIGTERM and Ctrl-C in turn, to both ranks as from torchrun or a terminal, or to one: at a random moment."""
    whole, draw, result = uninterrupted(), random.Random(4), Result()
    for number in range(count):
        sent, to = (signal.SIGTERM, signal.SIGINT)[number % 2], ((1,), (0, 1), (0,))[number % 3]
        run = folder / f"run-{number}"
        ours, theirs = multiprocessing.Pipe(duplex=False)
        ranks = start(
            [*SHARED, "--run-dir", str(run)], run.with_suffix(".log"), [], [partial(hooks.announce_steps, theirs)]
        )
        theirs.close()
        # From the second on: before rank 1's first step rank 0 may not listen yet. Ranks agree every eighth step.
        for _ in range(draw.randint(2, children.EPOCH)):
            ours.recv_bytes()
        time.sleep(draw.uniform(0, PAUSE))
        for rank in to:
            ranks[rank].kill(sent)
        wrong = complaints(
            [rank.wait() for rank in ranks], 128 + sent, "stopped and saved", f"--resume --run-dir {run}"
        )
        left = [rank.left_behind() for rank in ranks]
        ours.close()
        again = complaints(finish(["--resume", "--run-dir", str(run)], run.with_suffix(".again")), 0)
        result.count(wrong, *left, again, children.differs(run, whole))
    result.note = "to both of two ranks, or to one: exit codes 143 and 130 of both; each run continued and compared"
    return result


def told_early(count: int, folder: Path) -> Result:
    """Both ranks get a signal while rank 0 alone works before the first step, and the other waits for it."""
    whole, result = uninterrupted(), Result()
    for number in range(count):
        sent, run, marker = (
            (signal.SIGTERM, signal.SIGINT)[number % 2],
            folder / f"run-{number}",
            folder / f"at-{number}",
        )
        argv, log = [*SHARED, "--run-dir", str(run)], run.with_suffix(".log")
        ranks = start(argv, log, [partial(hooks.wait_at, "judge", marker)], [])
        deadline = time.monotonic() + children.PATIENCE
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        for rank in ranks:
            rank.kill(sent)
        ended = complaints([rank.wait() for rank in ranks], 128 + sent, "stopped; ", f"--resume --run-dir {run}")
        again = complaints(finish(["--resume", "--run-dir", str(run)], run.with_suffix(".again")), 0)
        result.count(ended, again, children.differs(run, whole))
    result.note = "while rank 0 trains the judge: exit codes 143 and 130 of both; each run continued and compared"
    return result


# --- case 20 ---

# In the order in which the short version takes them: (signal, which rank gets it, where).
LOSSES = (
    (signal.SIGKILL, 1, "step"),
    (signal.SIGSTOP, 0, "evaluation"),
    (signal.SIGKILL, 0, "evaluation"),
    (signal.SIGKILL, 1, "evaluation"),
    (signal.SIGSTOP, 1, "step"),
    (signal.SIGKILL, 0, "step"),
    (signal.SIGSTOP, 1, "evaluation"),
    (signal.SIGSTOP, 0, "step"),
    *((signal.SIGKILL, rank, "step") for rank in (1, 0, 1, 0)),
    *((signal.SIGKILL, rank, "evaluation") for rank in (0, 1, 0, 1)),
)


def lost_rank(count: int, folder: Path) -> Result:
    """A rank that is killed or stalled, at a random step or while rank 0 evaluates; then both go on to the end."""
    whole, draw, result = uninterrupted(), random.Random(3), Result()
    killed, stalled = [0.0], [0.0]
    for number in range(count):
        number_sent, victim, place = LOSSES[number % len(LOSSES)]
        run = folder / f"run-{number}"
        waited, *wrong = _lose(run, number_sent, victim, place, draw)
        (killed if number_sent == signal.SIGKILL else stalled).append(waited)
        again = finish(["--resume", "--run-dir", str(run)], run.with_suffix(".again"))
        wrong += [*(ended.complaint(0) for ended in again), children.differs(run, whole)]
        result.count(*(said and f"{number_sent.name} to rank {victim}, {place}: {said}" for said in wrong))
    result.note = (
        f"two ranks over gloo; the other had ended {max(killed):.2f} s after a SIGKILL at most ({NOTICED:.0f} allowed) "
        f"and {max(stalled):.1f} s after a SIGSTOP (--rank-timeout {TIMEOUT:.0f}), counted from the end of its own "
        "evaluation if it was in one; each run continued on both and compared as in case 1"
    )
    return result


def _lose(run: Path, sent: signal.Signals, victim: int, place: str, draw: random.Random) -> tuple[float, str, ...]:
    """Begin a run and lose a rank of it: how long the other went on, and what is wrong with how both ended."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    marker = run.with_suffix(".evaluates")
    given: list[list[children.Hook]] = [[], []]
    dwell = DWELL if victim else 10 * TIMEOUT
    if place == "evaluation":
        given[0].append(partial(hooks.dwell, marker, dwell))
    else:
        given[victim].append(partial(hooks.announce_steps, theirs))
    argv = [*SHARED, "--rank-timeout", str(TIMEOUT), "--run-dir", str(run)]
    ranks = start(argv, run.with_suffix(".log"), *given)
    theirs.close()
    try:
        if place == "evaluation":
            deadline = time.monotonic() + children.PATIENCE
            while not marker.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 1))
        else:
            for _ in range(draw.randint(children.EPOCH + 1, 2 * children.EPOCH)):
                ours.recv_bytes()
            time.sleep(draw.uniform(0, PAUSE))
        begin = time.monotonic()
        ranks[victim].kill(sent)
        if place == "evaluation" and victim:
            begin += max(0.0, marker.stat().st_mtime + dwell - time.time())
        other = ranks[1 - victim]
        ended = other.wait()
        waited = time.monotonic() - begin
        wrong = [ended.complaint(1, LOST), other.left_behind()]
        if (said := ended.said.count("error: ")) != 1:
            wrong.append(f"{said} reasons: {ended.said}")
        most = NOTICED if sent == signal.SIGKILL else TIMEOUT
        if waited > most:
            wrong.append(f"noticed after {waited:.1f} s")
        if sent == signal.SIGKILL and (code := ranks[victim].wait().code) != -sent:
            wrong.append(f"the rank to be killed had ended with {code}")
        if sent == signal.SIGSTOP:  # one that wakes up finds itself alone
            ranks[victim].kill(signal.SIGCONT)
            if victim:  # where rank 0 has stalled in its evaluation, it first comes to that one's end
                wrong.append(ranks[victim].wait(NOTICED).complaint(1, LOST))
        return waited, *wrong
    finally:
        for child in ranks:
            child.kill(signal.SIGKILL)
            child.wait()
        ours.close()


# --- case 21 ---

CHECKS = (
    *("paper, bare", "contrastive", "default, bare", "agreement"),
    *("paper", "default", "normalisation", "normalisation of many ranks"),
)
EXACT = 1e-12


def _find(folder: Path, names: Sequence[str]) -> None:
    torch.set_num_threads(1)
    two_ranks.main(folder, names)


def gradient_scale(count: int, folder: Path) -> Result:
    """One rank with 2B images against two with B, in float64: losses, and the gradients as Adam averages them."""
    result, names = Result(), CHECKS[:count]
    processes = [
        children.Child(partial(_find, folder, names), folder / f"log.{rank}", environment, None)
        for rank, environment in enumerate(environments())
    ]
    for child in processes:
        if (ended := child.wait()).code != 0:
            result.count(ended.complaint(0))
            return result
    worst = 0.0
    ranks = [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(RANKS)]
    for name in names:
        expected, found = two_ranks.alone(name), [rank[name] for rank in ranks]
        exact = [key for key in expected if "." not in key or key.endswith("exp_avg")]
        exact = exact if "losses" in expected else list(expected)
        apart = max(_apart(found[0][key], expected[key]) for key in exact)
        worst = max(worst, apart)
        unlike = [key for key in found[0] if not torch.equal(found[0][key], found[1][key])]
        result.count(
            apart > EXACT and f"{name}: {apart:.1e} apart", bool(unlike) and f"{name}: ranks differ in {unlike[:3]}"
        )
    result.note = (
        f"losses of {two_ranks.STEPS} steps and the gradients that Adam keeps, with and without normalisation, and the "
        f"losses over all ranks one by one: {worst:.1e} apart at most, relative or absolute; ranks equal bit for bit"
    )
    return result


def _apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, beside 1 or beside the number itself."""
    return float(((ours - theirs).abs() / (1 + theirs.abs())).double().max()) if ours.numel() else 0.0


# --- case 22, over ranks ---


class Deaf(Communicator):
    """A rank that hears its own voice for all others'."""

    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        pass

    def gather(self, x: Tensor) -> Tensor:
        return x.expand(self.world_size, *x.shape).clone()


def draws(config: TrainConfig, images: ImageSet, epochs: int) -> dict[str, list[bytes]]:
    """All that two ranks draw: noise, codes and transforms an image, and (epoch, image) of those that they train on."""
    found: dict[str, list[bytes]] = {"noise": [], "codes' uniform numbers": [], "transforms": [], "images": []}
    for rank in range(RANKS):
        trainer = Engine(config, images, torch.device("cpu"), Deaf(rank, RANKS))
        step, feed, own = trainer.step, trainer.feed, config.batch_size
        asked: list[dict[str, Any]] = []
        sample = step.prior.sample

        def listened(rows: int, asked: list[dict[str, Any]] = asked, sample: Any = sample, **given: Any) -> Any:
            asked.append({name: given[name].clone() if name == "offset" else given[name] for name in PLACE})
            return sample(rows, **given)

        step.prior.sample = listened  # type: ignore[method-assign]
        for seen in range(0, epochs * trainer.epoch_images, trainer.batch):
            clock = torch.tensor(seen)
            step.images_seen.copy_(clock)
            if seen < 3 * trainer.batch:  # a whole step, which asks the prior for codes
                trainer.prefetch(seen, seen + trainer.batch)
                step(*feed.batch_at(clock // RANKS))
            given = asked[-1] | {"offset": clock}
            found["codes' uniform numbers"] += rows(kernels.uniform((own, config.classes), **given))
            found["noise"] += rows(step.noise(own, clock))
            assert feed.transform is not None
            maps = transform.draw(
                config.transform, config.image_size, own, seed=feed.transform.seed, first_image=seen // RANKS
            )
            found["transforms"] += rows(maps)
        for epoch in range(epochs):
            found["images"] += [f"{epoch} {index}".encode() for index in feed.order(epoch).tolist()]
    return found


PLACE = ("seed", "offset", "row_start")


def rows(values: Tensor) -> list[bytes]:
    return [hashlib.sha256(row.contiguous().numpy().tobytes()).digest() for row in values]
