"""The README.md of an export: what goes in and comes out, and how to load it with torch alone."""

from __future__ import annotations

from fastgan.config.serialization import to_json
from fastgan.inference.trained_run import TrainedRun
from fastgan.runtime import environment

SETTINGS = (
    *("dataset", "recipe", "split", "imbalance", "image_size", "classes", "prior", "finer_codes", "epochs"),
    *("batch_size", "average_decay", "seed", "amp", "network"),
)

TEXT = """# A generator and a labeller by fastgan

Trained on {dataset}, {images_seen:,} images seen, to {classes} codes. The programs need torch alone, compute on the CPU
in float32 and take any number of images B.

| file | what it is |
| --- | --- |
| `generator.pt2` | draws images: noise and code to image ({generator}) |
| `labeller.pt2` | says which code an image belongs to: image to probabilities and embedding |
| `model.safetensors` | the weights by name: `generator.*`, `front_end.*`, `code_head.*`; and `prior.probabilities` |

| program | | name | dtype and shape | values |
| --- | --- | --- | --- | --- |
| generator | in | noise | float32 [B, {noise}] | standard normal |
| generator | in | code | float32 [B, {classes}] | one-hot; blends of codes are allowed |
| generator | out | images | float32 [B, {channels}, {size}, {size}] | -1 (black) to 1 (white) |
| labeller | in | images | uint8 [B, {channels}, {size}, {size}] | 0 to 255, scaled inside |
| labeller | out | probabilities | float32 [B, {classes}] | each row adds up to 1 |
| labeller | out | embedding | float32 [B, {embedding}] | any |

## Loading

```python
import torch

generator = torch.export.load("generator.pt2").module()
labeller = torch.export.load("labeller.pt2").module()
codes = torch.arange({classes})
with torch.no_grad():
    images = generator(torch.randn({classes}, {noise}), torch.nn.functional.one_hot(codes, {classes}).float())
    as_bytes = ((images + 1) * 127.5).round().to(torch.uint8)
    probabilities, embedding = labeller(as_bytes)
print(probabilities.argmax(1))
```

torch may warn of a buffer that is not writable; nothing writes to it. torch reads `.pt2` files with pickle: load none
that comes from someone you do not trust. The safetensors file holds numbers alone.

## How frequent each code is

| code | probability |
| --- | --- |
{prior}

## Made with

{versions}

| setting | value |
| --- | --- |
{settings}
"""


def readme(run: TrainedRun) -> str:
    """The whole text."""
    shape, settings = run.networks.shape, to_json(run.config)
    versions = environment.environment(run.device)["versions"]
    return TEXT.format(
        dataset=run.config.dataset,
        images_seen=run.images_seen,
        generator="the averaged one" if run.config.average_decay > 0 else "as trained last",
        classes=shape.classes,
        noise=shape.network.noise,
        channels=shape.channels,
        size=shape.image_size,
        embedding=shape.network.embedding,
        prior="\n".join(f"| {code} | {p:.4f} |" for code, p in enumerate(run.prior.probabilities().tolist())),
        versions=", ".join(f"{name} {versions[name]}" for name in ("python", "fastgan", "torch")),
        settings="\n".join(f"| {name} | {settings[name]} |" for name in SETTINGS),
    )
