{{/* The TOML file of a role. Roles have files of their own: a change of one restarts only its pods. */}}
{{- define "onsale.config" -}}
{{- $root := .root }}
{{- $values := $root.Values }}
{{- $fullname := include "onsale.fullname" $root }}
[node]
data_dir = "/var/lib/onsale"
grpc_listen = {{ printf "%s:8082" $values.listenAddress | toJson }}
ops_listen = {{ printf "%s:8081" $values.listenAddress | toJson }}

[cluster]
name = {{ include "onsale.clusterName" $root | toJson }}
nodes = [
{{- range $i := until (int $values.allocator.replicas) }}
{{- $id := add1 $i }}
  {{ printf "%d=%s-allocator-%d.%s" $id $fullname $id (include "onsale.grpcAddress" (dict "root" $root "role" "allocator")) | toJson }},
{{- end }}
]
shards = {{ int64 $values.cluster.shards }}
secret_file = "/etc/onsale/secrets/cluster"

[log]
format = {{ $values.log.format | toJson }}
filter = {{ $values.log.filter | toJson }}
{{- if eq .role "allocator" }}

[allocator]
log_segment_bytes = {{ int64 $values.allocator.logSegmentBytes }}
snapshot_entries = {{ int64 $values.allocator.snapshotEntries }}
{{- else if eq .role "edge" }}

[edge]
listen = {{ printf "%s:8080" $values.listenAddress | toJson }}
public_url = {{ include "onsale.publicUrl" $root | toJson }}
rate_per_second = {{ int64 $values.edge.ratePerSecond }}
connections_max = {{ int64 $values.edge.connectionsMax }}
catalog = {{ include "onsale.grpcAddress" (dict "root" $root "role" "catalog") | toJson }}
payments = {{ include "onsale.grpcAddress" (dict "root" $root "role" "payments") | toJson }}
{{- else if eq .role "payments" }}

[edge]
public_url = {{ include "onsale.publicUrl" $root | toJson }}

[payments]
gateway_url = {{ $values.payments.gatewayUrl | toJson }}
gateway_rate_max = {{ int64 $values.payments.gatewayRateMax }}
signing_key_file = "/etc/onsale/secrets/ticket-signing-key"
{{- end }}
{{- end }}
