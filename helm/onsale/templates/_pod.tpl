{{/* The pod of a role: metadata and spec, the same for StatefulSet and Deployments. */}}
{{- define "onsale.pod" -}}
{{- $root := .root }}
{{- $role := .role }}
{{- $values := $root.Values }}
{{- $own := index $values $role }}
metadata:
  labels:
    {{- /* Without versions: a new chart that changes nothing here restarts nobody. */}}
    {{- include "onsale.selectorLabels" (dict "root" $root "component" $role) | nindent 4 }}
  annotations:
    checksum/config: {{ include "onsale.config" . | sha256sum }}
    {{- with $own.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "onsale.serviceAccountName" $root }}
  automountServiceAccountToken: false
  # Service variables such as ONSALE_EDGE_PORT would look like settings of ours.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int64 $own.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with $own.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- range $key, $whenUnsatisfiable := dict "kubernetes.io/hostname" $own.hostSpread "topology.kubernetes.io/zone" $own.zoneSpread }}
    - topologyKey: {{ $key }}
      maxSkew: 1
      whenUnsatisfiable: {{ $whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "onsale.selectorLabels" (dict "root" $root "component" $role) | nindent 10 }}
    {{- end }}
  containers:
    - name: onsale
      image: {{ include "onsale.image" $root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        - run
        - --config
        - /etc/onsale/config/onsale.toml
        - --role
        - {{ $role }}
      {{- include "onsale.env" . | nindent 6 }}
      ports:
        {{- if eq $role "edge" }}
        - name: http
          containerPort: 8080
        {{- end }}
        - name: ops
          containerPort: 8081
        - name: grpc
          containerPort: 8082
      # Long, because a log is read again; what is not ready yet is alive all the same.
      startupProbe:
        httpGet:
          path: /livez
          port: ops
        periodSeconds: 2
        failureThreshold: 150
      readinessProbe:
        httpGet:
          path: /readyz
          port: ops
        periodSeconds: 3
        timeoutSeconds: 2
        failureThreshold: 2
      # Says only that this process runs: a restart heals no lost majority.
      livenessProbe:
        httpGet:
          path: /livez
          port: ops
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      {{- with int64 $own.preStopSleepSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ . }}
      {{- end }}
      resources:
        {{- toYaml $own.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop:
            - ALL
      volumeMounts:
        - name: config
          mountPath: /etc/onsale/config
          readOnly: true
        - name: secrets
          mountPath: /etc/onsale/secrets
          readOnly: true
        {{- if has $role (list "allocator" "catalog") }}
        - name: data
          mountPath: /var/lib/onsale
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "onsale.fullname" $root }}
        items:
          - key: {{ $role }}.toml
            path: onsale.toml
    - name: secrets
      secret:
        secretName: {{ $values.existingSecret | quote }}
        defaultMode: 0440
        items:
          - key: {{ $values.secretKeys.cluster | quote }}
            path: cluster
          {{- if eq $role "payments" }}
          - key: {{ $values.secretKeys.signingKey | quote }}
            path: ticket-signing-key
          {{- end }}
    {{- if eq $role "catalog" }}
    - name: data
      emptyDir:
        sizeLimit: {{ $values.catalog.storageLimit }}
    {{- end }}
{{- end }}

{{/* Each role sees only the secrets it needs; the edge, which faces the world, has no keys at all. */}}
{{- define "onsale.env" -}}
{{- $values := .root.Values }}
{{- $keys := $values.secretKeys }}
{{- $required := dict }}
{{- $optional := dict }}
{{- if eq .role "allocator" }}
{{- $optional = dict "ONSALE_KEYS__ORGANIZER" $keys.organizerKey "ONSALE_KEYS__SUPPORT" $keys.supportKey "ONSALE_KEYS__FINANCE" $keys.financeKey "ONSALE_KEYS__OPERATOR" $keys.operatorKey }}
{{- else if eq .role "payments" }}
{{- $required = dict "ONSALE_PAYMENTS__GATEWAY_KEY" $keys.gatewayKey }}
{{- $optional = dict "ONSALE_PAYMENTS__WEBHOOK_SECRET" $keys.webhookSecret }}
{{- end }}
{{- if or $required $optional -}}
env:
  {{- if eq .role "allocator" }}
  # Ordinals start at 1, so the pod's index is the node's number.
  - name: ONSALE_NODE__ID
    valueFrom:
      fieldRef:
        fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
  {{- end }}
  {{- range $name, $key := $required }}
  - name: {{ $name }}
    valueFrom:
      secretKeyRef:
        name: {{ $values.existingSecret | quote }}
        key: {{ $key | quote }}
  {{- end }}
  {{- range $name, $key := $optional }}
  - name: {{ $name }}
    valueFrom:
      secretKeyRef:
        name: {{ $values.existingSecret | quote }}
        key: {{ $key | quote }}
        optional: true
  {{- end }}
{{- end }}
{{- end }}
