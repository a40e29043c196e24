#!/bin/sh
# pack-erofs.sh OUTPUT ROOT: packs the system in ROOT as a file system image. Run by mmdebstrap, after installation.
#
# Nothing in the image is newer than the package lists: what the installation wrote bears their
# date, so that equal packages make equal images. Packages' own files keep their dates, which
# compiled Python files depend on.
set -eu
output=$1
root=$2
bare=$root.bare

newest=$(sed -n 's/^Date: //p' "$root"/var/lib/apt/lists/*Release |
    while read -r date; do date -d "$date" +%s; done | sort -n | tail -1)
rm -rf "$root"/var/cache/* "$root"/var/lib/apt/lists/* "$root"/var/log/*

# Shows the system without what is mounted in it: /proc, /sys, /dev.
mkdir "$bare"
mount --bind "$root" "$bare"
find "$bare" -newermt "@$newest" -exec touch -hd "@$newest" {} +
# Uncompressed: every guest would have to decompress for itself, and the host's disk is cheap.
# mmdebstrap still needs what it keeps in /tmp.
mkfs.erofs --quiet --preserve-mtime --exclude-regex='^tmp/.' \
    -U 00000000-0000-0000-0000-000000000000 "$output" "$bare"
umount "$bare"
rmdir "$bare"
