"""The table of a sweep against figures worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from fastgan.sweep import statistics, table
from fastgan.sweep.methods import METHOD_NAMES
from fastgan.sweep.statistics import Cell, Gain

EPYC, GPU = "AMD EPYC (2 threads)", "NVIDIA H200"


def _row(method: str, split: int, seed: int = 0, seconds: float = 900.0, device: str = EPYC, **epochs: Any) -> Any:
    """A row with the figures of e5=..., e20=..., through JSON as a file gives it back."""
    evaluations = {name[1:]: figures | {"frechet_distance": 4.2} for name, figures in epochs.items()}
    run = {"dataset": "mnist", "recipe": "paper", "method": method, "split": split, "seed": seed, "epochs": 20}
    row = {"format": 1, "run": run, "evaluations": evaluations, "train_seconds": seconds, "settings": {}}
    return json.loads(json.dumps(row | {"environment": {"device": device}}))


def _figures(nmi: float | None, ent: float | None, **more: float | None) -> dict[str, float | None]:
    return {"nmi": nmi, "ent": ent} | more


def _sweep() -> list[Any]:
    """Elastic on splits 1 to 3 and uniform on 2 to 4: two pairs. The third elastic run is short of some figures."""
    return [
        _row("elastic", 1, 0, 900, e5=_figures(0.5, 0.9), e20=_figures(0.9, 0.2, prior_error=0.01, diversity=0.5)),
        _row("elastic", 2, 0, 930, e5=_figures(0.6, 0.8), e20=_figures(0.8, 0.4, prior_error=0.03, diversity=0.7)),
        _row("elastic", 3, 0, 300, GPU, e5=_figures(0.7, 0.7), e20=_figures(0.7, None, prior_error=0.02)),
        _row("uniform", 2, 0, 700, e5=_figures(0.4, 1.0), e20=_figures(0.5, 1.0, prior_error=0.02)),
        _row("uniform", 3, 0, 710, e5=_figures(0.4, 1.0), e20=_figures(0.8, 0.6, prior_error=0.05)),
        _row("uniform", 4, 0, 720, e5=_figures(0.4, 1.0), e20=_figures(0.2, 1.4, prior_error=0.02)),
        _row("mine", 1, 0, 100, e5=_figures(0.31, 1.31)),
    ]


def _near(cell: Cell | Gain, **expected: Any) -> None:
    assert vars(cell) == {key: pytest.approx(value, abs=1e-12) for key, value in expected.items()}


def test_mean_spread_and_worst_by_the_figures_direction() -> None:
    cells = statistics.summarise(_sweep())["elastic", 20]
    # NMI 0.9, 0.8, 0.7: squares about the mean 0.01, 0, 0.01, over n - 1 = 2. Higher is better, so the worst is 0.7.
    _near(cells["nmi"], mean=0.8, std=0.1, worst=0.7, n=3)
    # 0.01, 0.03, 0.02, lower is better.
    _near(cells["prior_error"], mean=0.02, std=0.01, worst=0.03, n=3)


def test_a_run_without_a_figure_does_not_count_for_it() -> None:
    cells = statistics.summarise(_sweep())["elastic", 20]
    # ENT is null and diversity missing in the third run: 0.2, 0.4 and 0.5, 0.7, each 0.1 from its mean.
    _near(cells["ent"], mean=0.3, std=math.sqrt(0.02), worst=0.4, n=2)
    _near(cells["diversity"], mean=0.6, std=math.sqrt(0.02), worst=0.5, n=2)
    assert "cluster_accuracy" not in cells
    assert "frechet_distance" not in cells


def test_a_figure_that_is_not_finite_counts_as_missing() -> None:
    rows = [_row("elastic", 1, e5=_figures(math.nan, math.inf)), _row("elastic", 2, e5=_figures(0.5, None))]
    assert statistics.summarise(rows) == {("elastic", 5): {"nmi": Cell(0.5, None, 0.5, 1)}}


def test_one_run_has_no_standard_deviation() -> None:
    assert statistics.summarise(_sweep())["mine", 5] == {
        "ent": Cell(1.31, None, 1.31, 1),
        "nmi": Cell(0.31, None, 0.31, 1),
    }
    lines = table.as_text(_sweep()).splitlines()
    assert lines[lines.index("mine") + 1].split()[:9] == ["5", "1.310", "-", "1.310", "1", "0.310", "-", "0.310", "1"]


def test_methods_in_the_papers_order_then_others_and_epochs_by_number() -> None:
    rows = [_row(m, 1, e20=_figures(1, 0), e5=_figures(1, 0)) for m in ("b", "a", *reversed(METHOD_NAMES))]
    methods = ["uniform", "ground-truth", "gumbel-softmax", "ground-truth-contrastive", "elastic", "a", "b"]
    assert list(statistics.summarise(rows)) == [(method, epoch) for method in methods for epoch in (5, 20)]


def test_gains_take_the_pairs_only() -> None:
    found = statistics.gains(_sweep())
    # Splits 2 and 3. NMI 0.8 - 0.5 and 0.7 - 0.8: 0.3, -0.1, each 0.2 from the mean 0.1.
    _near(found["nmi"], mean=0.1, std=math.sqrt(0.08), n=2, better=1)
    # Prior error 0.03 - 0.02 and 0.02 - 0.05: 0.01, -0.03; the negative one is better.
    _near(found["prior_error"], mean=-0.01, std=math.sqrt(0.0008), n=2, better=1)
    # ENT is there for split 2 only: 0.4 - 1.0.
    _near(found["ent"], mean=-0.6, std=None, n=1, better=1)
    assert set(found) == {"nmi", "prior_error", "ent"}


def test_gains_at_an_epoch_and_over_another_method() -> None:
    # NMI 0.6 - 0.4 and 0.7 - 0.4.
    _near(statistics.gains(_sweep(), epoch=5)["nmi"], mean=0.25, std=math.sqrt(0.005), n=2, better=2)
    _near(statistics.gains(_sweep(), "uniform", "elastic", 5)["nmi"], mean=-0.25, std=math.sqrt(0.005), n=2, better=0)
    # `mine` meets elastic on split 1, whose last common epoch is 5: 0.31 - 0.5.
    _near(statistics.gains(_sweep(), "mine", "elastic")["nmi"], mean=-0.19, std=None, n=1, better=0)
    assert statistics.gains(_sweep(), "mine", "uniform") == {}
    assert statistics.gains(_sweep(), epoch=10) == {}


def test_a_pair_has_the_same_split_and_seed_and_a_tie_is_not_better() -> None:
    rows = [_row(m, 1, seed, e5=_figures(0.5, 0.5)) for m, seed in (("elastic", 0), ("elastic", 1), ("uniform", 1))]
    assert statistics.gains(rows) == {"ent": Gain(0.0, None, 1, 0), "nmi": Gain(0.0, None, 1, 0)}


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    rows, backwards = _sweep(), _sweep()[::-1]
    assert list(statistics.summarise(rows).items()) == list(statistics.summarise(backwards).items())
    assert statistics.gains(rows) == statistics.gains(backwards)
    assert table.as_text(rows) == table.as_text(iter(backwards))
    assert table.as_markdown(rows) == table.as_markdown(backwards)
    table.plot(rows, tmp_path / "a.png")
    table.plot(backwards, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("render", [table.as_text, table.as_markdown])
def test_both_renderings_hold_every_number(render: Any) -> None:
    text = render(_sweep())
    for (method, epoch), cells in statistics.summarise(_sweep()).items():
        assert METHOD_NAMES.get(method, method) in text
        assert str(epoch) in text
        for key, cell in cells.items():
            for value in (cell.mean, cell.std, cell.worst):
                assert value is None or f"{value:.{statistics.MERITS[key].decimals}f}" in text
    # The gains over uniform on splits 2 and 3, with their sign; then times, each device apart; then the article.
    for number in ("+0.100", "0.283", "1/2", "-0.0100", "0.0283", "-0.600", "1/1"):
        assert number in text
    for number in ("915.00", EPYC, "300.00", GPU, "710.00", "100.00"):
        assert number in text
    for number in ("0.525 ± 0.300", "0.750 ± 0.135", "896.10 s", "19 splits"):
        assert number in text
    assert "nan" not in text


def test_text_lines_of_a_method_stand_below_its_name() -> None:
    lines = table.as_text(_sweep()).splitlines()
    at = lines.index("Elastic-InfoGAN")
    ent, nmi, prior = ["0.300", "0.141", "0.400", "2"], ["0.800", "0.100", "0.700", "3"], ["0.0200", "0.0100", "0.0300"]
    accuracy, diversity = ["-", "-", "-", "0"], ["0.600", "0.141", "0.500", "2"]
    assert lines[at + 2].split() == ["20", *ent, *nmi, *prior, "3", *accuracy, *diversity]
    assert lines[at + 1].split()[0] == "5"
    assert "  Elastic-InfoGAN: 915.00 s, 20 epochs, n 2, on AMD EPYC (2 threads)" in lines
    assert "  Elastic-InfoGAN: 300.00 s, 20 epochs, n 1, on NVIDIA H200" in lines


def test_markdown_lines_stand_alone() -> None:
    lines = table.as_markdown(_sweep()).splitlines()
    assert (
        "| Elastic-InfoGAN | 20 | 0.300 ± 0.141, worst 0.400, n 2 | 0.800 ± 0.100, worst 0.700, n 3 "
        "| 0.0200 ± 0.0100, worst 0.0300, n 3 | - ± -, worst -, n 0 | 0.600 ± 0.141, worst 0.500, n 2 |"
    ) in lines
    assert "| Elastic-InfoGAN | 915.00 | 20 | 2 | AMD EPYC (2 threads) |" in lines
    assert len({line.count("|") for line in lines if line.startswith("| uniform InfoGAN | 5")}) == 1


def test_a_name_can_break_no_markdown_table() -> None:
    text = table.as_markdown([_row("a|<b>", 1, e5=_figures(0.5, 0.5))])
    assert "| a\\|\\<b> | 5 |" in text


def test_text_fits_120_columns_with_three_digits_of_runs_and_long_names() -> None:
    full = dict.fromkeys(statistics.MERITS, 0.5)
    rows = [_row(m, split, 0, e20=full) for m in ("elastic", "uniform") for split in range(150)]
    rows.append(_row("long name " * 20, 1, 0, 1.0, "a device " * 20, e20=full))
    lines = table.as_text(rows).splitlines()
    assert max(len(line) for line in lines) <= 120
    assert any("0/150" in line for line in lines)


def test_text_without_pairs_or_times_says_so() -> None:
    row = _row("elastic", 1, e5=_figures(0.5, 0.5))
    del row["train_seconds"], row["environment"]
    assert table.as_text([row]).endswith("no pairs")
    assert table.as_markdown([row]).endswith("No pairs.")


def test_plot_is_a_legible_picture_and_leaves_no_partial_file(tmp_path: Path) -> None:
    table.plot(_sweep(), tmp_path / "sweep.png")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.png"]
    image = imread(tmp_path / "sweep.png")[..., :3]
    assert image.shape[1] >= 1000
    for half in (image[:, : image.shape[1] // 2], image[:, image.shape[1] // 2 :]):
        assert len(np.unique(half.reshape(-1, 3), axis=0)) > 20
        # Elastic's purple (C4), its mean, is in both panels, and so is the article's grey band.
        assert (np.abs(half - np.array([148, 103, 189]) / 255).max(-1) < 0.01).sum() > 50
        assert (np.abs(half - (0.8 + 0.2 * 128 / 255)).max(-1) < 0.01).sum() > 500


def test_plot_accepts_runs_without_the_figures(tmp_path: Path) -> None:
    table.plot([_row("elastic", 1, e5={})], tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 0


def _one_line(error: pytest.ExceptionInfo[ValueError], *parts: str) -> None:
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in parts)


def test_no_rows_is_an_error(tmp_path: Path) -> None:
    calls: list[Any] = [statistics.summarise, statistics.gains, table.as_text, table.as_markdown]
    for call in [*calls, lambda rows: table.plot(rows, tmp_path / "sweep.png")]:
        with pytest.raises(ValueError) as error:
            call([])
        _one_line(error, "no runs")
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_there_twice_is_an_error() -> None:
    rows = [*_sweep(), _row("elastic", 2, 0, e5=_figures(0.1, 0.1))]
    with pytest.raises(ValueError) as error:
        table.as_text(rows)
    _one_line(error, "method elastic, split 2, seed 0", "twice")


def test_other_formats_and_mixed_sweeps_are_errors() -> None:
    with pytest.raises(ValueError) as error:
        statistics.summarise([*_sweep(), {"format": 2}])
    _one_line(error, "format 1", "2")
    other = _row("elastic", 9)
    other["run"]["recipe"] = "own"
    with pytest.raises(ValueError) as error:
        statistics.summarise([*_sweep(), other])
    _one_line(error, "mnist with recipe own", "mnist with recipe paper")


def _of_seeds() -> list[Any]:
    """Three seeds on splits 1 and 2; seed 2 has also split 3, which the others lack. One seed of another method."""
    values = {(1, 0): 0.5, (2, 0): 0.7, (1, 1): 0.6, (2, 1): 0.8, (1, 2): 0.7, (2, 2): 0.9, (3, 2): 0.1}
    rows = [_row("elastic", split, seed, e20=_figures(nmi, None)) for (split, seed), nmi in values.items()]
    return [*rows, _row("uniform", 1, 0, e20=_figures(0.4, 0.2))]


def test_the_interval_over_seeds_is_students() -> None:
    ((method, epoch, found),) = statistics.intervals(_of_seeds())
    # Means over splits 1 and 2: 0.6, 0.7, 0.8, of standard deviation 0.1; t of 2 degrees at 97.5% is 4.30265.
    assert (method, epoch, list(found)) == ("elastic", 20, ["nmi"])
    assert found["nmi"].mean == pytest.approx(0.7) and found["nmi"].n == 3
    assert found["nmi"].half_width == pytest.approx(4.30265 * 0.1 / math.sqrt(3), rel=1e-5)


def test_the_interval_is_in_both_tables_and_its_absence_is_said() -> None:
    lines = table.as_text(_of_seeds()).splitlines()
    below = lines[next(i for i, line in enumerate(lines) if "confidence interval" in line) :]
    shown = below[below.index("Elastic-InfoGAN") + 1].split()
    assert shown[:7] == ["20", "-", "-", "0", "0.700", "0.248", "3"]
    assert "0.700 ± 0.248, n 3" in table.as_markdown(_of_seeds())
    assert "no method has two seeds" in table.as_text(_sweep())
    assert "No method has two seeds." in table.as_markdown(_sweep())
