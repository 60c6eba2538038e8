{{- define "portolan.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The labels that select the pods of a component: (list context component) */}}
{{- define "portolan.selector" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: portolan
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "portolan.labels" -}}
{{- $context := index . 0 -}}
{{ include "portolan.selector" . }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | quote }}
{{- end -}}

{{- define "portolan.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{/* What the pod security standard `restricted` asks for. */}}
{{- define "portolan.podSecurity" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "portolan.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{- define "portolan.tokenVolume" -}}
- name: token
  secret:
    secretName: {{ .Values.token.secret | quote }}
    defaultMode: 288 # 0440
    items: [{ key: {{ .Values.token.key | quote }}, path: token }]
{{- end -}}

{{/* The registry as its clients in the cluster reach it. */}}
{{- define "portolan.url" -}}
{{- printf "http://%s.%s.svc:%d" (include "portolan.name" .) .Release.Namespace (int .Values.port) -}}
{{- end -}}

{{/* The pod of the registry, which a Deployment and a StatefulSet have. */}}
{{- define "portolan.registryPod" -}}
{{- $name := include "portolan.name" . -}}
{{- $isVolume := eq .Values.store "volume" -}}
{{- $hosts := list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) (printf "%s.%s.svc.cluster.local" $name .Release.Namespace) -}}
metadata:
  labels:
    {{- include "portolan.labels" (list . "registry") | nindent 4 }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ $name }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 10
  {{- include "portolan.podSecurity" . | nindent 2 }}
  {{- if not $isVolume }}
  topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "portolan.selector" (list . "registry") | nindent 8 }}
  {{- end }}
  containers:
  - name: portolan
    {{- include "portolan.image" . | nindent 4 }}
    args:
    - serve
    - --listen
    - {{ printf "0.0.0.0:%d" (int .Values.port) | quote }}
    {{- if $isVolume }}
    - --data-dir
    - /var/lib/portolan/data
    {{- end }}
    env:
    - name: PORTOLAN_TOKEN_FILE
      value: /etc/portolan/token/token
    {{- if not $isVolume }}
    - name: PORTOLAN_SERVICE_REGISTRY__STORAGE_BACKEND
      value: etcd
    - name: PORTOLAN_SERVICE_REGISTRY__ETCD__ENDPOINTS
      value: {{ .Values.etcd.endpoints | toJson | quote }}
    {{- end }}
    - name: PORTOLAN_SERVICE_REGISTRY__ALLOWED_HOSTS
      value: {{ concat $hosts .Values.allowedHosts | toJson | quote }}
    # An emptyDir is writable for everybody; this one, which the containers of a pod share as they share its ports, has the sticky bit.
    - name: PORTOLAN_PORT_ALLOCATOR__RUNTIME_DIR
      value: /dev/shm/portolan
    # Pods have no multicast with each other.
    - name: PORTOLAN_BROADCAST__ENABLED
      value: "false"
    {{- range $variable, $value := .Values.settings }}
    - name: {{ $variable | quote }}
      value: {{ $value | toString | quote }}
    {{- end }}
    ports:
    - { name: http, containerPort: {{ .Values.port }}, protocol: TCP }
    startupProbe:
      httpGet: { path: /readyz, port: http }
      periodSeconds: 1
      failureThreshold: 60
    readinessProbe:
      httpGet: { path: /readyz, port: http }
      periodSeconds: 2
      failureThreshold: 2
    livenessProbe:
      httpGet: { path: /healthz, port: http }
      periodSeconds: 10
      timeoutSeconds: 5
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
    {{- include "portolan.containerSecurity" . | nindent 4 }}
    volumeMounts:
    - { name: data, mountPath: /var/lib/portolan }
    - { name: tmp, mountPath: /tmp }
    - { name: token, mountPath: /etc/portolan/token, readOnly: true }
  volumes:
  {{- if not $isVolume }}
  - name: data
    emptyDir: { sizeLimit: 16Mi }
  {{- end }}
  - name: tmp
    emptyDir: { sizeLimit: 16Mi }
  {{- include "portolan.tokenVolume" . | nindent 2 }}
{{- end -}}

{{/* The service account of a bridge, with the right to read these resources, everywhere or in some namespaces:
     (dict "context" . "component" name "resources" list "groups" list "namespaces" list) */}}
{{- define "portolan.reader" -}}
{{- $context := .context -}}
{{- $component := .component -}}
{{- $namespaces := .namespaces -}}
{{- $name := printf "%s-%s" (include "portolan.name" $context) $component -}}
{{- $rules := list (dict "apiGroups" .groups "resources" .resources "verbs" (list "get" "list" "watch")) -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  namespace: {{ $context.Release.Namespace }}
  labels:
    {{- include "portolan.labels" (list $context $component) | nindent 4 }}
{{- if not $namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ printf "%s-%s" $context.Release.Namespace $name }}
  labels:
    {{- include "portolan.labels" (list $context $component) | nindent 4 }}
rules:
{{- toYaml $rules | nindent 0 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ printf "%s-%s" $context.Release.Namespace $name }}
  labels:
    {{- include "portolan.labels" (list $context $component) | nindent 4 }}
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ printf "%s-%s" $context.Release.Namespace $name | quote }} }
subjects:
- { kind: ServiceAccount, name: {{ $name | quote }}, namespace: {{ $context.Release.Namespace | quote }} }
{{- end }}
{{- range $namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  namespace: {{ . }}
  labels:
    {{- include "portolan.labels" (list $context $component) | nindent 4 }}
rules:
{{- toYaml $rules | nindent 0 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ . }}
  labels:
    {{- include "portolan.labels" (list $context $component) | nindent 4 }}
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $name | quote }} }
subjects:
- { kind: ServiceAccount, name: {{ $name | quote }}, namespace: {{ $context.Release.Namespace | quote }} }
{{- end }}
{{- end -}}

{{/* The Deployment of a bridge, or without replicas its DaemonSet, whose pods know their node:
     (dict "context" . "component" name "replicas" n "arguments" list "resources" map) */}}
{{- define "portolan.bridge" -}}
{{- $context := .context -}}
{{- $isDeployment := hasKey . "replicas" -}}
apiVersion: apps/v1
kind: {{ ternary "Deployment" "DaemonSet" $isDeployment }}
metadata:
  name: {{ include "portolan.name" $context }}-{{ .component }}
  namespace: {{ $context.Release.Namespace }}
  labels:
    {{- include "portolan.labels" (list $context .component) | nindent 4 }}
spec:
  {{- if $isDeployment }}
  replicas: {{ .replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "portolan.selector" (list $context .component) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "portolan.labels" (list $context .component) | nindent 8 }}
    spec:
      serviceAccountName: {{ include "portolan.name" $context }}-{{ .component }}
      terminationGracePeriodSeconds: 15
      {{- include "portolan.podSecurity" $context | nindent 6 }}
      containers:
      - name: {{ .component }}
        {{- include "portolan.image" $context | nindent 8 }}
        command:
        - portolan-kubernetes
        - {{ .component }}
        {{- range .arguments }}
        - {{ . | quote }}
        {{- end }}
        env:
        {{- if not $isDeployment }}
        - name: PORTOLAN_KUBERNETES_NODE
          valueFrom: { fieldRef: { fieldPath: spec.nodeName } }
        {{- end }}
        - name: PORTOLAN_REGISTRY_URL
          value: {{ include "portolan.url" $context }}
        - name: PORTOLAN_TOKEN_FILE
          value: /etc/portolan/token/token
        resources:
          {{- toYaml .resources | nindent 10 }}
        {{- include "portolan.containerSecurity" $context | nindent 8 }}
        volumeMounts:
        - { name: token, mountPath: /etc/portolan/token, readOnly: true }
      volumes:
      {{- include "portolan.tokenVolume" $context | nindent 6 }}
{{- end -}}
