# kmorph on a CPU, or with NVIDIA's libraries on a GPU:
#   docker build -t kmorph .
#   docker build -t kmorph:gpu --build-arg TENSORFLOW='tensorflow[and-cuda]' .
# The demo, a shell, a script of the current folder:
#   docker run -it --rm kmorph
#   docker run -it --rm kmorph bash
#   docker run -it --rm --init --user "$(id -u):$(id -g)" -v "$PWD:/work" kmorph python script.py
# On a GPU add --gpus all.
FROM python:3.12-slim

# Draws networks. Debian keeps one version of it only, which a pinned number would miss after the next update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends graphviz \
    && rm -rf /var/lib/apt/lists/*

# Apart from kmorph and before it, so that a change of kmorph does not install TensorFlow again. Which versions suit
# is said in setup.cfg.
ARG TENSORFLOW=tensorflow
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "$TENSORFLOW"

COPY pyproject.toml setup.cfg README.md LICENSE /tmp/kmorph/
COPY kmorph /tmp/kmorph/kmorph
RUN pip install --no-cache-dir /tmp/kmorph

# Any user may write to both, because --user makes files belong to whoever runs the container.
RUN useradd --uid 1000 --create-home kmorph \
    && mkdir /work \
    && chmod 1777 /work /home/kmorph
ENV HOME=/home/kmorph
USER 1000
WORKDIR /work

# No entry point: what follows the image's name is run in its place.
CMD ["kmorph", "demo"]
