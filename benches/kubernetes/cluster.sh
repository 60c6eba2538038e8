#!/bin/bash
# A real cluster on this machine, in a network and mount namespace of its own: Docker, etcd, the control plane, one kubelet and kube-proxy of
# Kubernetes 1.20, with the chart installed by Helm. Then measure.py is run in it. As root:
#
#   PORTOLAN_KUBERNETES=DIRECTORY benches/kubernetes/cluster.sh TARGET_DIRECTORY [measure.py's arguments]
#
# DIRECTORY/bin has kube-apiserver, -controller-manager, -scheduler, kubelet and kube-proxy, each also as .xz; TARGET_DIRECTORY has debug/portolan,
# debug/portolan-kubernetes and tools/helm/helm. It needs docker.io, etcd-server, busybox-static, curl, conntrack, iptables, dnsmasq-base, gcc, jq
# and python3-yaml.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TARGET=$(realpath "$1")
shift
if [[ ${IN_NAMESPACE:-} != yes ]]; then
    exec env IN_NAMESPACE=yes unshare --net --mount --propagation private -- "$0" "$TARGET" "$@"
fi
W=$(mktemp -d /tmp/portolan-cluster.XXXXXX)
P=16443
HOST=172.17.0.1
export DOCKER_HOST=unix://$W/docker.sock KUBECONFIG=$W/admin.kubeconfig
PIDS=()

start() { # NAME COMMAND...
    local name=$1
    shift
    "$@" >"$W/$name.log" 2>&1 &
    PIDS+=($!)
}

wait_for() { # WHAT COMMAND...
    local what=$1
    shift
    for _ in $(seq 600); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    echo "no $what; see $W" >&2
    exit 1
}

finish() {
    docker rm -f $(docker ps -aq) >/dev/null 2>&1 || true
    for ((i = ${#PIDS[@]} - 1; i >= 0; i--)); do kill "${PIDS[i]}" 2>/dev/null || true; done
    wait
    awk -v d="$W" 'index($2, d) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount
    [[ -n ${KEEP:-} ]] || rm -rf "$W"
}
trap finish EXIT

unpack() {
    mkdir "$W/bin"
    local name
    for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
        if [[ -f $PORTOLAN_KUBERNETES/bin/$name ]]; then
            cp "$PORTOLAN_KUBERNETES/bin/$name" "$W/bin/"
        else
            xz -dc "$PORTOLAN_KUBERNETES/bin/$name.xz" >"$W/bin/$name"
        fi
        chmod +x "$W/bin/$name"
    done
}

engine() {
    ip link set lo up
    # Without CAP_SYS_RESOURCE runc cannot raise limits: they are taken out of the bundle.
    cat >"$W/runc" <<'R'
#!/bin/bash
a=("$@"); for ((i=0;i<$#;i++)); do case "${a[i]}" in --bundle|-b) B="${a[i+1]}";; esac; done
[ -n "$B" ] && jq 'del(.process.rlimits) | if (.process.oomScoreAdj // 0) < 0 then .process.oomScoreAdj = 0 else . end' "$B/config.json" > "$B/.c" && cat "$B/.c" > "$B/config.json" && rm -f "$B/.c"
exec /usr/sbin/runc "$@"
R
    chmod +x "$W/runc"
    start dockerd dockerd -H "$DOCKER_HOST" --data-root "$W/docker" --exec-root "$W/exec" --pidfile "$W/docker.pid" --add-runtime "nores=$W/runc" \
        --default-runtime nores --exec-opt native.cgroupdriver=cgroupfs
    wait_for "Docker engine" docker info
    # Addresses of Services need a route before kube-proxy's rules can change them.
    ip route add 10.96.0.0/16 dev docker0 src $HOST
}

# The programs with the libraries of this machine; nothing can be pulled.
images() {
    local root=$W/root
    mkdir -p "$root/bin" "$root/tmp" "$root/var/lib/portolan" "$root/www"
    chmod 1777 "$root/tmp"
    local name library
    for name in portolan portolan-kubernetes; do
        strip -o "$root/bin/$name" "$TARGET/debug/$name"
    done
    # A client whose resolver is that of the C library.
    cp "$(command -v curl)" "$root/bin/"
    for name in portolan portolan-kubernetes curl; do
        for library in $(ldd "$root/bin/$name" | grep -o '/[^ ]*'); do cp -L --parents -n "$library" "$root/"; done
    done
    cp /bin/busybox "$root/bin/"
    for name in sh sleep wget nc httpd touch rm; do ln -s busybox "$root/bin/$name"; done
    echo ready >"$root/www/index.html"
    tar -C "$root" -c . | docker import -c 'ENV PATH=/bin' -c 'ENV HOME=/var/lib/portolan' -c 'WORKDIR /var/lib/portolan' -c 'ENTRYPOINT ["/bin/portolan"]' -c 'USER 65532' - portolan:0.1.0
    tar -C "$root" -c . | docker import -c 'ENV PATH=/bin' - tools:latest
    printf '#include <unistd.h>\n#include <signal.h>\nstatic void end(int s){_exit(0);}\nint main(){signal(SIGTERM,end);signal(SIGINT,end);for(;;)pause();}\n' >"$W/pause.c"
    gcc -Os -static -o "$W/pause" "$W/pause.c"
    tar -C "$W" -c pause | docker import -c 'ENTRYPOINT ["/pause"]' - local/pause:3.2
}

authority() {
    cd "$W"
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=ca 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -keyout api.key -out api.csr -subj /CN=kube-apiserver 2>/dev/null
    echo "subjectAltName=DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:$HOST" >names
    openssl x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out api.crt -extfile names 2>/dev/null
    openssl genrsa -out sa.key 2048 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -keyout kc.key -out kc.csr -subj /O=system:masters/CN=api 2>/dev/null
    openssl x509 -req -in kc.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out kc.crt 2>/dev/null
    printf '%s\n' 'admin,admin,1,"system:masters"' 'kcm,system:kube-controller-manager,2,' 'sched,system:kube-scheduler,3,' 'node,system:node:n1,4,"system:nodes"' >tokens.csv
    local token
    for token in admin kcm sched node; do
        cat >"$W/$token.kubeconfig" <<K
{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: t, user: u}}], users: [{name: u, user: {token: $token}}],
 clusters: [{name: t, cluster: {server: "https://$HOST:$P", certificate-authority: $W/ca.crt}}]}
K
    done
}

plane() {
    local etcd=http://127.0.0.1:$((P + 1))
    start etcd etcd --data-dir "$W/etcd" --listen-client-urls $etcd --advertise-client-urls $etcd --listen-peer-urls http://127.0.0.1:$((P + 2)) \
        --initial-advertise-peer-urls http://127.0.0.1:$((P + 2)) --initial-cluster default=http://127.0.0.1:$((P + 2))
    start api "$W/bin/kube-apiserver" --insecure-port=0 --etcd-servers=$etcd --bind-address=$HOST --secure-port=$P --advertise-address=$HOST \
        --tls-cert-file=api.crt --tls-private-key-file=api.key --client-ca-file=ca.crt --token-auth-file=tokens.csv --authorization-mode=Node,RBAC \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=sa.key --service-account-signing-key-file=sa.key \
        --kubelet-client-certificate=kc.crt --kubelet-client-key=kc.key --kubelet-preferred-address-types=InternalIP \
        --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true --endpoint-reconciler-type=lease
    wait_for "API server" curl -sf --cacert ca.crt -H 'Authorization: Bearer admin' https://$HOST:$P/readyz
    start kcm "$W/bin/kube-controller-manager" --kubeconfig=kcm.kubeconfig --service-account-private-key-file=sa.key --root-ca-file=ca.crt \
        --use-service-account-credentials=true --leader-elect=false --port=0 --bind-address=127.0.0.1 --secure-port=$((P + 3))
    start scheduler "$W/bin/kube-scheduler" --kubeconfig=sched.kubeconfig --leader-elect=false --port=0 --bind-address=127.0.0.1 --secure-port=$((P + 4))
}

node() {
    mkdir -p "$W/kubelet" "$W/shim"
    # The kubelet keeps the state of its pods there whatever its root is.
    mkdir -p /var/lib/dockershim && mount --bind "$W/shim" /var/lib/dockershim
    cat >kubelet.yaml <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $HOST
port: $((P + 5))
healthzPort: $((P + 6))
readOnlyPort: 0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $W/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
oomScoreAdj: 0
clusterDNS: [$HOST]
clusterDomain: cluster.local
evictionHard: {nodefs.available: "1%", imagefs.available: "1%", memory.available: 50Mi}
K
    start kubelet "$W/bin/kubelet" --kubeconfig=node.kubeconfig --config=kubelet.yaml --hostname-override=n1 --node-ip=$HOST --root-dir="$W/kubelet" \
        --cert-dir="$W/kubelet/pki" --pod-infra-container-image=local/pause:3.2 --container-runtime=docker --docker-endpoint="$DOCKER_HOST" \
        --network-plugin= --volume-plugin-dir="$W/kubelet/plugins"
    cat >proxy.yaml <<K
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $W/admin.kubeconfig}
bindAddress: 127.0.0.1
healthzBindAddress: 127.0.0.1:$((P + 7))
metricsBindAddress: 127.0.0.1:$((P + 8))
mode: iptables
hostnameOverride: n1
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
clusterCIDR: 172.17.0.0/16
K
    start proxy "$W/bin/kube-proxy" --config=proxy.yaml
    # CoreDNS is in no package: the names of Services are answered from a file that follows the API server.
    start dns dnsmasq --keep-in-foreground --no-resolv --no-hosts --listen-address=$HOST --bind-interfaces --hostsdir="$W/hosts" --local=/cluster.local/ \
        --cache-size=0 --user=root
}

mkdir "$W/hosts"
unpack
engine
images
authority
plane
node
exec 3>&1
export W HOST P
PATH=$TARGET/tools/helm:$TARGET/debug:$PATH python3 "$HERE/measure.py" "$@"
