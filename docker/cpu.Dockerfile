# fastgan on processors: docker build -f docker/cpu.Dockerfile -t fastgan:cpu .
# Run with folders of your own: docker run --rm -v "$PWD":/data fastgan:cpu python -m fastgan.check photos
FROM python:3.11-slim-bookworm

# The index of torch's builds without CUDA, some 5 GB smaller: --build-arg TORCH_INDEX=..., as torch's page on
# installing names it for CPUs. Left out, torch is the lock's. Everything else is as in the lock, less what needs a GPU.
ARG TORCH_INDEX=""
COPY requirements.lock /tmp/
RUN PIP_INDEX_URL="$TORCH_INDEX" pip install --no-cache-dir torch==2.11.0 torchvision==0.26.0 \
    && python -c "import re; text = open('/tmp/requirements.lock').read(); blocks = re.split(r'\n(?=\S)', text); \
skipped = re.compile(r'(torch|torchvision|triton|nvidia-[\w-]+|cuda-[\w-]+)==|#'); \
open('/tmp/cpu.lock', 'w').write('\n'.join(block for block in blocks if not skipped.match(block)))" \
    && pip install --no-cache-dir --no-deps --require-hashes -r /tmp/cpu.lock \
    && rm /tmp/requirements.lock /tmp/cpu.lock

COPY setup.py pyproject.toml README.md LICENSE /src/
COPY fastgan /src/fastgan
COPY kernels /src/kernels
RUN pip install --no-cache-dir --no-deps /src && rm -r /src

RUN useradd --create-home user && mkdir /data && chown user /data
USER user
WORKDIR /data
CMD ["python", "-m", "fastgan.train", "--amp"]
