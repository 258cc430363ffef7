#!/bin/bash
# Installs keelson on a Debian or Ubuntu host, joins it to a cluster, or takes it away again.
set -Eeuo pipefail

usage() {
    cat <<'U'
Usage: install.sh [option...]                    install or update; keelson then runs the pods of /etc/kubernetes/manifests
  --demo                                         and two pods and a Service to look at
  --kubeconfig FILE                              as a node of the cluster that FILE describes
  --server URL --token T --ca-cert-hash sha256:H as a node of that cluster; H is the SHA-256 of its CA's public key
  --uninstall                                    take everything away again, the pods that run included
U
}

readonly prefix=/opt/keelson etc=/etc/keelson defaults=/etc/default/keelson run=/run/keelson
readonly unit=/etc/systemd/system/keelson.service link=/usr/local/bin/keelson
readonly manifests=/etc/kubernetes/manifests rootdir=/var/lib/kubelet
readonly containerd_config=/etc/containerd/config.toml socket=/run/containerd/containerd.sock
readonly modules=/etc/modules-load.d/keelson.conf
readonly pause_image=keelson.io/pause:1 demo_image=keelson.io/demo/busybox:1
readonly demo_url=http://10.96.0.80
readonly mark='# Written by install.sh of keelson.'
# What this script made and --uninstall therefore removes: lines "dir PATH" and "image NAME".
readonly made=$prefix/made

say() { echo "==> $1"; }
note() { echo "    $1"; }
die() { echo "install.sh: $1" >&2; exit 1; }
trap 'die "line $LINENO: \"$BASH_COMMAND\" failed: mend what it says above and run install.sh again"' ERR

systemd_runs() { [[ -d /run/systemd/system ]]; }
cgroup2() { [[ $(stat -fc %T /sys/fs/cgroup) = cgroup2fs ]]; }
has() { command -v "$1" >/dev/null; }
is_ours() { [[ -f $1 && $(head -n1 "$1") = "$mark"* ]]; }
remember() { grep -qxF "$*" "$made" 2>/dev/null || echo "$*" >>"$made"; }

# Copies when the content differs, replaces atomically (the file may be in use), and sets `changed`.
put() { # SOURCE TARGET MODE
    if cmp -s "$1" "$2"; then chmod "$3" "$2"; return; fi
    install -D -m "$3" "$1" "$2.new"
    mv "$2.new" "$2"
    changed=yes
}

# The same with the content from standard input.
put_text() { # TARGET MODE
    local text
    text=$(mktemp)
    cat >"$text"
    put "$text" "$1" "$2"
    rm -f "$text"
}

# --- arguments ---------------------------------------------------------------

parse_arguments() {
    action=install demo=no kubeconfig='' server='' token='' hash=''
    while (($#)); do
        case $1 in
        --demo) demo=yes ;;
        --uninstall) action=uninstall ;;
        --kubeconfig | --server | --token | --ca-cert-hash)
            (($# > 1)) || die "$1 needs a value"
            case $1 in
            --kubeconfig) kubeconfig=$2 ;;
            --server) server=$2 ;;
            --token) token=$2 ;;
            --ca-cert-hash) hash=$2 ;;
            esac
            shift
            ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; die "unknown argument $1" ;;
        esac
        shift
    done
    if [[ $server$token$hash && ! ($server && $token && $hash) ]]; then
        die '--server, --token and --ca-cert-hash go together: give all three'
    fi
    [[ ! $server || ! $kubeconfig ]] || die 'give either --kubeconfig or --server, not both'
    [[ $demo = no || ! $server$kubeconfig ]] || die '--demo is for a host without a cluster: leave --kubeconfig and --server out'
    if [[ $kubeconfig ]]; then
        [[ -r $kubeconfig ]] || die "$kubeconfig cannot be read: give the path of a kubeconfig"
        kubeconfig=$(realpath "$kubeconfig")
    fi
}

check_host() {
    ((EUID == 0)) || die 'it changes the system: run it as root'
    local ID='' ID_LIKE=''
    # shellcheck source=/dev/null
    [[ ! -r /etc/os-release ]] || . /etc/os-release
    [[ " $ID $ID_LIKE " = *" debian "* ]] || die "this is ${ID:-an unknown system}, and only Debian and Ubuntu are supported"
}

# --- packages ----------------------------------------------------------------

static_busybox() {
    local file
    for file in /bin/busybox /usr/bin/busybox; do
        [[ ! -x $file ]] || ldd "$file" >/dev/null 2>&1 || { echo "$file"; return; }
    done
    return 1
}

cni_plugins() {
    local dir
    for dir in /usr/lib/cni /opt/cni/bin; do
        [[ ! -x $dir/bridge || ! -x $dir/host-local || ! -x $dir/portmap ]] || { echo "$dir"; return; }
    done
    return 1
}

install_packages() {
    local missing=()
    has containerd || missing+=(containerd)
    has runc || missing+=(runc)
    cni_plugins >/dev/null || missing+=(containernetworking-plugins)
    has nft || missing+=(nftables)
    has iptables || missing+=(iptables)
    has conntrack || missing+=(conntrack)
    has ip || missing+=(iproute2)
    ! systemd_runs || has modprobe || missing+=(kmod)
    static_busybox >/dev/null || missing+=(busybox-static)
    if ((${#missing[@]} == 0)); then
        say 'System packages: all there'
        return
    fi
    say "System packages: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; } ||
        die "could not install ${missing[*]}: check the network and the apt sources, or install them yourself"
}

# --- the daemon --------------------------------------------------------------

# Sets `node` to the pinned Node.js and leaves a bundle in $tree/dist.
prepare_tree() {
    local wanted candidate stale=no
    wanted=v$(sed -n 's/^ *"node": "\([0-9][0-9.]*\)".*/\1/p' "$tree/package.json")
    if [[ ! -e $tree/dist/keelson.js ]]; then
        stale=yes
    elif [[ -d $tree/src && $(find "$tree/src" "$tree/install" -name '*.ts' -newer "$tree/dist/keelson.js" -print -quit) ]]; then
        stale=yes
    fi
    find_node() {
        node=''
        for candidate in "$tree/node_modules/node/bin/node" "$tree/bin/node" "$prefix/bin/node"; do
            [[ ! -x $candidate || $("$candidate" --version 2>/dev/null) != "$wanted" ]] || { node=$candidate; return; }
        done
    }
    find_node
    if [[ ! $node || ($stale = yes && ! -x $tree/node_modules/.bin/esbuild) ]]; then
        say "Node.js $wanted and the build's packages: npm ci"
        has npm || die 'npm is missing: install Node.js with npm (apt-get install npm), or run "npm ci" and "npm run build" elsewhere and copy the folder here'
        (cd "$tree" && npm ci --no-audit --no-fund --loglevel=error) || die 'npm ci failed: check the network and the npm registry that is configured'
        find_node
        [[ $node ]] || die "npm ci brought no Node.js $wanted for $(uname -m): only x86-64 and arm64 are supported"
    fi
    if [[ $stale = yes ]]; then
        say 'Building the daemon'
        (cd "$tree" && "$node" build.mjs) || die 'the build failed: see above'
    fi
}

install_files() {
    local file
    say "Program files: $prefix"
    changed=no
    put "$node" $prefix/bin/node 755
    for file in bin/keelson install.sh; do put "$tree/$file" "$prefix/$file" 755; done
    for file in package.json LICENSE systemd/keelson.service; do put "$tree/$file" "$prefix/$file" 644; done
    for file in "$tree"/dist/* "$tree"/proto/* "$tree"/demo/*; do put "$file" "$prefix/${file#"$tree"/}" 644; done
    node=$prefix/bin/node
    if [[ $(readlink $link) != "$prefix/bin/keelson" ]]; then
        [[ ! -e $link ]] || die "$link exists and is not ours: move it away"
        mkdir -p "${link%/*}"
        ln -sfn $prefix/bin/keelson $link
    fi
    for file in $rootdir /etc/kubernetes $manifests /etc/cni /etc/cni/net.d /var/lib/cni /var/log/pods /var/log/containers; do
        # An empty folder came with a package, or is a mount point for ours: what will be in it is ours.
        [[ -d $file && $(ls -A "$file") ]] || { mkdir -p "$file"; remember "dir $file"; }
    done
}

# --- containerd --------------------------------------------------------------

# Whether the file may be replaced: nobody but a package, or this script, has written it.
config_is_free() {
    [[ -e $containerd_config ]] || return 0
    ! is_ours $containerd_config || return 0
    local packaged
    packaged=$(dpkg-query -W -f '${Conffiles}\n' containerd 2>/dev/null | awk -v f=$containerd_config '$1 == f { print $2 }')
    [[ $packaged && $packaged = "$(md5sum <$containerd_config | cut -d' ' -f1)" ]]
}

write_containerd_config() {
    local systemd_cgroup=false restrict=false effective
    if systemd_runs && cgroup2; then systemd_cgroup=true; fi
    # Without CAP_SYS_RESOURCE (bit 24) nobody may lower an oom_score_adj, and runc would fail to.
    effective=$(sed -n 's/^CapEff:\t*//p' /proc/self/status)
    ((0x$effective >> 24 & 1)) || restrict=true
    if [[ -e $containerd_config ]] && ! is_ours $containerd_config; then
        cp -p $containerd_config $containerd_config.before-keelson
    fi
    put_text $containerd_config 644 <<C
$mark The file that was here before is config.toml.before-keelson.
version = 2

[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause_image"
  restrict_oom_score_adj = $restrict

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$(cni_plugins)"
    conf_dir = "/etc/cni/net.d"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = $systemd_cgroup
C
}

containerd_answers() { [[ -S $socket ]] && timeout 10 ctr --address $socket version >/dev/null 2>&1; }

wait_for_containerd() {
    local since=$SECONDS
    until containerd_answers; do
        ((SECONDS - since < 60)) || die "containerd does not answer on $socket: see $1"
        sleep 0.2
    done
}

configure_containerd() {
    local changed=no
    if config_is_free; then
        write_containerd_config
        if [[ $changed = yes ]]; then say "containerd: wrote $containerd_config"; else say 'containerd: configured'; fi
    else
        say "containerd: $containerd_config is yours and stays as it is"
        ! grep -q '^ *disabled_plugins.*"cri"' $containerd_config ||
            die "$containerd_config disables containerd's CRI plugin, which keelson speaks to: take \"cri\" out of disabled_plugins and restart containerd"
        local dir
        dir=$(containerd config dump | sed -n "s/^ *bin_dirs\? = \[\?[\"']\([^\"']*\).*/\1/p" | head -n1)
        [[ ! $dir || -x $dir/loopback ]] ||
            die "containerd looks for CNI plugins in $dir, and they are in $(cni_plugins): set bin_dir in $containerd_config and restart containerd"
    fi
    if systemd_runs; then
        systemctl -q enable containerd
        if [[ $changed = yes ]]; then systemctl restart containerd; else systemctl start containerd; fi
        wait_for_containerd '"journalctl -u containerd"'
        return
    fi
    if [[ $changed = yes ]] && alive containerd; then stop_background containerd; fi
    if containerd_answers; then
        [[ $changed = no ]] || note 'it runs already and was not started by this script: restart it, so that it reads its configuration'
    else
        start_background containerd containerd
        wait_for_containerd /var/log/containerd.log
    fi
}

# The name of the image that containerd wants for the pods' sandboxes, whoever configured it.
sandbox_image() {
    containerd config dump | sed -n "s/^ *sandbox\(_image\)\? = [\"']\(.*\)[\"']$/\2/p" | head -n1
}

image_exists() { [[ $(ctr -a $socket -n k8s.io images ls -q "name==$1") ]]; }

make_images() {
    local wanted name archive dir
    wanted=$(sandbox_image)
    dir=$(mktemp -d)
    for name in pause:"${wanted:-$pause_image}" demo:$demo_image; do
        archive=$dir/${name%%:*}.tar
        [[ $name = pause:* || $demo = yes ]] || continue
        ! image_exists "${name#*:}" || continue
        say "Image ${name#*:}: made from $(static_busybox)"
        "$node" $prefix/dist/demo-images.js "${name%%:*}" "${name#*:}" "$(static_busybox)" "$archive"
        ctr -a $socket -n k8s.io images import "$archive" >/dev/null
        remember "image ${name#*:}"
    done
    rm -r "$dir"
}

# --- configuration -----------------------------------------------------------

# keelson and containerd must agree on who makes cgroups.
cgroup_driver() {
    if containerd config dump | grep -q 'SystemdCgroup = true'; then echo systemd; else echo cgroupfs; fi
}

# The authority behind the certificate that the API server shows to nodes; a config.yaml knows it, or kubectl logs is refused.
cluster_ca() {
    local file
    for file in $etc/cluster-ca.crt /etc/kubernetes/pki/ca.crt; do
        [[ ! -e $file ]] || { echo $file; return; }
    done
}

# The part of a new config.yaml about those who ask the node; nothing where there is no cluster.
authentication() {
    local ca
    ca=$(cluster_ca)
    [[ ! $ca ]] || printf 'authentication:\n  x509:\n    clientCAFile: %s\n' "$ca"
}

configure_keelson() {
    local args="--config=$etc/config.yaml"
    mkdir -p $etc
    if [[ $server ]]; then
        say "Joining $server"
        KEELSON_SERVER=$server KEELSON_TOKEN=$token KEELSON_CA_CERT_HASH=$hash \
            "$node" $prefix/dist/join.js $etc/kubeconfig $etc/cluster-ca.crt || die 'cannot join: see above'
        note "wrote $etc/kubeconfig"
        kubeconfig=$etc/kubeconfig changed=yes
    fi
    if [[ -e $etc/config.yaml ]]; then
        say "Configuration: $etc/config.yaml stays as it is"
    else
        say "Configuration: $etc/config.yaml"
        changed=yes
        put_text $etc/config.yaml 644 <<C
# keelson reads the kubelet's and kube-proxy's own kinds. Check changes with
#   keelson check --config $etc/config.yaml
# and then: systemctl restart keelson
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$socket
# The same as SystemdCgroup in containerd's configuration.
cgroupDriver: $(cgroup_driver)
staticPodPath: $manifests
# The pods' addresses while no cluster gives the node a range.
podCIDR: 10.244.0.0/24
$(authentication)
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
C
    fi
    if [[ $kubeconfig ]]; then
        grep -qE '^ *clientCAFile:' $etc/config.yaml ||
            note "kubectl logs and exec need authentication.x509.clientCAFile in $etc/config.yaml: the authority of the API server's client certificate"
        args+=" --kubeconfig=$kubeconfig"
    elif is_ours $defaults; then
        return # an update of a host that has joined before keeps its cluster
    fi
    if [[ -e $defaults ]] && ! is_ours $defaults; then
        [[ ! $kubeconfig ]] || grep -qF -- "--kubeconfig=$kubeconfig" $defaults ||
            die "$defaults is yours and stays as it is: add --kubeconfig=$kubeconfig to KEELSON_ARGS in it and run install.sh again"
        return
    fi
    put_text $defaults 644 <<C
$mark Take this line out to keep changes of yours.
KEELSON_ARGS="$args"
C
}

# Kernel modules that containers and Services need; a module that is built in, or a container, needs no loading.
load_modules() {
    local module
    for module in overlay br_netfilter nf_tables nf_conntrack; do
        modprobe -q $module 2>/dev/null || true
    done
    if systemd_runs; then printf '%s\n' "$mark" overlay br_netfilter nf_tables nf_conntrack | put_text $modules 644; fi
}

# --- starting and stopping ---------------------------------------------------

alive() { [[ -s $run/$1.pid ]] && kill -0 "$(<$run/"$1".pid)" 2>/dev/null; }

start_background() { # NAME COMMAND...
    mkdir -p $run
    setsid "${@:2}" </dev/null >>"/var/log/$1.log" 2>&1 &
    echo $! >"$run/$1.pid"
    note "started $1, process $!, log /var/log/$1.log"
}

stop_background() {
    alive "$1" || { rm -f "$run/$1.pid"; return 0; }
    local since=$SECONDS pid
    pid=$(<"$run/$1.pid")
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        ((SECONDS - since < 30)) || { kill -9 "$pid"; break; }
        sleep 0.1
    done
    rm -f "$run/$1.pid"
}

start_keelson() {
    if systemd_runs; then
        put $prefix/systemd/keelson.service $unit 644
        systemctl daemon-reload
        systemctl -q enable keelson
        say 'Starting keelson.service'
        local verb=start
        if [[ $changed = yes ]]; then verb=restart; fi
        systemctl $verb keelson || {
            last_messages
            die 'keelson does not start: its last messages are above'
        }
        return
    fi
    say 'Starting keelson in the background, as systemd is not running here'
    if alive keelson; then
        [[ $changed = yes ]] || { note "it runs already, process $(<$run/keelson.pid)"; return; }
        stop_background keelson
    fi
    local KEELSON_ARGS=''
    # shellcheck source=/dev/null
    . $defaults
    # shellcheck disable=SC2086 # several arguments
    start_background keelson $prefix/bin/keelson run $KEELSON_ARGS
    sleep 1
    alive keelson || {
        last_messages
        die 'keelson does not start: its last messages are above'
    }
}

# The body of an answer to GET, by bash alone: curl need not be there. Fails when the status is not 200.
http_get() { # http://ADDRESS
    timeout 2 bash -c '
        exec 3<>"/dev/tcp/$1/80" && printf "GET / HTTP/1.0\r\n\r\n" >&3
        read -r _ status _ <&3 && [[ $status = 200 ]] || exit 1
        while read -r line <&3 && [[ $line != $'"'\\r'"' ]]; do :; done
        cat <&3' get "${1#http://}" 2>/dev/null
}

start_demo() {
    local file since=$SECONDS answer
    say "Demo: two pods and a Service, in $manifests"
    for file in $prefix/demo/*.yaml; do put "$file" "$manifests/${file##*/}" 644; done
    until answer=$(http_get $demo_url); do
        ((SECONDS - since < 180)) || { last_messages; die "$demo_url does not answer: keelson's last messages are above"; }
        sleep 0.2
    done
    say "The Service answers after $((SECONDS - since)) s: $answer"
    echo
    echo "    curl $demo_url"
    echo
}

last_messages() {
    if systemd_runs; then journalctl -u keelson -n 20 --no-pager -o cat; else tail -n 20 /var/log/keelson.log; fi >&2
}

print_end() {
    if systemd_runs; then
        echo 'keelson runs: systemctl status keelson'
    else
        echo "keelson runs in the background. To stop it (its pods go on): kill \$(cat $run/keelson.pid)"
        if alive containerd; then echo "To stop containerd as well:                          kill \$(cat $run/containerd.pid)"; fi
    fi
    echo "To take everything away again: $prefix/install.sh --uninstall"
}

# --- uninstall ---------------------------------------------------------------

uninstall() {
    local kind value dir images=()
    [[ -e $prefix || -e $unit ]] || { say 'keelson is not installed'; return; }
    say 'Stopping keelson'
    if systemd_runs && [[ -e $unit ]]; then
        systemctl -q disable --now keelson
        rm -f $unit
        systemctl daemon-reload
        systemctl reset-failed keelson 2>/dev/null || true
    fi
    stop_background keelson
    rm -f $manifests/keelson-demo-*.yaml

    say 'Removing its pods and images'
    if containerd_answers; then
        mapfile -t images < <(sed -n 's/^image //p' $made)
        $prefix/bin/node $prefix/dist/empty-runtime.js unix://$socket "${images[@]}" ||
            die 'the pods cannot be removed: see above'
    else
        note "containerd does not answer on $socket: its pods, if any, stay"
    fi

    say 'Removing its network and cgroups'
    if [[ -x $prefix/bin/keelson ]]; then
        $prefix/bin/keelson cleanup --root-dir "$rootdir" >/dev/null || note 'some rules of Services are left: see above'
    fi
    if has nft; then
        while read -r _ kind value; do
            [[ $value != keelson* ]] || nft delete table "$kind" "$value"
        done < <(nft list tables)
    fi
    rm -rf /etc/cni/net.d/*keelson* /var/lib/cni/networks/keelson*
    for value in $(ip -o link show type bridge | sed -n 's/^[0-9]*: \(keelson[^:@]*\).*/\1/p'); do
        ip link delete "$value"
    done
    if systemd_runs; then systemctl stop kubepods.slice 2>/dev/null || true; fi
    for dir in /sys/fs/cgroup/kubepods* /sys/fs/cgroup/*/kubepods*; do
        [[ ! -d $dir ]] || find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done

    say 'Removing its files'
    while read -r dir; do umount "$dir" 2>/dev/null || umount -l "$dir"; done \
        < <(awk -v d=$rootdir/ 'index($2, d) == 1 { print $2 }' /proc/mounts | sort -r)
    sed -n 's/^dir //p' $made | tac | while read -r dir; do
        case $dir in
        "$rootdir" | /var/log/pods | /var/log/containers | /var/lib/cni) find "$dir" -xdev -mindepth 1 -delete ;;
        esac
        rmdir "$dir" 2>/dev/null || true # others may have put something into it
    done
    if is_ours $containerd_config; then
        if [[ -e $containerd_config.before-keelson ]]; then
            mv $containerd_config.before-keelson $containerd_config
        else
            rm $containerd_config
        fi
        if systemd_runs; then systemctl restart containerd; fi
    fi
    if alive containerd; then
        stop_background containerd
        rm -f /var/log/containerd.log
    fi
    rm -f $link $defaults $modules /var/log/keelson.log
    rm -rf $prefix $etc $run
    say 'keelson is gone; the Debian packages stay'
}

main() {
    tree=$(dirname "$(readlink -f "$0")")
    parse_arguments "$@"
    check_host
    if [[ $action = uninstall ]]; then
        uninstall
        return
    fi
    install_packages
    prepare_tree
    install_files
    load_modules
    configure_containerd
    make_images
    configure_keelson
    start_keelson
    [[ $demo = no ]] || start_demo
    print_end
}

# One command, read to its end before it starts: the script may replace or remove itself.
main "$@"; exit
