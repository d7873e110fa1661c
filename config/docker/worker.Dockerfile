# A Ruby worker without an application. Build from the root of the repository:
#
#     docker build -f config/docker/worker.Dockerfile -t tasker-worker .
#
# An application's image begins with `FROM tasker-worker`, or takes the gem into its own bundle; it adds its code and says in CMD
# what to load: CMD ["--require", "/app/workflows", "--templates", "/app/templates"].

ARG DEBIAN=bookworm

FROM docker.io/library/debian:${DEBIAN}-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tasker Core worker" \
      org.opencontainers.image.description="Runs steps of workflows that are written in Ruby" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="https://github.com/tasker-systems/tasker-core" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Not pinned: the newest of a stable release has the security fixes.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libzmq5 ruby ruby-ffi ruby-msgpack ruby-tomlrb \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 tasker \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin tasker
COPY bindings/ruby /opt/tasker
RUN ln -s /opt/tasker/exe/tasker-worker /usr/local/bin/tasker-worker
ENV RUBYLIB=/opt/tasker/lib
USER 10001:10001
WORKDIR /app
EXPOSE 7580
# Whether the thread that talks to the broker turns.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["ruby", "-rnet/http", "-e", "exit Net::HTTP.get_response(URI('http://127.0.0.1:7580/livez')).is_a?(Net::HTTPOK)"]
# Running steps have worker.timeout_seconds (25): give it longer than the 10 s of `docker stop` (--stop-timeout 40).
STOPSIGNAL SIGTERM
ENTRYPOINT ["tasker-worker", "--probe-port", "7580"]
CMD []
