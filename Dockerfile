# syntax=docker/dockerfile:1
# The broker on Node.js, without packages. To pin the base for good, resolve its digest once and give it along:
#   docker buildx imagetools inspect node:24.21.0-trixie-slim --format '{{.Manifest.Digest}}'
#   docker build --build-arg BASE=node:24.21.0-trixie-slim@sha256:… .
ARG BASE=node:24.21.0-trixie-slim

# What is built is the same for every processor, so it is built on the machine's own.
FROM --platform=$BUILDPLATFORM ${BASE} AS build
WORKDIR /src
COPY package.json package-lock.json ./
COPY dev dev
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY catalog.yaml ./
COPY deploy/build deploy/build
COPY migrations migrations
COPY plugins plugins
COPY routes routes
COPY schemas schemas
COPY src src
RUN npm run bundle

# Compiled code belongs to one version of Node.js, one processor and one user: that of the image.
FROM ${BASE} AS compile
WORKDIR /app
RUN mkdir compile-cache && chown 65532:65532 compile-cache
COPY --from=build /src/dist/bundle/ ./
COPY --chmod=0644 deploy/docker/warm-up.mjs ./
USER 65532:65532
ENV NODE_COMPILE_CACHE=/app/compile-cache
RUN ["node", "/app/warm-up.mjs"]

FROM ${BASE}
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fastify-open-service-broker" \
      org.opencontainers.image.description="An Open Service Broker that hands out PostgreSQL databases" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /app
COPY --from=build /src/dist/bundle/ ./
COPY --from=compile /app/compile-cache compile-cache
COPY --chmod=0644 LICENSE deploy/docker/healthcheck.mjs ./
# Nothing is written: the image runs with a read-only root file system and no volume.
ENV NODE_ENV=production \
    NODE_COMPILE_CACHE=/app/compile-cache \
    BROKER_HOST=0.0.0.0 \
    BROKER_HEALTH_LISTENER=on \
    BROKER_STORAGE=postgres
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
  CMD ["node", "/app/healthcheck.mjs"]
ENTRYPOINT ["node", "/app/osb.mjs"]
CMD ["serve"]
