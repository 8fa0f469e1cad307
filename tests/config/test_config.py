"""Settings: presets, what validation refuses and how it says so, and the way through run.json."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from fastgan.config.presets import PRESETS, preset
from fastgan.config.schema import (
    FLAGS_OF,
    OWN_IMAGES,
    Dataset,
    GroupingConfig,
    NetworkConfig,
    TrainConfig,
    TransformConfig,
    num_downsamples,
)
from fastgan.config.serialization import from_json, to_json
from fastgan.config.validation import validate
from fastgan.errors import ConfigError
from fastgan.seeding import stream_seed

NAN, INF = float("nan"), float("inf")


def changed(**changes: Any) -> TrainConfig:
    return dataclasses.replace(TrainConfig(), **changes)


@pytest.mark.parametrize("recipe", ["default", "paper"])
@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name: str, recipe: str) -> None:
    """Where the images are one's own, their folder has to be named."""
    config = dataclasses.replace(preset(name, recipe), data_dir=Path("images") if name in OWN_IMAGES else None)
    assert config.dataset == name and validate(config) is config
    assert set(PRESETS) == set(get_args(Dataset))


@pytest.mark.parametrize(
    "name, own_flags",
    [("folder", [{"labels_from_folders": True}]), ("youtube-faces", [{"identities": 2}, {"frame_stride": 9}])],
)
def test_images_of_ones_own_have_flags_of_their_own(name: str, own_flags: list[dict[str, Any]]) -> None:
    own = dataclasses.replace(preset(name), data_dir=Path("images"))
    assert own.own_images and not preset("mnist").own_images
    assert (own.image_size, own.channels, own.imbalance) == (64, 3, "none")
    for changes in ({"channels": 1}, {"skip_bad": True}, *own_flags):
        validate(dataclasses.replace(own, **changes))
    for changes, named in (
        ({"data_dir": None}, "add --data-dir"),
        ({"imbalance": "split"}, "^--imbalance split: .*--imbalance none"),
        ({"channels": 2}, "^--channels 2: must be 1 .* or 3"),
    ):
        with pytest.raises(ConfigError, match=named):
            validate(dataclasses.replace(own, **changes))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    "field, value",
    [
        *(("channels", 3), ("skip_bad", True), ("labels_from_folders", True), ("identities", 41), ("frame_stride", 2)),
        ("emnist_split", "digits"),
    ],
)
def test_other_data_sets_refuse_the_flags_of_one(name: str, field: str, value: Any) -> None:
    if field == "channels" and preset(name).channels == 3:
        value = 1
    if name not in FLAGS_OF[field]:
        said = f"^--{field.replace('_', '-')}.*: is for --dataset {' or '.join(FLAGS_OF[field])}; .* with {name}$"
        with pytest.raises(ConfigError, match=said):
            validate(dataclasses.replace(preset(name), data_dir=Path("images"), **{field: value}))


@pytest.mark.parametrize("field, values", [("identities", [1, 0, -40]), ("frame_stride", [0, -1])])
def test_people_and_strides_that_cannot_be(field: str, values: list[int]) -> None:
    faces = dataclasses.replace(preset("youtube-faces"), data_dir=Path("images"))
    for value in values:
        with pytest.raises(ConfigError, match=f"^--{field.replace('_', '-')} {value}: must be at least"):
            validate(dataclasses.replace(faces, **{field: value}))


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_faces_are_as_ones_own_images_with_a_code_a_person(recipe: str) -> None:
    faces, folder = preset("youtube-faces", recipe), preset("folder", recipe)
    assert (faces.classes, faces.identities, faces.frame_stride) == (40, 40, 1)
    same = dataclasses.replace(faces, dataset="folder", classes=folder.classes, transform=folder.transform)
    assert same == folder
    # Aligned faces keep transforms of their own, which never crop; those of a folder are chosen from its images.
    assert recipe == "paper" or (faces.transform.kind, folder.transform.kind) == ("default", "auto")
    assert recipe == "paper" or faces.transform.zoom == (0.9, 1.1)


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_what_both_recipes_have_of_the_paper(recipe: str) -> None:
    """Elastic-InfoGAN's published settings for MNIST."""
    c = preset("mnist", recipe)
    assert (c.image_size, c.classes, c.prior, c.batch_size, c.epochs) == (28, 10, "learned", 64, 20)
    assert (c.learning_rate, c.temperature) == (2e-4 if recipe == "paper" else 1e-3, 0.1)
    assert c.network == NetworkConfig(noise=62, width=64, hidden=1024, embedding=128)
    assert (c.transform.rotation, c.transform.zoom) == (20.0, (0.9, 1.1))


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_the_papers_recipe_has_nothing_of_ours(name: str) -> None:
    c = preset(name, "paper")
    assert (c.contrastive_weight, c.contrastive_temperature) == (10.0, 1.0)
    assert (c.learning_rate, c.discriminator_learning_rate, c.final_rate, c.pretrain_epochs) == (2e-4, None, 1.0, 0)
    assert (c.agreement_weight, c.finer_codes, c.prior_pull, c.prior_learning_rate) == (0.0, 0, 0.0, None)
    assert not (c.front_end_learns or c.real_averages or c.grouping.at or c.average_decay)
    assert c.transform == TransformConfig(kind="paper", interpolation="bicubic")


def test_presets_cannot_be_changed() -> None:
    for part, name in ((preset("digits"), "seed"), (preset("digits").transform, "shift"), (NetworkConfig(), "noise")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, 1)


def test_an_unknown_data_set_has_no_preset() -> None:
    with pytest.raises(ConfigError, match=f"--dataset faces: not known; choose one of {', '.join(get_args(Dataset))}$"):
        preset("faces")


@pytest.mark.parametrize(
    "flag, values",
    [
        ("split", [0, 51, -1]),
        ("classes", [1, 0, -3, 65_537]),
        ("epochs", [0, -1]),
        ("batch-size", [1, 0, -64]),
        ("seed", [-1]),
        ("temperature", [0.0, -0.1, NAN, INF]),
        ("contrastive-temperature", [0.0, -1.0, NAN, INF]),
        ("learning-rate", [0.0, -1e-4, NAN, INF]),
        ("contrastive-weight", [-0.1, NAN, INF]),
        ("agreement-weight", [-0.1, NAN, INF]),
        ("prior-pull", [-0.1, NAN, INF]),
        ("prior-learning-rate", [0.0, -1e-4, NAN, INF]),
        ("finer-codes", [-1, 65_537]),
        ("average-decay", [-0.1, 1.0, 1.5, NAN]),
        ("image-size", [0, -28, 4, 30, 257, 260, 512, 66]),
        ("eval-every", [0, -1]),
        ("save-every", [0, -1]),
        ("log-every", [0, -1]),
        ("rank-timeout", [0.0, -1.0, NAN, INF]),
    ],
)
def test_a_bad_value_names_its_flag(flag: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(ConfigError, match=f"^--{flag} {re.escape(str(value))}: must be ") as caught:
            validate(changed(**{flag.replace("-", "_"): value}))
        assert "\n" not in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize(
    "field, values",
    [
        ("rotation", [-1.0, 180.1, NAN, INF]),
        ("zoom", [(0.0, 1.0), (-0.5, 1.0), (1.1, 0.9), (0.5, 4.1), (NAN, 1.0), (1.0, NAN), (1.0, INF)]),
        ("shift", [-0.1, 0.51, NAN, INF]),
        ("shear", [-1.0, 60.1, NAN, INF]),
        ("stretch", [-0.1, 3.1, NAN, INF]),
        ("hue", [-1.0, 180.1, NAN]),
        *((name, [-0.1, 1.1, NAN]) for name in ("flip", "brightness", "contrast", "saturation")),
    ],
)
def test_a_bad_transform_names_its_flag(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ConfigError, match=f"^--transform.{field} "):
            validate(changed(transform=TransformConfig(**{field: value})))


@pytest.mark.parametrize(
    "field, values",
    [
        ("at", [(0,), (3, -1)]),
        ("weight", [-0.1, NAN, INF]),
        ("landmarks", [0, 100, 10]),
        ("neighbours", [0, -2]),
    ],
)
def test_a_bad_grouping_names_its_flag(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ConfigError, match=f"^--grouping.{field} "):
            validate(changed(grouping=GroupingConfig(**{"at": (1,), field: value})))


def test_every_number_has_a_limit_or_a_rule() -> None:
    """Limits stand beside the fields; the numbers listed here depend on other settings or on the machine."""
    kinds = (TrainConfig, GroupingConfig, TransformConfig, NetworkConfig)
    hints = {name: hint for kind in kinds for name, hint in get_type_hints(kind, include_extras=True).items()}
    without = {name for name, hint in hints.items() if hint in (int, float)}
    assert without == {"epochs", "eval_every", "save_every", "image_size", "landmarks", "threads"}


def test_finer_codes_need_something_to_learn_by() -> None:
    with pytest.raises(ConfigError, match="^--finer-codes 40: .*add --agreement-weight 1"):
        validate(changed(finer_codes=40))
    validate(changed(finer_codes=40, agreement_weight=1.0))


@pytest.mark.parametrize("field", ["noise", "width", "hidden", "embedding"])
def test_a_bad_width_names_its_flag(field: str) -> None:
    for value in (0, -1):
        with pytest.raises(ConfigError, match=f"^--network.{field} {value}: must be at least 1"):
            validate(changed(network=NetworkConfig(**{field: value})))


@pytest.mark.parametrize("rotation", [35.0, 45.0])
def test_the_papers_crop_bears_less_rotation(rotation: float) -> None:
    with pytest.raises(ConfigError, match="^--transform.rotation "):
        validate(changed(transform=TransformConfig(kind="paper", rotation=rotation)))


@pytest.mark.parametrize(
    "changes",
    [
        {"split": 50},
        {"classes": 2},
        {"classes": 65_536},
        {"epochs": 1},
        {"batch_size": 2},
        {"contrastive_weight": 0.0},
        {"average_decay": 0.999},
        {"transform": TransformConfig(rotation=45.0, zoom=(1.0, 1.0), shift=0.5)},
        {"transform": TransformConfig(rotation=0.0, zoom=(4.0, 4.0))},
        *({"image_size": size} for size in (8, 16, 28, 32, 64, 128, 256)),
    ],
    ids=str,
)
def test_the_ends_of_what_is_allowed(changes: dict[str, Any]) -> None:
    validate(changed(**changes))


@pytest.mark.parametrize("size, expected", [(8, 2), (16, 2), (28, 2), (32, 2), (64, 3), (128, 4), (256, 5)])
def test_num_downsamples(size: int, expected: int) -> None:
    assert num_downsamples(size) == expected
    assert size % 2**expected == 0 and size / 2**expected <= 8


def test_streams_share_no_seed() -> None:
    """Purposes and neighbouring runs are told apart, and no seed changes between versions or processes."""
    purposes = ("noise", "transform", "order-0", "order-1", "order-10", "weights", "")
    seeds = {stream_seed(seed, purpose) for seed in (0, 1, 2, 10, 2**63) for purpose in purposes}
    assert len(seeds) == 5 * len(purposes)
    assert all(0 <= seed < 2**63 for seed in seeds)  # it fits an int64 tensor
    assert stream_seed(0, "noise") == 6361121761893349898


FAR_FROM_DEFAULT = TrainConfig(
    dataset="mnist",
    data_dir=Path("/some/data"),
    run_dir=Path("runs/a b"),
    split=7,
    prior="true",
    temperature=0.25,
    learning_rate=1e-5,
    amp=True,
    amp_dtype="float16",
    transform=TransformConfig(kind="paper", zoom=(0.8, 1.25), shift=0.1, interpolation="bilinear"),
    network=NetworkConfig(noise=5, width=6, hidden=7, embedding=8),
)


@pytest.mark.parametrize("config", [FAR_FROM_DEFAULT, *PRESETS.values()], ids=["far from default", *PRESETS])
def test_json_and_back(config: TrainConfig) -> None:
    """Through text, since tuples and paths have no place there."""
    values = to_json(config)
    assert set(values) == {field.name for field in dataclasses.fields(TrainConfig)}
    restored = from_json(json.loads(json.dumps(values)))
    assert restored == config
    assert isinstance(restored.transform.zoom, tuple)
    assert restored.data_dir is None or isinstance(restored.data_dir, Path)


def test_json_is_read_without_being_changed() -> None:
    values = to_json(FAR_FROM_DEFAULT)
    copy = json.loads(json.dumps(values))
    from_json(values)
    assert values == copy


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown settings a_new_one, another; it was written by another version"):
        from_json(to_json(TrainConfig()) | {"another": 1, "a_new_one": 2})


BROKEN: list[dict[str, Any]] = [
    {"network": {"noise": 62, "depth": 3}},
    {"transform": {"zoom": 3}},
    {"network": 5},
    {"network": None},
    {"data_dir": 5},
    {"epochs": "20"},
    {"epochs": 2.5},
    {"epochs": True},
    {"temperature": None},
    {"temperature": 10**400},
    {"temperature": float("inf")},
    {"prior": "guessed"},
    {"channels": 1.0},
    {"amp": 1},
    {"grouping": {"at": [2, "3"]}},
    {"transform": {"zoom": [1, 1, 1]}},
]


@pytest.mark.parametrize("changes", BROKEN, ids=str)
def test_settings_that_cannot_be_read_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="run.json: settings cannot be read"):
        from_json(to_json(TrainConfig()) | changes)


@pytest.mark.parametrize("name", ["network", "transform", "data_dir", "run_dir"])
def test_a_missing_setting_is_refused(name: str) -> None:
    values = to_json(TrainConfig())
    del values[name]
    with pytest.raises(ConfigError, match=f"run.json: settings cannot be read .'{name}'"):
        from_json(values)


def test_text_in_place_of_a_table_is_refused() -> None:
    with pytest.raises(ConfigError):
        from_json(to_json(TrainConfig()) | {"network": "wide"})
