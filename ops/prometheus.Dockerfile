# Debian's Prometheus with the alerts of this directory, for `docker compose --profile monitoring`. Its base is that of the nodes'
# image: Debian 12, which the engine has then.
FROM python:3.11-slim-bookworm

RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/prometheus
COPY prometheus.yml alerts.yml /etc/prometheus/

# As the nodes' user, it reads its token and their CA.
USER 10001:10001
EXPOSE 9090
ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/var/lib/prometheus", "--storage.tsdb.retention.time=15d"]
