# fastgan on CUDA GPUs: docker build -f docker/cuda.Dockerfile -t fastgan:cuda .
# Run: docker run --rm --gpus all --shm-size 1g -v "$PWD":/data fastgan:cuda python -m fastgan.train --amp --compile
FROM python:3.11-slim-bookworm

# Torch's packages bring CUDA 13; of the host only its driver is used. Triton and torch.compile need a C compiler.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /tmp/
RUN pip install --no-cache-dir --require-hashes -r /tmp/requirements.lock && rm /tmp/requirements.lock

COPY setup.py pyproject.toml README.md LICENSE /src/
COPY fastgan /src/fastgan
COPY kernels /src/kernels
RUN pip install --no-cache-dir --no-deps /src && rm -r /src

RUN useradd --create-home user && mkdir /data && chown user /data
USER user
WORKDIR /data
CMD ["python", "-m", "fastgan.train", "--amp", "--compile"]
