# The service with the CPU engine. Build: docker build -t voipavatar . It serves on loopback until an
# API key exists, so run it with --network host (docs/configuration.md says how to open it).

FROM python:3.12-slim-bookworm AS build
WORKDIR /srv/voipavatar
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
# base, or otel: the same with what sends spans to a collector.
ARG LOCK=base
COPY requirements/uv.txt requirements/base.txt requirements/otel.txt requirements/
RUN python -m pip install --no-cache-dir --require-hashes -r requirements/uv.txt
RUN uv venv -q .venv && uv pip install -q --python .venv/bin/python --require-hashes -r requirements/$LOCK.txt
COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY app app
COPY engine engine
COPY migrations migrations
RUN uv pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e .
COPY personas/personas.yaml personas/
COPY personas/default personas/default
# A checkout made under umask 077 would give an image that its own user cannot read.
RUN chmod -R u=rwX,go=rX .

FROM python:3.12-slim-bookworm AS runtime
RUN useradd --system --uid 10001 --home-dir /data --create-home voipavatar
WORKDIR /srv/voipavatar
COPY --from=build /srv/voipavatar ./
RUN chmod 755 . && install -d -o voipavatar -g voipavatar -m 700 /data
ENV PATH=/srv/voipavatar/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    VOIPAVATAR_DATA_DIR=/data \
    VOIPAVATAR_LOG_FORMAT=json
USER voipavatar
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ.get('VOIPAVATAR_PORT', '8080') + '/health', timeout=4)"]
CMD ["voipavatar", "serve"]
