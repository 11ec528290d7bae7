# The binary in a small image: docker build -t pintail . && docker run -v "$PWD:/work" -p 127.0.0.1:8500:8500 pintail
FROM golang:1.26-bookworm AS build
WORKDIR /src
# Modules first: they change less often than the code.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=1 go build -trimpath -o /pintail ./cmd/pintail

# Of the same Debian as the build, since cgo binds to its C library.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libstdc++6 tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /work pintail
COPY --from=build /pintail /usr/local/bin/pintail
USER pintail
# pintail.yaml is read from here, and duckdb.path is relative to it.
WORKDIR /work
VOLUME /work
# Inside a container, server.http.listen has to be 0.0.0.0:8500, which asks for users and TLS (or insecure: true).
EXPOSE 8500
STOPSIGNAL SIGTERM
ENTRYPOINT ["pintail"]
CMD ["serve"]
