# syntax=docker/dockerfile:1
# Crier in a container: built in one stage, run in another, as a user without rights.
#   docker build -t crier .                 the broker, the relay, crierctl and crier-bench
#   docker build -t crier-init --target init .   makes certificate and keys for docker-compose.yml

FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY scripts/bootstrap scripts/bootstrap
RUN scripts/bootstrap build
COPY . .
RUN make

FROM debian:12-slim AS init
RUN apt-get update && apt-get install -y --no-install-recommends openssl && rm -rf /var/lib/apt/lists/*
COPY docs/deploy/init-keys /usr/local/bin/init-keys
CMD ["init-keys"]

FROM debian:12-slim
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates libcurl4 libevent-2.1-7 libevent-openssl-2.1-7 \
        libhiredis0.14 libaio1 libinih1 libjwt0 libmsgpackc2 libssl3 liburing2 zlib1g && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin crier
COPY --from=build /src/build/crier /src/build/crier-relay /src/build/crierctl /src/build/crier-bench /usr/local/bin/
COPY LICENSE /usr/share/doc/crier/LICENSE
USER crier
# Without keys (CRIER_JWT_KEY, CRIER_API_KEY) the broker says what it needs and does not start.
ENV CRIER_LISTEN=0.0.0.0:8080 CRIER_LOG=json
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["crierctl", "ping", "--timeout", "2"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["crier"]
