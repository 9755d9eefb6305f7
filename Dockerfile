# One image for the web server, the daemon, the code server and every run.
# docs/deploying.md says why it is built this way; `make image-rehearsal` runs its steps without an engine.
#
# 3.11 is what the tests run on. Rebuild it monthly for Debian's security updates: the tag moves.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_DEPS=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# What builds wheels is locked too, and stays behind in this stage.
COPY docker/requirements-build.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --only-binary :all: --require-hashes -r requirements-build.lock

# The dependencies, before the code: this layer changes with the lock file only. Wheels are taken as they
# are, but for pyvips, which is published as source. The environment has no pip of its own, so that
# nothing can be installed into what runs.
COPY requirements.lock ./
RUN /opt/build/bin/pip wheel --no-build-isolation --only-binary :all: --no-binary pyvips \
        --require-hashes -r requirements.lock --wheel-dir wheels \
    && python -m venv --without-pip /opt/marble-images \
    && pip --python /opt/marble-images/bin/python install --no-index wheels/*.whl

COPY pyproject.toml README.md LICENSE ./
COPY marble_images marble_images
RUN /opt/build/bin/hatchling build --target wheel --directory dist \
    && pip --python /opt/marble-images/bin/python install --no-index dist/*.whl \
    && pip --python /opt/marble-images/bin/python check

# The instance for runs on Fargate Spot differs in one setting.
COPY dagster.yaml workspace.yaml docker/spot_home.py ./
RUN mkdir -p /opt/dagster/home /opt/dagster/home-spot \
    && cp dagster.yaml /opt/dagster/home/dagster.yaml \
    && cp workspace.yaml /opt/dagster/workspace.yaml \
    && /opt/marble-images/bin/python spot_home.py dagster.yaml /opt/dagster/home-spot/dagster.yaml


FROM python:${PYTHON_VERSION}-slim-bookworm
ARG VERSION=1.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="marble-images" \
      org.opencontainers.image.description="Turns a library's changed image files into checked pyramid TIFFs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The one folder that is written to. It is a volume of the right owner, which Fargate keeps when it mounts
# the task's own storage there, so that the root file system can be read-only.
RUN groupadd --gid 10001 marble \
    && useradd --uid 10001 --gid marble --no-create-home --home-dir /var/lib/marble-images marble \
    && install --directory --owner=marble --group=marble --mode=0700 /var/lib/marble-images
VOLUME ["/var/lib/marble-images"]

COPY --from=build /opt/marble-images /opt/marble-images
COPY --from=build /opt/dagster /opt/dagster
COPY --chmod=0555 docker/healthcheck.py /opt/dagster/healthcheck

# MALLOC_ARENA_MAX: glibc's many arenas keep freed memory; two of them cost no time.
ENV PATH=/opt/marble-images/bin:${PATH} \
    DAGSTER_HOME=/opt/dagster/home \
    HOME=/var/lib/marble-images \
    TMPDIR=/var/lib/marble-images \
    WORK_FOLDER=/var/lib/marble-images \
    MALLOC_ARENA_MAX=2 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VIPS_BLOCK_UNTRUSTED=1
WORKDIR /var/lib/marble-images
USER 10001:10001
EXPOSE 3000 4000
HEALTHCHECK --interval=60s --timeout=30s --start-period=120s --retries=3 CMD ["/opt/dagster/healthcheck"]

# The web server; the other two commands:
#   dagster-daemon run --workspace /opt/dagster/workspace.yaml
#   dagster api grpc --host 0.0.0.0 --port 4000 --module-name marble_images.definitions
CMD ["dagster-webserver", "--host", "0.0.0.0", "--port", "3000", "--workspace", "/opt/dagster/workspace.yaml"]
