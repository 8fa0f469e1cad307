"""kernels.FusedAdam in a plain training loop, beside torch.optim.Adam."""

import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import kernels

STEPS = 300
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(0)
torch.set_num_threads(1)  # the network is too small to share out between threads
digits = load_digits()
images = torch.tensor(digits.data / 16, dtype=torch.float32, device=device)
labels = torch.tensor(digits.target, device=device)
batches = torch.randint(1500, (STEPS, 128)).to(device)  # the last 297 images are for the test
untrained = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).to(device)


def train(adam, steps):
    """A copy of the network, trained."""
    network = copy.deepcopy(untrained)
    optimizer = adam(network.parameters(), lr=2e-3)  # after the last .to(): FusedAdam moves parameters into one buffer
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    for batch in batches[:steps]:
        loss = F.cross_entropy(network(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()  # FusedAdam's learning rate is a tensor, which this writes in place
    return network


@torch.no_grad()
def accuracy(network):
    """On the images that were not trained on."""
    return (network(images[1500:]).argmax(1) == labels[1500:]).float().mean().item()


# Rounding differs, and training makes small differences larger: so compare the weights early, the accuracy at the end.
ours, theirs = (list(train(adam, steps=10).parameters()) for adam in (kernels.FusedAdam, torch.optim.Adam))
difference = max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
print(f"largest difference of a weight after 10 steps: {difference:.1e}")
print(f"accuracy before: {accuracy(untrained):.3f}")
for adam in (kernels.FusedAdam, torch.optim.Adam):
    print(f"accuracy after {STEPS} steps of {adam.__name__}: {accuracy(train(adam, STEPS)):.3f}")
