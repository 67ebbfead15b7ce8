# One file for every image of docker-compose.yml: `target` chooses which. Works with the frontend that
# BuildKit has built in, so nothing has to be fetched to read it.
ARG REDPANDA_VERSION=v26.1.12
# Where the programs come from: the stage that builds them, or an image that has them in /out already.
ARG BUILT=build

FROM rust:1.95.0-bookworm AS toolchain
WORKDIR /src
# The toolchain file first: it chooses the toolchain that gets the target.
COPY rust-toolchain.toml .
RUN rustup target add wasm32-wasip1

# What dependencies are made of, and nothing else: manifests, and an empty program for each of ours. As
# long as this comes out the same, the layers of the next stage are taken from the cache.
FROM toolchain AS manifests
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -name rust-toolchain.toml \
        ! -name main.rs ! -name lib.rs ! -name build.rs ! -path '*/src/bin/*.rs' -delete \
 && find . -type f -name '*.rs' | while read -r file; do echo 'fn main() {}' > "$file"; done \
 && find . -type d -empty -delete

# All dependencies, natively and for Wasm, with the features that our programs give them.
FROM toolchain AS dependencies
COPY --from=manifests /src .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked -p tickpanda -p tickpanda-source -p tickpanda-sink \
 && cd transform && RUSTFLAGS=-Ctarget-feature=+simd128 cargo build --release --locked --target=wasm32-wasip1

# Our programs, and the transform as `rpk transform build` makes it.
FROM dependencies AS build
COPY . .
# The sources may be older than the empty programs, and cargo goes by time.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    find . -name '*.rs' ! -path './target/*' -exec touch {} + \
 && cargo build --release --locked -p tickpanda -p tickpanda-source -p tickpanda-sink \
 && (cd transform && RUSTFLAGS=-Ctarget-feature=+simd128 cargo build --release --locked --target=wasm32-wasip1) \
 && mkdir -p /out/bin \
 && install -s target/release/tickpanda target/release/tickpanda-source target/release/tickpanda-sink /out/bin/ \
 && cp target/wasm32-wasip1/release/tickpanda-transform.wasm /etc/ssl/certs/ca-certificates.crt /out/

FROM ${BUILT} AS built

# What the programs need of an operating system: the C library, a user, certificate authorities, and bash,
# which has all that the health checks need. Nothing else is in their images.
FROM debian:bookworm-slim AS root
COPY --from=built /out /out
RUN mkdir -p /state /root-fs/etc/ssl/certs /root-fs/tmp /root-fs/usr/local/bin \
 && cp /out/ca-certificates.crt /root-fs/etc/ssl/certs/ \
 && chmod 1777 /root-fs/tmp \
 && echo 'tickpanda:x:10001:10001::/:/bin/bash' > /root-fs/etc/passwd \
 && echo 'tickpanda:x:10001:' > /root-fs/etc/group \
 && for program in /bin/bash /out/bin/*; do ldd "$program" | grep -o '/[^ ]*'; done | sort -u \
      | xargs cp --dereference --parents --target-directory=/root-fs /bin/bash

FROM scratch AS base
COPY --from=root /root-fs /
ENV PATH=/usr/local/bin:/bin
USER 10001:10001

# The operator's tools, and what stands in for the vendor.
FROM base AS exchange
COPY --from=built /out/bin/tickpanda /usr/local/bin/
ENTRYPOINT ["tickpanda", "exchange"]

FROM base AS source
COPY --from=built /out/bin/tickpanda-source /usr/local/bin/
# A new volume gets this folder's owner.
COPY --from=root --chown=10001:10001 /state /state
ENTRYPOINT ["tickpanda-source"]

FROM base AS sink
COPY --from=built /out/bin/tickpanda-sink /usr/local/bin/
ENTRYPOINT ["tickpanda-sink"]

# rpk, the module, the deploy script, and the check that it runs. 101 is the image's own user.
FROM docker.redpanda.com/redpandadata/redpanda:${REDPANDA_VERSION} AS deploy
COPY --from=built /out/bin/tickpanda /usr/local/bin/
COPY --from=built /out/tickpanda-transform.wasm /tickpanda/
COPY rpk /tickpanda/rpk
COPY --from=root --chown=101:101 /state /state
ENV TICKPANDA_DEPLOY_STATE=/state
ENTRYPOINT ["/tickpanda/rpk/deploy.sh"]
CMD ["deploy", "/tickpanda/tickpanda-transform.wasm"]
