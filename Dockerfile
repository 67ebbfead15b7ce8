# syntax=docker/dockerfile:1
# One file for every image of docker-compose.yml: `target` chooses which.
ARG REDPANDA_VERSION=v26.1.12
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
# The toolchain file first: it chooses the toolchain that gets the target.
COPY rust-toolchain.toml .
RUN rustup target add wasm32-wasip1
COPY . .
# The caches keep dependencies between builds; what is needed is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p tickpanda -p tickpanda-source -p tickpanda-sink \
 && (cd transform && RUSTFLAGS=-Ctarget-feature=+simd128 cargo build --release --locked --target=wasm32-wasip1) \
 && mkdir /out \
 && cp target/release/tickpanda target/release/tickpanda-source target/release/tickpanda-sink \
       target/wasm32-wasip1/release/tickpanda-transform.wasm /out/

FROM debian:bookworm-slim AS base
RUN useradd --system --uid 10001 tickpanda && install -d -o tickpanda /state
USER tickpanda

FROM base AS exchange
COPY --from=build /out/tickpanda /usr/local/bin/
ENTRYPOINT ["tickpanda", "exchange"]

FROM base AS source
COPY --from=build /out/tickpanda-source /usr/local/bin/
ENTRYPOINT ["tickpanda-source"]

FROM base AS sink
COPY --from=build /out/tickpanda-sink /usr/local/bin/
ENTRYPOINT ["tickpanda-sink"]

# rpk, the module and the deploy script.
FROM docker.redpanda.com/redpandadata/redpanda:${REDPANDA_VERSION} AS deploy
COPY --from=build /out/tickpanda-transform.wasm /tickpanda/
COPY rpk /tickpanda/rpk
ENTRYPOINT ["/tickpanda/rpk/deploy.sh", "/tickpanda/tickpanda-transform.wasm"]
