"""A variational autoencoder with one categorical latent, sampled by kernels.gumbel_softmax (arXiv 1611.01144)."""

import math

import torch
from sklearn.datasets import load_digits
from torch import nn

import kernels

CODES, STEPS = 20, 600
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)
torch.set_num_threads(1)  # the network is too small to share out between threads
images = torch.tensor(load_digits().data / 16, dtype=torch.float32, device=device)  # [1797, 64]
encoder = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, CODES)).to(device)
decoder = nn.Sequential(nn.Linear(CODES, 256), nn.ReLU(), nn.Linear(256, 64), nn.Sigmoid()).to(device)
adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)

# The noise is a function of seed, offset, row and class: another offset each step is other noise.
seed, offset = torch.tensor(0, device=device), torch.tensor(0, device=device)


def elbo_loss(batch, temperature):
    """The negative evidence lower bound of an image, pixels being normal with variance 0.05; a constant is left out."""
    logits = encoder(batch)  # a row an image; of several latents [B, L, CODES] make rows: reshape(B * L, CODES)
    sample, _ = kernels.gumbel_softmax(logits, temperature=temperature, seed=seed, offset=offset, hard=True)
    squares = (decoder(sample) - batch).square().sum()
    log_q = logits.log_softmax(-1)
    divergence = (log_q.exp() * (log_q + math.log(CODES))).sum()  # from equally frequent codes
    return (squares / (2 * 0.05) + divergence) / len(batch)


for step in range(STEPS):
    batch = images[torch.randint(len(images), (128,)).to(device)]
    loss = elbo_loss(batch, temperature=1.0 - 0.5 * step / STEPS)
    adam.zero_grad()
    loss.backward()
    adam.step()
    offset += 1  # after backward: the kernel may draw the noise once more there
    if step % 100 == 0:
        print(f"step {step}: loss {loss.item():.2f}")

with torch.no_grad():
    print(f"all images: loss {elbo_loss(images, temperature=0.5).item():.2f}")
    sizes = encoder(images).argmax(1).bincount(minlength=CODES)
print(f"{(sizes >= 0.01 * len(images)).sum().item()} of {CODES} codes are used by 1% of the images or more")
