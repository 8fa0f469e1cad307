"""As much of package `datasets` as fastgan uses, with files of its own, for machines where it is not installed."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Image:
    decode: bool = True


@dataclass
class Value:
    dtype: str


@dataclass
class ClassLabel:
    names: list[str]
    dtype: str = "int64"


class Features(dict[str, Any]):
    pass


def disable_progress_bars() -> None:
    pass


def _plain(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


class Dataset:
    """Columns by name; an image is {"bytes": of a file, "path": None}."""

    def __init__(self, columns: dict[str, list[Any]], features: Features) -> None:
        self.columns, self.features = columns, features

    @classmethod
    def from_dict(cls, columns: dict[str, list[Any]], features: Features) -> Dataset:
        return cls(columns, features)

    @classmethod
    def from_parquet(cls, paths: Sequence[str], cache_dir: str) -> Dataset:
        parts = [cls._read(Path(path)) for path in paths]
        columns = {name: [x for part in parts for x in part.columns[name]] for name in parts[0].columns}
        return cls(columns, parts[0].features)

    @classmethod
    def _read(cls, path: Path) -> Dataset:
        found = json.loads(path.read_text())
        kinds = {"image": lambda _: Image(), "value": Value, "class": ClassLabel, "struct": dict}
        features = Features({name: kinds[kind](more) for name, (kind, more) in found["features"].items()})
        columns = {
            name: [
                {k: base64.b64decode(v["base64"]) if isinstance(v, dict) else v for k, v in x.items()}
                if isinstance(x, dict)
                else x
                for x in values
            ]
            for name, values in found["columns"].items()
        }
        return cls(columns, features)

    def to_parquet(self, path: str) -> None:
        columns = {
            name: [{k: _plain(v) for k, v in x.items()} if isinstance(x, dict) else x for x in values]
            for name, values in self.columns.items()
        }
        features = {name: self._kind(feature) for name, feature in self.features.items()}
        Path(path).write_text(json.dumps({"columns": columns, "features": features}))

    @staticmethod
    def _kind(feature: Any) -> tuple[str, Any]:
        if isinstance(feature, Image):
            return "image", None
        if isinstance(feature, dict):
            return "struct", dict.fromkeys(feature)
        return ("class", feature.names) if isinstance(feature, ClassLabel) else ("value", feature.dtype)

    def save_to_disk(self, path: str) -> None:
        Path(path).mkdir(parents=True)
        self.to_parquet(str(Path(path) / "state.json"))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns[name]

    def with_format(self, _: None) -> Dataset:
        return self

    def select(self, rows: Sequence[int]) -> Dataset:
        return Dataset({name: [values[row] for row in rows] for name, values in self.columns.items()}, self.features)

    def select_columns(self, names: list[str]) -> Dataset:
        return Dataset(
            {name: self.columns[name] for name in names}, Features({name: self.features[name] for name in names})
        )

    def cast_column(self, name: str, feature: Any) -> Dataset:
        return Dataset(self.columns, Features(self.features | {name: feature}))

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        for start in range(0, len(self), batch_size):
            yield {name: values[start : start + batch_size] for name, values in self.columns.items()}


class DatasetDict(dict[str, Dataset]):
    def save_to_disk(self, path: str) -> None:
        for name, part in self.items():
            part.save_to_disk(str(Path(path) / name))
        (Path(path) / "dataset_dict.json").write_text(json.dumps(list(self)))


def load_from_disk(path: str) -> Dataset | DatasetDict:
    """Read what `save_to_disk` wrote."""
    names = Path(path) / "dataset_dict.json"
    if names.exists():
        return DatasetDict(
            {name: Dataset._read(Path(path) / name / "state.json") for name in json.loads(names.read_text())}
        )
    return Dataset._read(Path(path) / "state.json")


def load_dataset(kind: str, *, data_files: dict[str, list[str]], split: str, cache_dir: str) -> Dataset:
    """The rows of a WebDataset's tar files: members of one name, a column for each ending."""
    assert kind == "webdataset" and Path(cache_dir).is_dir()
    rows: dict[str, dict[str, Any]] = {}
    for path in data_files[split]:
        with tarfile.open(path) as shard:
            for member in shard:
                name, _, ending = member.name.partition(".")
                content = shard.extractfile(member)
                assert content is not None
                found = content.read()
                rows.setdefault(name, {})[ending] = int(found) if ending == "cls" else {"bytes": found, "path": None}
    columns = {ending: [row[ending] for row in rows.values()] for ending in next(iter(rows.values()))}
    kinds = {ending: Value("int64") if ending == "cls" else Image() for ending in columns}
    return Dataset({**columns, "__key__": list(rows)}, Features({**kinds, "__key__": Value("string")}))
