{{/* Names and labels. A StatefulSet's name ends in its pods' labels, so 40 characters are the most. */}}
{{- define "onsale.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "onsale.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels that never change: selectors and volume claims cannot be changed later. */}}
{{- define "onsale.selectorLabels" -}}
app.kubernetes.io/name: {{ include "onsale.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "onsale.labels" -}}
{{ include "onsale.selectorLabels" . }}
app.kubernetes.io/part-of: onsale
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "onsale.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "onsale.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "onsale.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{/* host:port of a role's gRPC service. */}}
{{- define "onsale.grpcAddress" -}}
{{- $root := .root -}}
{{ include "onsale.fullname" $root }}-{{ .role }}.{{ $root.Release.Namespace }}.svc.{{ $root.Values.clusterDomain }}:8082
{{- end }}

{{/* What buyers type. */}}
{{- define "onsale.publicUrl" -}}
{{- with .Values.edge }}
{{- if .publicUrl }}
{{- .publicUrl }}
{{- else if .ingress.enabled }}
{{- printf "%s://%s" (ternary "https" "http" (not (empty .ingress.tlsSecretName))) .ingress.host }}
{{- else -}}
http://localhost:8080
{{- end }}
{{- end }}
{{- end }}

{{/* What the nodes agreed on when the cluster formed. */}}
{{- define "onsale.clusterName" -}}
{{- default (include "onsale.fullname" .) .Values.cluster.name }}
{{- end }}

{{- define "onsale.identity" -}}
name={{ include "onsale.clusterName" . }} replicas={{ int64 .Values.allocator.replicas }} shards={{ int64 .Values.cluster.shards }}
{{- end }}

{{/* Fails before the nodes do: they refuse to start when what they agreed on has changed. */}}
{{- define "onsale.guardFormed" -}}
{{- $annotations := dig "metadata" "annotations" dict (default dict .existing) | default dict }}
{{- $formed := get $annotations "onsale/identity" }}
{{- if and $formed (ne $formed .identity) }}
{{- fail (printf "the cluster was formed with %s and cannot become %s: cluster.name, allocator.replicas and cluster.shards are fixed; install a release of another name" $formed .identity) }}
{{- end }}
{{- end }}

{{/* Combinations that no schema can refuse. */}}
{{- define "onsale.guardValues" -}}
{{- range $role := list "allocator" "edge" "payments" "catalog" }}
{{- with index $.Values $role }}
{{- if le (int64 .terminationGracePeriodSeconds) (add (int64 .preStopSleepSeconds) 10) }}
{{- fail (printf "%s.terminationGracePeriodSeconds must be more than preStopSleepSeconds and the 10 seconds of an orderly stop" $role) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.edge }}
{{- if .ingress.enabled }}
{{- if not .ingress.host }}
{{- fail "edge.ingress.host must be set when edge.ingress.enabled is" }}
{{- end }}
{{- if gt (int64 .ratePerSecond) 0 }}
{{- fail "behind an ingress all buyers come from its address: set edge.ratePerSecond to 0 and limit in the ingress" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
