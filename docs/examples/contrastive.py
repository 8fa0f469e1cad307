"""Contrastive pretraining with kernels.nt_xent: without labels an encoder learns what stays when images are shifted."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import kernels

STEPS = 200
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)
torch.set_num_threads(1)  # the network is too small to share out between threads
digits = load_digits()
images = torch.tensor(digits.images / 16, dtype=torch.float32, device=device)  # [1797, 8, 8]
labels = torch.tensor(digits.target, device=device)
seed = torch.tensor(0, device=device)  # a draw is a function of seed and offset, the same on a CPU and a GPU


def view(batch, offset):
    """Each image moved by up to one pixel in both directions, with noise: [B, 64]."""
    offset = torch.tensor(offset, device=device)
    down, right = (3 * kernels.uniform((len(batch), 2), seed=seed, offset=offset)).long().unbind(1)
    image, pixel = torch.arange(len(batch), device=device), torch.arange(8, device=device)
    rows, columns = (down[:, None] + pixel)[:, :, None], (right[:, None] + pixel)[:, None, :]
    moved = F.pad(batch, (1, 1, 1, 1))[image[:, None, None], rows, columns].flatten(1)
    return moved + 0.1 * kernels.normal((len(batch), 64), seed=seed, offset=offset)


@torch.no_grad()
def accuracy():
    """Of 1-NN: each shifted image gets the label of the nearest of 200 images that are not shifted."""
    known = F.normalize(encoder(images[:200].flatten(1)))
    asked = F.normalize(encoder(view(images[200:], offset=1_000_000)))
    nearest = (asked @ known.T).argmax(1)
    return (labels[nearest] == labels[200:]).float().mean().item()


encoder = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 64)).to(device)
adam = torch.optim.Adam(encoder.parameters(), lr=3e-3)
print(f"accuracy before: {accuracy():.3f}")
for step in range(STEPS):
    batch = images[torch.randint(len(images), (256,)).to(device)]
    embedded_a, embedded_b = encoder(view(batch, 2 * step)), encoder(view(batch, 2 * step + 1))
    loss = kernels.nt_xent(embedded_a, embedded_b, temperature=0.5)  # it normalises the embeddings
    adam.zero_grad()
    loss.backward()
    adam.step()
    if step % 100 == 0:
        print(f"step {step}: loss {loss.item():.3f}")
print(f"accuracy after: {accuracy():.3f}")
