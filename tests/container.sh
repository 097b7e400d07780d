#!/bin/sh
# Does what the Dockerfile and `docker run --read-only --tmpfs /tmp` do, where no container engine is there:
#   unshare --mount --net --propagation private sh container.sh ROOT WHEEL DATA PREFIX PACKAGES HEALTHCHECK COMMAND...
# PREFIX is that of Python. PACKAGES has what the wheel depends on, so that nothing is downloaded.
set -eu
root=$1 wheel=$2 data=$3 prefix=$4 packages=$5 healthcheck=$6
shift 6

mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir -p "$root/opt" "$root/data" "$root/tmp" "$root/wheel" "$root$prefix" "$root$packages"
for folder in usr etc dev proc; do
    mkdir -p "$root/$folder"
    mount --rbind "/$folder" "$root/$folder"
done
for link in bin lib lib64 sbin; do ln -s "usr/$link" "$root/$link"; done
mount --bind "$prefix" "$root$prefix"
mount --bind "$packages" "$root$packages"
mount --bind "$(dirname "$wheel")" "$root/wheel"
mount --bind "$data" "$root/data"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

# The build, as root: the wheel with its extras, in an environment of its own.
chroot "$root" "$prefix/bin/python3" -m venv /opt/vitdsi
chroot "$root" /opt/vitdsi/bin/python -m pip uninstall -q -y setuptools  # PACKAGES may have another one
site=$(chroot "$root" /opt/vitdsi/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$packages" > "$root$site/dependencies.pth"
install() { chroot "$root" env HOME=/tmp /opt/vitdsi/bin/pip install -q --no-index --disable-pip-version-check "$@"; }
install --no-deps --force-reinstall "/wheel/$(basename "$wheel")"
install "vitdsi[serve,heic]"
rm -rf "$root/tmp/"*

# The server: read-only, as a user of its own without capabilities, with /tmp alone to write to.
ip link set lo up
mount -o remount,bind,ro "$root/data"
mount -o remount,ro "$root"
run="chroot $root setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all
    env -i PATH=/opt/vitdsi/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 HOME=/tmp VITDSI_CACHE=/tmp/vitdsi
    VITDSI_TOKEN=a-token-that-nobody-guesses"
$run vitdsi "$@" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
tries=0
until $run sh -c "$healthcheck" 2>/dev/null; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ] || ! kill -0 $server; then exit 1; fi
    sleep 1
done
echo "healthy"
$run python -c '
import json, os, urllib.request, vitdsi
print(vitdsi.__file__, os.getuid())
def ask(path, token=True, body=None):
    headers = {"Authorization": "Bearer a-token-that-nobody-guesses"} if token else {}
    headers["Content-Type"] = "image/png"
    request = urllib.request.Request("http://127.0.0.1:8000" + path, body, headers)
    try:
        return json.load(urllib.request.urlopen(request))
    except urllib.error.HTTPError as error:
        return error.code
print("without a token:", ask("/v1/info", token=False))
photo = sorted(os.listdir("/data/photos"))[0]
found = ask("/v1/search?k=3", body=open("/data/photos/" + photo, "rb").read())
print("found:", len(found["results"]), "best is the photo:", found["results"][0]["image_id"] == photo)
for place in ("/x", "/data/x", "/opt/vitdsi/x", "/tmp/x"):
    try:
        open(place, "w").close()
        print("written:", place)
    except OSError as error:
        print("refused:", place)
'
kill -TERM $server
wait $server || true
echo "ended"
