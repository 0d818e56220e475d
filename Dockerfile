# The worker's image: Headcount with the handlers of the folder it is built from.
#
#   docker build --build-arg REVISION=$(git rev-parse --short HEAD) -t headcount:0.1.0 .
#
# Your own handlers, in a repository made by `headcount new`, need three lines:
#
#   FROM headcount:0.1.0
#   COPY handlers/ /app/handlers/
#   (and, as root, whatever the handlers need; return to USER 10001:10001 afterwards)
#
# The image runs `headcount run`. Other commands work too: docker run headcount:0.1.0 migrate
#
# Behind a proxy that has certificates of its own, or with an index of your own: both are secrets of the build and in no
# layer. pip.conf says `cert = /run/secrets/ca` and, if need be, `index-url = https://...`:
#
#   docker build --secret id=ca,src=company.pem --secret id=pip.conf,src=pip.conf -t headcount:0.1.0 .
#
# The hashes of the lock file hold whichever index the packages come from.

# The Python that every test runs on, by the digest of its index of platforms: a tag moves. Both stages must be the same,
# for the environment links to it. To renew it, for security fixes once a month:
#   docker buildx imagetools inspect python:3.11-slim --format '{{.Manifest.Digest}}'
ARG PYTHON=3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7

# ---- build: everything that needs pip, setuptools or the sources ------------------------------------
FROM python:${PYTHON} AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

# First what changes rarely, so that a change of our own code rebuilds only the last layer.
#
# requirements-worker.lock is derived from requirements.lock (`make lock`; a test keeps it a subset): the base, [gcp]
# and [otel], with hashes. Using the one lock as constraints would give up the hashes, and installing all of it would
# carry test tools and a database server into production.
COPY requirements.lock requirements-worker.lock ./
#
# The environment has no pip of its own, which is 24 MB with setuptools: this stage's installs into it.
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python -m venv --without-pip /opt/headcount \
    && pip --python /opt/headcount/bin/python install --require-hashes --no-deps --only-binary :all: -r requirements-worker.lock

# The build backend comes out of the lock as well, into this stage's Python only.
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    awk '/^setuptools==/ {on = 1} on {print; if ($0 !~ /\\$/) exit}' requirements.lock > backend.lock \
    && pip install --root-user-action=ignore --require-hashes --no-deps -r backend.lock

COPY pyproject.toml README.md LICENSE ./
COPY daemon daemon
COPY migrations migrations
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/headcount/bin/python install --no-deps --no-index dist/*.whl

# ---- the image ----------------------------------------------------------------------------------------
FROM python:${PYTHON}

# `pip install` in an image on top of this one installs where Headcount is, and not into the Python beside it.
ENV PIP_PYTHON=/opt/headcount/bin/python

# What `headcount workers`, the logs and the metrics call this build. Last of the arguments that matter to caching.
ARG REVISION=unknown
LABEL org.opencontainers.image.title="headcount" \
      org.opencontainers.image.description="A worker pool for long-running and parallel jobs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
ENV HEADCOUNT_REVISION=${REVISION} \
    PATH=/opt/headcount/bin:${PATH} \
    PYTHONUNBUFFERED=1

# Nothing in the image belongs to this user, and it needs to write nothing.
RUN groupadd --gid 10001 headcount \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin headcount

COPY --from=build /opt/headcount /opt/headcount
WORKDIR /app
COPY handlers/ handlers/

USER 10001:10001
EXPOSE 9090
STOPSIGNAL SIGTERM

# The exec form: Headcount is process 1 itself and gets SIGTERM, with no shell in between that would swallow it.
ENTRYPOINT ["headcount"]
CMD ["run"]
