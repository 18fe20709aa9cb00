# One image for every service; SERVICES says which of them a container runs.
# Checked with linters only: it was not built where this was written (docs/deployment.md).
FROM python:3.13-slim-bookworm AS build
WORKDIR /srv
COPY requirements/service.txt requirements/service.txt
RUN python -m venv /srv/venv \
    && /srv/venv/bin/pip install --no-cache-dir --require-hashes --requirement requirements/service.txt

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /srv --shell /usr/sbin/nologin headrace
WORKDIR /srv
COPY --from=build /srv/venv /srv/venv
COPY headrace headrace
COPY app app
COPY agents agents
COPY tables tables
COPY web web
ENV PATH=/srv/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8080 8081 8082
STOPSIGNAL SIGTERM
ENTRYPOINT ["faust", "-A", "app"]
CMD ["worker"]
