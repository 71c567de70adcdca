# One instance of Group Spaces. Build: docker build -t groupspaces .
# Run:   docker run -p 3000:3000 -v groupspaces:/data groupspaces

# --- browser modules, pinned by package-lock.json ---
FROM node:20-slim AS browser-modules
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --omit=optional

# --- a virtual environment with the product as a wheel ---
FROM python:3.11-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv /opt/groupspaces \
    && /opt/groupspaces/bin/pip install --require-hashes -r requirements.lock \
    && python3 -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements-build.lock
COPY . .
COPY --from=browser-modules /src/node_modules node_modules
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/groupspaces/bin/pip install --no-deps dist/*.whl

# --- what runs: no compiler, no npm, no secret ---
FROM python:3.11-slim
RUN groupadd --gid 10001 groupspaces \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin groupspaces \
    && install -d -o 10001 -g 10001 -m 0750 /data
COPY --from=build /opt/groupspaces /opt/groupspaces
ENV PATH=/opt/groupspaces/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GROUPSPACES__DATA__DIR=/data \
    HOST=0.0.0.0 \
    PORT=3000
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 3000
# 503 means that the database cannot be read; a primary that is away is "degraded" and no reason to restart.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/api/health', timeout=4)"]
CMD ["groupspaces", "serve"]
