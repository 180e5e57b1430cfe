# One kvgossip node in a small image.
#
#   docker build -t kvgossip .
#   docker run --rm --name kv --read-only --cap-drop ALL --security-opt no-new-privileges kvgossip
#   docker exec kv kvgossip put hello world
#
# HTTP serves the inside of the container alone, since whoever asks a published port is a stranger there; the log says the three
# ways out. Take KVGOSSIP_OPEN_HTTP=1 only where the port is published on a loopback address (-p 127.0.0.1:7480:7480), or where
# everybody who reaches it may do everything.
#
# The data is in /var/lib/kvgossip (KVGOSSIP_DATA_DIR), a volume: name it, and the node comes back with its data and its name after
# the container is replaced (-v kv1:/var/lib/kvgossip). KVGOSSIP_DATA_DIR= keeps it in memory alone. A volume at /etc/kvgossip
# (keyring, tokens, certificates) belongs to the image's user as well; nothing is written elsewhere.
#
# Every option of `kvgossip agent` can be given after the image's name or as KVGOSSIP_... in the environment; three nodes
# that know each other are in docker-compose.yml. Behind a package mirror:
#
#   docker build --build-arg PIP_INDEX_URL=https://mirror.example/simple -t kvgossip .

FROM python:3.11-slim-bookworm AS build

# pip reads these from its environment and takes an empty one for absent. They are arguments of this stage alone,
# so neither they nor a password in them are in the image that ships or in its history.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ARG PIP_DEFAULT_TIMEOUT
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# Two environments: pip works in the first and fills the second, which ships without pip.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/kvgossip

# Dependencies before the source: a change of the source alone reuses this layer. They are locked, with hashes.
WORKDIR /src
COPY requirements ./requirements
RUN /opt/build/bin/pip install -r requirements/build.lock \
 && /opt/build/bin/pip --python /opt/kvgossip/bin/python install -r requirements/all.lock
COPY . .
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheels . \
 && /opt/build/bin/pip --python /opt/kvgossip/bin/python install --no-deps /tmp/wheels/*.whl


FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="kvgossip" \
      org.opencontainers.image.licenses="Apache-2.0"

# An empty volume takes the owner and the mode of what it is mounted on.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin kvgossip \
 && install -d -o 10001 -g 10001 -m 0700 /etc/kvgossip /var/lib/kvgossip
COPY --from=build /opt/kvgossip /opt/kvgossip

# In a container the outside is the other containers: listen on every interface, unlike the command's own defaults.
ENV PATH=/opt/kvgossip/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    KVGOSSIP_HTTP=0.0.0.0:7480 \
    KVGOSSIP_GOSSIP=0.0.0.0:7481 \
    KVGOSSIP_DATA_DIR=/var/lib/kvgossip
VOLUME /var/lib/kvgossip

# A number, so that an orchestrator that demands "not root" can tell without reading /etc/passwd.
USER 10001:10001
WORKDIR /

EXPOSE 7480 7481/tcp 7481/udp
STOPSIGNAL SIGTERM

# It asks where this agent serves, whether its environment, its file or its command line says so. Whether it has caught up is another
# question (`kvgossip ready`): a node that waits for others need not be restarted.
HEALTHCHECK --interval=15s --timeout=10s --start-period=20s --retries=3 CMD kvgossip ready --alive || exit 1

ENTRYPOINT ["kvgossip"]
CMD ["agent"]
