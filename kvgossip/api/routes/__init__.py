"""One family of routes a file: a class with handlers, and behind them its ROUTES (http/route.py).

kv               /kv: values, and the list of keys
kv_request       what a request about one key says beside its value
kv_edit          POST /kv/{key}: counters, sets, maps
folders          /folders: keys by their next slash
write_concern    waiting for others to hold a write, and for a version to arrive
batch            /batch: writes that happen together
history          /history: earlier versions of a key
conflicts        /conflicts: writes that were lost without their writers' knowing
story            /story: what happened to a key on every member
differences      /differences: keys that differ from a member
releases         /releases: releases of the values under a prefix
watch            /watch: changes, as a stream or as a long poll
sse              the streams that are open
turns            work for all of them, a portion in each turn of the loop
held             a watcher whose stream begins later
watch_event      changes as text
status           /status, /members and other questions about a node and its cluster
review           /doctor/config: how the members are set up, and what differs
overview         /cluster and /series: the whole cluster, and the last hour of this node
events           /events: what happens to the cluster, as a stream
onlookers        those streams
cluster          /join, /leave, /block and other orders to it
backup           /export, /import and /quarantine
console          /ui: the files of the console
metrics          /metrics: the numbers of a node, for Prometheus
metric_families  their families, by Prometheus' conventions
consul           /v1/kv: keys and values for Consul's clients
consul_cluster   /v1/agent, /v1/status, /v1/catalog: members for Consul's clients
consul_answer    answers in Consul's words
consul_form      entries and lists as Consul's JSON
"""
