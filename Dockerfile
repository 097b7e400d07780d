# vitdsi as a server. An index and its photos are mounted at /data; nothing else is needed, and nothing is written there.
#
#   docker build -t vitdsi .
#   docker run --read-only --tmpfs /tmp -v "$PWD:/data:ro" -e VITDSI_TOKEN -p 127.0.0.1:8000:8000 vitdsi
FROM python:3.12-slim AS build
WORKDIR /build
RUN python -m venv /opt/vitdsi
# torch first, as its CPU build has no libraries for GPUs, which would be several gigabytes.
RUN /opt/vitdsi/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch==2.13.0
COPY pyproject.toml README.md LICENSE ./
COPY docs/man docs/man
COPY src src
RUN /opt/vitdsi/bin/pip install --no-cache-dir '.[serve,heic]'

FROM python:3.12-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin vitdsi
COPY --from=build /opt/vitdsi /opt/vitdsi
# All that may be written is below /tmp, so the root can be read-only.
ENV PATH=/opt/vitdsi/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HOME=/tmp VITDSI_CACHE=/tmp/vitdsi
USER 10001
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["vitdsi"]
CMD ["serve", "/data/photos.dsi", "--images", "/data/photos", "--host", "0.0.0.0"]
